# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Where each host of a rollout stands: a fold over the lines of its ledger. Pure: lines in, values out.

    pending -> staged -> gated -> promoted -> done
    pending -> done, where all of it is there already and answers rightly
    any of them -> failed | unreachable;  failed or ordered back -> owed -> rolled_back
"""
from collections import OrderedDict
from typing import Any, Dict, Iterable, List, Optional, Sequence

OK, FAILED, UNREACHABLE, SILENT = "ok", "failed", "unreachable", "silent"

STEPS = ("stage", "gate", "promote", "check")
ROLLBACK = "rollback"
PENDING, DONE, ROLLED_BACK, OWED = "pending", "done", "rolled_back", "owed"
_AFTER = {"stage": "staged", "gate": "gated", "promote": "promoted", "check": DONE, ROLLBACK: ROLLED_BACK}


class Host(object):
    """What the ledger tells of one host."""

    def __init__(self, name: str, wave: int, version: Optional[int]) -> None:
        self.name = name
        self.wave = wave
        self.version = version
        self.status = PENDING
        # The line that made it fail, and the last one: what a person wants to read.
        self.failure: Optional[Dict[str, Any]] = None
        self.last: Optional[Dict[str, Any]] = None
        # Answers of the run that goes on now, by step.
        self.answers: Dict[str, Dict[str, Any]] = {}
        # It may serve the new version, or hold it: a rollback means something to it.
        self.touched = False
        self.lines: List[Dict[str, Any]] = []

    @property
    def failed(self) -> bool:
        """Whether it counts against the budget: a host on which the version failed once does, whatever became of it since."""
        return self.failure is not None

    @property
    def unreachable(self) -> bool:
        """Whether it did not answer when it was last asked."""
        return self.status == UNREACHABLE or (self.status == OWED and self.last is not None and self.last["outcome"] == UNREACHABLE)

    @property
    def waiting(self) -> bool:
        """Whether a run that resumes has to lead it through the steps."""
        return self.status not in (DONE, ROLLED_BACK, OWED) and not (self.failed and self.touched)


class State(object):
    """A rollout as its ledger tells it."""

    def __init__(self, lines: Sequence[Dict[str, Any]]) -> None:
        self.plan = lines[0]
        self.ended: Optional[str] = None
        self.stopped: Optional[str] = None
        self.hosts: "OrderedDict[str, Host]" = OrderedDict()
        for wave in self.plan["waves"]:
            for name in wave["hosts"]:
                self.hosts[name] = Host(name, wave["number"], self.plan["targets"].get(name))
        for line in lines[1:]:
            self.add(line)

    def add(self, line: Dict[str, Any]) -> None:
        """Take one more line into account."""
        step = line["step"]
        if step == "run":
            self.ended = self.stopped = None
            for host in self.hosts.values():
                host.answers = {}
                if host.status == FAILED and host.touched:
                    # The run before was killed between its failure and the decision, which could only have been this one.
                    host.status = OWED
                elif host.status == FAILED:
                    # What never arrived tells nothing about the version: a full disk, a server that was down, somebody else at work.
                    host.status, host.failure = PENDING, None
        elif step == "decision":
            for name in line["roll_back"]:
                # Nothing is owed by a host that the rollout has not yet touched.
                if name in self.hosts and self.hosts[name].touched:
                    self.hosts[name].status = OWED
            if line["verdict"] == "stop":
                self.stopped = line["reason"]
        elif step == "end":
            self.ended = line["outcome"]
        elif line.get("host") in self.hosts:
            self._answer(self.hosts[line["host"]], line)

    def _answer(self, host: Host, line: Dict[str, Any]) -> None:
        step, outcome = line["step"], line["outcome"]
        host.last = line
        host.lines.append(line)
        host.answers[step] = line
        if "version" in line and host.version is None:
            host.version = line["version"]
        if step == ROLLBACK:
            host.status = ROLLED_BACK if outcome == OK else OWED
            host.touched = outcome != OK
            return
        # What it did before the line broke or the time was up nobody knows; the device says if it was nothing.
        host.touched = host.touched or (step != "stage" and not line.get("detail", {}).get("untouched"))
        if outcome == OK:
            host.status = DONE if line.get("detail", {}).get("settled") else _AFTER[step]
        elif outcome == UNREACHABLE:
            host.status = UNREACHABLE
        else:
            host.failure = host.failure or line
            host.status = FAILED

    def waves(self) -> List[Dict[str, Any]]:
        """The waves that are still to come, each with the hosts that have to go through it, as in the plan otherwise."""
        left = [dict(wave, hosts=[name for name in wave["hosts"] if self.hosts[name].waiting]) for wave in self.plan["waves"]]
        return [wave for wave in left if wave["hosts"]]

    def owed(self) -> List[str]:
        """Hosts that a decision sent back and that have not gone."""
        return [host.name for host in self.hosts.values() if host.status == OWED]

    def named(self, *statuses: str) -> List[str]:
        """Hosts that stand at one of these."""
        return [host.name for host in self.hosts.values() if host.status in statuses]

    def half_way(self) -> List[str]:
        """Hosts that the rollout has changed and neither finished nor taken back."""
        return [host.name for host in self.hosts.values() if host.touched and host.status not in (DONE, ROLLED_BACK)]

    def failed(self) -> List[str]:
        """Hosts that count against the budget."""
        return [host.name for host in self.hosts.values() if host.failed]

    def unreachable(self) -> List[str]:
        """Hosts that did not answer when they were last asked."""
        return [host.name for host in self.hosts.values() if host.unreachable]

    def silent(self, hosts: Iterable[str], steps: Sequence[str]) -> Dict[str, str]:
        """Return {host: step} for those of ``hosts`` that left no line in this run for a step that was theirs to answer."""
        result = OrderedDict()
        for name in hosts:
            for step in steps:
                answer = self.hosts[name].answers.get(step)
                if answer is None:
                    result[name] = step
                    break
                if answer["outcome"] != OK:
                    break
        return result
