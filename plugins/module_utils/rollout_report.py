# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""How a rollout ended, in sentences and as the data of its report. Pure: lines of a ledger in, values out."""
import calendar
import contextlib
import time
from collections import OrderedDict
from typing import Any, Dict, List, Sequence

from ansible_collections.tfleet.serving.plugins.module_utils import rollout_state as states
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_samples import drawn

# Of so many hosts sample predictions are shown: failures first, then in the order of the waves.
SAMPLED_HOSTS = 6

# Words for a host's status in sentences and tables.
WORDS = OrderedDict([
    (states.DONE, "on the new version"), (states.ROLLED_BACK, "rolled back"), (states.OWED, "rollback owed"), ("failed", "failed, not rolled back"),
    ("unreachable", "not reached"), ("promoted", "promoted, not yet checked"), ("gated", "loaded, not promoted"), ("staged", "staged"),
    (states.PENDING, "not begun"),
])


def summary(state: states.State) -> Dict[str, Any]:
    """Return {"outcome", "counts", "sentences"}: done if every host has the version, stopped, or incomplete."""
    counts: Dict[str, int] = OrderedDict()
    for status, _words in WORDS.items():
        number = len(state.named(status))
        if number:
            counts[status] = number
    total = len(state.hosts)
    name, rollout = state.plan["model"], state.plan["rollout"]
    if counts.get(states.DONE, 0) == total:
        return {"outcome": "done", "counts": counts, "sentences": ["All %d hosts serve %s from this rollout." % (total, name)]}
    sentences = ["%d of %d hosts serve %s from this rollout: %s." % (
        counts.get(states.DONE, 0), total, name, ", ".join("%d %s" % (number, WORDS[status]) for status, number in counts.items()))]
    for host in state.hosts.values():
        if host.failure is not None:
            sentences.append("%s failed in step %s: %s" % (host.name, host.failure["step"], host.failure.get("msg", "")))
    if state.stopped:
        sentences.append("The rollout was stopped. %s" % state.stopped.split(" may be.")[0] + (" may be." if " may be." in state.stopped else ""))
    if state.owed():
        sentences.append("These hosts still have to be rolled back: %s. Do it with -e rollout_resume=%s as soon as they can be reached."
                         % (", ".join(state.owed()), rollout))
    left = [host.name for host in state.hosts.values() if host.waiting]
    if left and state.stopped and all(state.hosts[name].waiting for name in state.failed()):
        # Nothing that was proven speaks against the version.
        sentences.append("Put that right, then go on with -e rollout_resume=%s." % rollout)
    elif left and state.stopped:
        sentences.append("Find out why before you go on; then begin a new rollout, or raise the budget and go on with -e rollout_resume=%s." % rollout)
    elif left:
        who = ", ".join(left[:8]) + (" and others" if len(left) > 8 else "")
        and_then = " and what is told above is put right" if state.failed() else ""
        sentences.append("Go on with -e rollout_resume=%s when %s can be reached%s." % (rollout, who, and_then))
    return {"outcome": "stopped" if state.stopped else "incomplete", "counts": counts, "sentences": sentences}


def waiting(state: states.State) -> List[str]:
    """Return what the hosts of a rollout wait for, as sentences; none if it is done."""
    rollout = state.plan["rollout"]
    sentences = []
    for status, words in WORDS.items():
        names = state.named(status)
        if not names or status in (states.DONE, states.ROLLED_BACK):
            continue
        next_step = ("a person, and then for " if status == "failed" else "") + "-e rollout_resume=%s" % rollout
        sentences.append("%s, %s: %s. %s for %s." % (rollout, words, ", ".join(names), "They wait" if len(names) > 1 else "It waits", next_step))
    return sentences


def report(lines: Sequence[Dict[str, Any]], state: states.State) -> Dict[str, Any]:
    """Return what the page of a rollout shows.

    :returns: ``rollout``, ``model``, ``by``, ``outcome``, ``counts`` [{status, words, number}], ``sentences``, ``seconds`` (whole length), ``ticks``,
        ``waves`` [{number, kind, hosts, bars}] whose bars are {host, step, outcome, start, seconds} with start in seconds from the beginning, ``hosts``
        (table), ``failures``, ``decisions``, and ``samples`` [{host, version, outcome, drawings}].
    """
    told = summary(state)
    begin = _seconds(lines[0])
    end = max(_seconds(line) for line in lines)
    length = max(1, end - begin)
    waves = []
    for wave in state.plan["waves"]:
        bars: List[Dict[str, Any]] = []
        for name in wave["hosts"]:
            for line in state.hosts[name].lines:
                # What a gate has found lies on the device until the controller comes for it.
                stop = _seconds(line) - begin - line.get("detail", {}).get("waited", 0)
                bars.append({"host": name, "step": line["step"], "outcome": line["outcome"], "start": max(0, stop - line.get("seconds", 0)),
                             "seconds": line.get("seconds", 0)})
        waves.append({"number": wave["number"], "kind": wave["kind"], "hosts": wave["hosts"], "bars": bars})
    return {
        "rollout": state.plan["rollout"], "model": state.plan["model"], "by": state.plan["by"], "begun": lines[0]["time"], "outcome": told["outcome"],
        "counts": [{"status": status, "words": WORDS[status], "number": number} for status, number in told["counts"].items()],
        "sentences": told["sentences"], "seconds": length, "ticks": _ticks(length), "waves": waves, "hosts": [_row(host) for host in state.hosts.values()],
        "failures": [_failure(host) for host in state.hosts.values() if host.failure is not None or host.unreachable],
        "decisions": [{"wave": line["wave"], "after": line["after"], "verdict": line["verdict"], "reason": line["reason"], "time": line["time"]}
                      for line in lines if line["step"] == "decision"],
        "samples": _samples(state),
    }


def trend(lines: Sequence[Dict[str, Any]], state: states.State) -> Dict[str, Any]:
    """Return one point of how rollouts of a model went: rollout, versions, begun, outcome, hosts, counts [{status, words, number}], seconds and new_ms."""
    told = summary(state)
    medians = sorted(row["new_ms"] for row in map(_row, state.hosts.values()) if row["new_ms"] is not None)
    return {
        "rollout": state.plan["rollout"], "versions": sorted(set(state.plan["targets"].values())), "begun": lines[0]["time"], "outcome": told["outcome"],
        "hosts": len(state.hosts), "counts": [{"status": status, "words": WORDS[status], "number": number} for status, number in told["counts"].items()],
        "seconds": max(_seconds(line) for line in lines) - _seconds(lines[0]), "new_ms": medians[len(medians) // 2] if medians else None,
    }


def _samples(state: states.State) -> List[Dict[str, Any]]:
    gates = [(host, _last(host, "gate")) for host in state.hosts.values()]
    shown = [(host, line) for host, line in gates if line.get("detail", {}).get("samples")]
    shown.sort(key=lambda pair: pair[1]["outcome"] == states.OK)
    return [{"host": host.name, "version": host.version, "outcome": line["outcome"], "drawings": _drawings(line["detail"]["samples"])}
            for host, line in shown[:SAMPLED_HOSTS]]


def _drawings(samples: Any) -> List[Dict[str, Any]]:
    """What can be drawn of a host's samples; it may tell anything."""
    made = []
    for sample in samples if isinstance(samples, list) else ():
        with contextlib.suppress(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
            made.append(drawn(sample))
    return made


def _last(host: states.Host, step: str) -> Dict[str, Any]:
    return next((line for line in reversed(host.lines) if line["step"] == step), {})


def _row(host: states.Host) -> Dict[str, Any]:
    gate, check = (_last(host, step).get("detail", {}) for step in ("gate", "check"))
    stage = (next((line for line in host.lines if line["step"] == "stage" and line.get("detail", {}).get("transport")), None) or {}).get("detail", {})
    sent = stage.get("transport")
    old, new = (_side(gate.get("rounds"), side) for side in (0, 1))
    return {
        "host": host.name, "wave": host.wave, "version": host.version, "status": host.status, "words": WORDS[host.status],
        "old_ms": min(old) if old else None, "new_ms": min(new) if new else None,
        "requests": _number(check.get("requests")), "errors": _number(check.get("errors")),
        "sent": _number(sent.get("bytes_sent")) if isinstance(sent, dict) else None, "seconds": sum(line.get("seconds", 0) for line in host.lines),
    }


def _side(rounds: Any, side: int) -> List[Any]:
    """What one of the two versions took in each turn."""
    turns = [turn for turn in rounds if isinstance(turn, (list, tuple)) and len(turn) == 2] if isinstance(rounds, list) else []
    return [turn[side] for turn in turns if _number(turn[side]) is not None]


def _number(value: Any) -> Any:
    """What a host told as a number, None if it is none: it may tell anything."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15 else None


def _failure(host: states.Host) -> Dict[str, Any]:
    line = host.failure or host.last or {}
    back = _last(host, states.ROLLBACK)
    return {"host": host.name, "step": line.get("step"), "outcome": line.get("outcome"), "msg": line.get("msg", ""), "time": line.get("time"),
            "log": (line.get("detail") or {}).get("log", ""), "rollback": back.get("outcome"), "rollback_msg": back.get("msg", "")}


def _seconds(line: Dict[str, Any]) -> float:
    return calendar.timegm(time.strptime(line["time"], "%Y-%m-%dT%H:%M:%SZ"))


def _ticks(length: float) -> List[Dict[str, Any]]:
    """Marks of the time line: at most eight, at round times."""
    step = next((size for size in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400) if length / size <= 8), 7 * 86400)
    return [{"at": at, "label": "%d s" % at if step < 60 else "%d min" % (at // 60) if step < 3600 else "%d h" % (at // 3600)}
            for at in range(0, int(length) + 1, step)]
