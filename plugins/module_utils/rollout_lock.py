# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""One rollout of a model at a time: a lock on the controller, and a hold on each device.

The controller's lock names the process of the run: one whose process is gone is stale and is taken over; whether one on another machine lives, only a
person can tell. A device's hold names the rollout and stays over a killed controller, because the device may be half way; it also keeps what the device has
to return to, so that any machine can roll it back. When the device is done it is marked so and holds nobody up, but stays for a rollback of all waves.
"""
import contextlib
import json
import os
import platform
import time
from typing import Any, Dict, Iterator, List, Optional, Sequence

from ansible_collections.tfleet.serving.plugins.module_utils.durable import canonical_json, fsync_path, make_directories, write_atomically
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.lock import LockError, alone_in
from ansible_collections.tfleet.serving.plugins.module_utils.process import boot_id, status_of

HOLD = ".rollout.json"
# The rollouts that were taken back here, a line each, the last one at the end; a step that was given up longer ago than so many does not come any more.
ENDED = ".rolled_back"
ENDED_KEPT = 10
# Why a version lies aside: which rollout, and why it took it back.
ROLLED_BACK = "Rolled back by the rollout %s: %s"
LOCK_SECONDS = 30
# What has the controller's lock where no rollout has it.
BY_HAND = "playbooks/rollback.yml"


class RolloutLockError(ModuleError):
    """Another rollout is at work: which, whose, since when, and the ways out."""


class ControllerLock(object):
    """The lock of one model on this controller.

    :param root: directory of all rollouts.
    """

    def __init__(self, root: str, model: str) -> None:
        self.root = root
        self.model = model
        self.path = os.path.join(root, "%s.lock" % model)

    def take(self, rollout: str, pid: int, by: str, gone: str = "") -> Optional[str]:
        """Take it for the process ``pid`` (that of ansible-playbook); returns the rollout whose run was found dead, None if there was none.

        :param gone: name of a machine or container that a person knows to be gone: where its process lives nobody can see from here.
        :raises RolloutLockError: a living run has it.
        """
        make_directories(self.root, 0o700)
        with alone_in(self.root, LOCK_SECONDS):
            held, status = self.holder(), status_of(pid)
            # A number of a process comes again, in a container nearly always.
            owner = {"pid": pid, "start_time": status.start_time if status else 0, "boot_id": boot_id(), "host": platform.node()}
            mine = held is not None and all(held[name] == value for name, value in owner.items())
            if held is not None and not mine and _alive(held, gone):
                raise RolloutLockError(_goes_on(held, self.model))
            write_atomically(self.path, canonical_json(dict(owner, rollout=rollout, by=by, since=now())), mode=0o600)
        return held["rollout"] if held is not None and not mine else None

    def release(self, rollout: str) -> None:
        """Give it back if it is this rollout's."""
        if not os.path.isdir(self.root):
            return
        with alone_in(self.root, LOCK_SECONDS):
            held = self.holder()
            if held is not None and held["rollout"] == rollout:
                os.unlink(self.path)
                fsync_path(self.root)

    def holder(self) -> Optional[Dict[str, Any]]:
        """What the lock says, None if nobody has it."""
        return _read(self.path)


def _alive(held, gone):
    if held["host"] != platform.node():
        # A directory that several controllers, or containers, share: only a person can tell.
        return held["host"] != gone
    status = status_of(held["pid"])
    return held["boot_id"] == boot_id() and status is not None and status.start_time == held["start_time"]


def _goes_on(held, model):
    where = "in process %d on %s, begun by %s at %s" % (held["pid"], held["host"], held["by"], held["since"])
    if held["rollout"] == BY_HAND:
        sentence = "%s returns %s to an earlier version now, %s. Wait for it." % (BY_HAND, model, where)
    else:
        sentence = ("The rollout %s of %s goes on now, %s. Wait for it, or end it with Ctrl-C there and go on with -e rollout_resume=%s."
                    % (held["rollout"], model, where, held["rollout"]))
    if held["host"] != platform.node():
        sentence += (" If %s is gone for good (switched off, a container that was removed), take its lock over with -e rollout_take_over=%s."
                     % (held["host"], held["host"]))
    return sentence


@contextlib.contextmanager
def step_alone(config_file: str, seconds: float, rollout: str) -> Iterator[None]:
    """Keep all other steps of rollouts out of a device while the block runs, those of other models too: they would measure each other.

    A step that the controller gave up goes on here, and what comes after it has to wait.

    :param config_file: the model.config, which all models of the device share.
    :raises RolloutLockError: another step did not end within ``seconds``.
    """
    with contextlib.ExitStack() as stack:
        try:
            if os.path.isdir(os.path.dirname(config_file)):
                stack.enter_context(alone_in(os.path.dirname(config_file), seconds))
        except LockError as error:
            raise RolloutLockError("A step of a rollout is still at work on this device: one that was given up, or one of another model. %s Go on with "
                                   "-e rollout_resume=%s." % (str(error).replace(", and run again", ""), rollout), untouched=True) from error
        yield


class Hold(object):
    """What a rollout has written about itself beside the versions of a model on a device.

    :param base_path: directory of the model's versions.
    """

    def __init__(self, base_path: str) -> None:
        self.path = os.path.join(base_path, HOLD)
        self.ended = os.path.join(base_path, ENDED)

    def read(self) -> Optional[Dict[str, Any]]:
        """The hold, None if no rollout has the device."""
        return _read(self.path)

    def check(self, rollout: str, supersede: Sequence[str] = ()) -> Optional[Dict[str, Any]]:
        """Return this rollout's hold, or that of one that it takes over, None if nobody has the device: what another has done here is what was before.

        :raises RolloutLockError: another rollout has it.
        """
        held = self.read()
        if held is None or held["rollout"] == rollout:
            return held
        if held.get("done"):
            return None
        if held["rollout"] in supersede:
            return held
        raise RolloutLockError(
            "This device is held by the rollout %s to version %d, begun by %s at %s (%s). If that goes on, wait for it. If its controller is gone, finish it "
            "from any machine that has its ledger with -e rollout_resume=%s. If nobody will, begin this rollout with -e rollout_supersede=%s: it starts from "
            "what the device had before." % (held["rollout"], held["version"], held["by"], held["since"], self.path, held["rollout"], held["rollout"]),
            held_by=held["rollout"], untouched=True)

    def take(self, rollout: str, by: str, version: int, before: Dict[str, Any], supersede: Sequence[str] = ()) -> Dict[str, Any]:
        """Hold the device; what it was before the first rollout that held it stays written. Returns the hold.

        :raises RolloutLockError: another rollout has it, or this one was taken back.
        """
        if rollout in self._ended():
            raise RolloutLockError("The rollout %s was taken back on this device (%s), so a step of it that was given up and begins only now does nothing. "
                                   "Begin a new rollout." % (rollout, self.ended), untouched=True)
        held = self.check(rollout, supersede)
        if held is not None and held["rollout"] == rollout:
            return held
        # Versions of a rollout that is taken over are nobody's any more: whoever goes back has to put them away too.
        brought = [*(held["brought"] if held else []), version]
        record = {"format": 1, "rollout": rollout, "by": by, "since": now(), "version": version, "brought": brought,
                  "before": held["before"] if held else before}
        write_atomically(self.path, canonical_json(record), mode=0o640)
        return record

    def note(self, held: Dict[str, Any], **more: Any) -> None:
        """Write more into the hold ``held``: what a later step, on whatever controller, has to know."""
        held.update(more)
        write_atomically(self.path, canonical_json(held), mode=0o640)

    def remove(self) -> None:
        """Let the device go, and forget what it was before."""
        if os.path.lexists(self.path):
            os.unlink(self.path)
            fsync_path(os.path.dirname(self.path))

    def end(self, rollouts: Sequence[str]) -> None:
        """Let none of these rollouts hold the device any more: the controller is done with them here, but a step that it gave up may begin yet."""
        kept = [name for name in self._ended() if name not in rollouts] + list(rollouts)
        # Where nothing can be written no rollout gets a hold either, and what was taken back is taken back.
        with contextlib.suppress(OSError):
            write_atomically(self.ended, "".join(name + "\n" for name in kept[-ENDED_KEPT:]).encode("utf-8"), mode=0o640)

    def _ended(self) -> List[str]:
        try:
            with open(self.ended, "rb") as stream:
                return stream.read().decode("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return []


def now() -> str:
    """The time in UTC, as it stands in all files of a rollout."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _read(path):
    try:
        with open(path, "rb") as stream:
            return json.loads(stream.read().decode("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise RolloutLockError("%s cannot be read. Look into it, and remove it if no rollout of this model goes on." % path) from None
