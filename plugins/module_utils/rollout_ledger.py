# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The ledger of a rollout: an append-only file of JSON lines, one for each host and step, and what follows from them.

The first line is the plan and holds all that is needed to go on from another machine. A line is on the disk before the next step
begins, so whatever happens to the controller, the ledger knows at least as much as was done. A line that a crash cut off is the last one
and is dropped. Several processes (Ansible's forks) append at once: each line is one write under the file's lock.
"""
import calendar
import contextlib
import fcntl
import json
import os
import re
import time
from collections import OrderedDict
from typing import Any, Dict, Iterable, List, Tuple

from ansible_collections.tfleet.serving.plugins.module_utils.durable import make_directories, replacing
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_state import ROLLBACK, STEPS

NAME = "ledger.jsonl"
FORMAT = 1
_ID = re.compile(r"(.+)-[0-9+]+-([0-9]{8}T[0-9]{6}Z)\Z")
_TIME = "%Y%m%dT%H%M%SZ"
_STAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")
# What each line has to tell for its step.
_NEEDED: Dict[str, Tuple[str, ...]] = {"plan": ("rollout", "model", "waves", "targets"), "run": (), "wave": (), "decision": ("verdict", "reason", "roll_back"),
                                       "end": ("outcome",)}
_NEEDED.update((step, ("host", "outcome")) for step in (*STEPS, ROLLBACK))


class LedgerError(ModuleError):
    """The ledger cannot be used: why, and what to do."""


class Ledger:
    """One rollout's record.

    :param directory: absolute path of the rollout's directory on the controller.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.path = os.path.join(directory, NAME)

    def create(self, plan: Dict[str, Any]) -> None:
        """Begin a new ledger with its plan.

        :raises LedgerError: there is one already.
        """
        make_directories(self.directory, 0o700)
        # With its plan or not at all: whatever kills this leaves nothing that could be taken for a rollout.
        with replacing(self.path, 0o600) as stream:
            if first_line(self.directory):
                raise LedgerError("%s is there already. Resume it with -e rollout_resume=%s, or wait a second for another id."
                                  % (self.path, os.path.basename(self.directory)))
            stream.write(_encoded(dict(plan, step="plan", format=FORMAT)))

    def append(self, line: Dict[str, Any]) -> None:
        """Add one line and wait until it is on the disk. A cut-off line of an earlier crash is removed first."""
        content = _encoded(line)
        try:
            with open(self.path, "r+b") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX)
                # What a killed run left of a line would damage this one.
                stream.truncate(_whole_bytes(stream))
                stream.seek(0, os.SEEK_END)
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        except FileNotFoundError:
            raise LedgerError("There is no ledger %s. Begin a rollout, or name the directory that holds it." % self.path) from None

    def read(self) -> List[Dict[str, Any]]:
        """Return the lines, the plan first, without one that was cut off.

        :raises LedgerError: there is none, or a line inside it is damaged.
        """
        try:
            with open(self.path, "rb") as stream:
                content = stream.read()
        except FileNotFoundError:
            raise LedgerError("There is no ledger %s. The rollouts that are known here: %s."
                              % (self.path, ", ".join(known(os.path.dirname(self.directory))) or "none")) from None
        lines = []
        for number, line in enumerate(content.split(b"\n")[:-1], 1):
            try:
                lines.append(json.loads(line.decode("utf-8"), object_pairs_hook=OrderedDict))
            except ValueError:
                raise self._damaged(number) from None
        if not lines:
            raise LedgerError("%s was cut off before it had a plan, so nothing was changed. Begin a new rollout." % self.path)
        if not isinstance(lines[0], dict) or lines[0].get("step") != "plan":
            raise LedgerError("%s does not begin with a plan. Nothing was changed. Restore the file from a copy; without it begin a new rollout with "
                              "-e rollout_supersede=%s." % (self.path, os.path.basename(self.directory)))
        if lines[0].get("format") != FORMAT:
            raise LedgerError("%s has format %s, this tfleet reads %d. Use the tfleet that began the rollout."
                              % (self.path, lines[0].get("format"), FORMAT))
        for number, line in enumerate(lines, 1):
            if not _tells_all(line):
                raise self._damaged(number)
        return lines

    def _damaged(self, number: int) -> LedgerError:
        return LedgerError("Line %d of %s is damaged. Nothing was changed. Restore the file from a copy; without it begin a new rollout with "
                           "-e rollout_supersede=%s: hosts that have the version already are only checked."
                           % (number, self.path, os.path.basename(self.directory)))


def _tells_all(line: Any) -> bool:
    """Whether a line is one that a rollout has written: a flipped bit may leave JSON."""
    needed = _NEEDED.get(str(line.get("step"))) if isinstance(line, dict) else None
    return needed is not None and _STAMP.match(str(line.get("time"))) is not None and all(name in line for name in needed)


def _encoded(line: Dict[str, Any]) -> bytes:
    record = OrderedDict([("time", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))])
    record.update(line)
    # A host may tell what JSON and UTF-8 have no word for, such as a score that is no number, or half a character: its line is not lost for that.
    told = json.loads(json.dumps(record), parse_constant=str, object_pairs_hook=OrderedDict)
    return (json.dumps(told, ensure_ascii=False, separators=(", ", ": ")) + "\n").encode("utf-8", "replace")


def first_line(directory: str) -> bytes:
    """Return the plan of the ledger in a rollout's directory as it is written there, b"" if there is none or it was cut off."""
    path = os.path.join(directory, NAME)
    if not os.path.exists(path):
        return b""
    with open(path, "rb") as stream:
        line = stream.readline()
    return line if line.endswith(b"\n") else b""


def _whole_bytes(stream: Any) -> int:
    """Where the last whole line ends."""
    end = stream.seek(0, os.SEEK_END)
    position = end
    while position:
        step = min(position, 4096)
        position -= step
        stream.seek(position)
        found = stream.read(step).rfind(b"\n")
        if found >= 0:
            return position + found + 1
    return 0


def name_of(model: str, versions: Iterable[int], root: str) -> str:
    """Return the id of a rollout of these versions that begins now, and comes after all that are known of the model under ``root``.

    A device without a battery for its clock begins in 1970 until it has asked for the time.
    """
    begins = time.time()
    last = [_begun(name)[0] for name in known(root) if model_of(name) == model][-1:]
    if last:
        begins = max(begins, calendar.timegm(time.strptime(last[0], _TIME)) + 1)
    return "%s-%s-%s" % (model, "+".join(map(str, sorted(versions))), time.strftime(_TIME, time.gmtime(begins)))


def model_of(rollout: str) -> str:
    """Return the model that a rollout of this id is of, "" if it is no id."""
    match = _ID.match(rollout)
    return match.group(1) if match else ""


def known(root: str) -> List[str]:
    """Return the ids of the rollouts under a directory, that which began first at the front; one that was killed before it had a plan is none."""
    names: List[str] = []
    with contextlib.suppress(OSError):
        names = os.listdir(root)
    return sorted((name for name in names if first_line(os.path.join(root, name))), key=_begun)


def _begun(rollout: str) -> Tuple[str, str]:
    # Times of files tell when a ledger was copied or resumed.
    match = _ID.match(rollout)
    return match.group(2) if match else "", rollout
