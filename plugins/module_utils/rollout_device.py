# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The steps of a rollout on one device: look, gate, promote, check, rollback.

Each is one call from the controller, ends at the same place when it is called again, and can be called after any of them was killed. What the device was
before stands in its hold (rollout_lock.py) from the first change on until the last.
"""
import os
import shutil
import time
import typing

from ansible_collections.tfleet.serving.plugins.module_utils import manifest as manifests
from ansible_collections.tfleet.serving.plugins.module_utils import rollout_gate as judge
from ansible_collections.tfleet.serving.plugins.module_utils.durable import make_directories, replacing, sha256_file
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.memory import human, memory_bytes
from ansible_collections.tfleet.serving.plugins.module_utils.model_entry import entry_of, serving
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_configs import FIRST_LABEL, PROVEN_LABEL
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_lock import ROLLED_BACK, Hold, RolloutLockError, step_alone
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_measuring import Measuring, StepError
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_server import ServerError, digest
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import RuntimeFailure
from ansible_collections.tfleet.serving.plugins.module_utils.version_state import ensure_version
from ansible_collections.tfleet.serving.plugins.module_utils.version_store import GOLDEN

PROC = "/proc"


class RolloutDevice(object):
    """One model of one device in one rollout.

    :param params: the options of the module ``rollout_host``.
    :param server: a rollout_server.Server.
    :param health: a function that returns device_facts.Device.health().
    """

    def __init__(self, params, server, health):
        self.params = params
        self.server = server
        self.measuring = Measuring(params, server, health)
        self.model, self.version, self.base = params["model"], params["version"], params["base_path"]
        self.hold = Hold(self.base)
        self.changed = False

    def step(self, name):
        """Do one step and return its result.

        :raises ModuleError: what failed; ``log`` in its result holds the server's last lines where they may tell more.
        """
        try:
            # Half of the time that the controller waits, so that it is told.
            with step_alone(self.server.config_file, self.params["step_seconds"] / 2.0, self.params["rollout"]):
                result = getattr(self, name)()
        except ModuleError as error:
            error.result.setdefault("log", self.server.log_lines() if name in ("gate", "promote", "check") else "")
            error.result["changed"] = self.changed
            raise
        return dict(result, changed=self.changed)

    # ---- look ----
    def look(self):
        """What is there, before anything is changed."""
        held = self.hold.check(self.params["rollout"], self.params["supersede"])
        seen = self.server.look()
        if not seen["reachable"]:
            raise StepError("No model server answers at %s, so there is nothing that could go on serving. Look with playbooks/status.yml, run "
                            "playbooks/site.yml for this host, and then the rollout." % ", ".join(self.server.addresses), reason=seen["msg"])
        mine = seen["models"].get(self.model, {"available": [], "labels": {}})
        # One that an earlier rollout moved aside need not travel again.
        places = [os.path.join(self.base, *place) for place in ((str(self.version),), (".aside", str(self.version)))]
        there = [place for place in places if self._is_release(place)]
        signature = os.path.join(there[0], manifests.SIGNATURE) if there else ""
        return {
            "there": bool(there), "signature_sha256": sha256_file(signature) if os.path.isfile(signature) else "",
            "missing": [name for name in sorted(self.params["companions"]) if not self._companion_is(name)],
            "versions": _numbers(self.base), "available": mine["available"],
            "labels": {name: entry["labels"] for name, entry in seen["models"].items()},
            "entry_sha256": digest(self.server.entry(self.model)), "held": held["rollout"] if held else None,
            # One that this rollout has begun with goes through all of its steps.
            "settled": held is None and there[:1] == places[:1] and self._settled(mine),
        }

    def _settled(self, mine):
        """Whether nothing is left to do: the version is whole, signed, what model.config declares, and answers rightly by its number and every label.

        Nothing is changed. Where anything is not so, the steps of the rollout come to it and say what it is.
        """
        final, golden, params = self.params["configs"].get("final"), self.measuring.golden(self.version), self.params
        if not final or golden is None or self.version not in mine["available"] or not all(map(self._companion_is, params["companions"])):
            return False
        if self.server.entry(self.model) != entry_of(final, self.model):
            return False
        protect = sorted(set(params["labels"].values()) | set(mine["labels"].values()) | {self.version})
        try:
            if self._ensure(True, keep=params["keep"], protect=protect)["changed"]:
                return False
            asked = self.measuring.ask("version %d" % self.version, golden, version=self.version)
            for label in self._moved():
                self.measuring.ask("the label %s" % label, golden, label=label)
        except ModuleError:
            return False
        return not judge.latency([(None, asked["p50"])], params["latency_factor"], params["latency_slack_ms"], params["latency_budget_ms"])

    # ---- gate ----
    def gate(self):
        """Bring the version beside the one that is served, and measure it there."""
        seen = self.params["seen"]
        before = self.server.entry(self.model)
        if digest(before) != seen["entry_sha256"]:
            raise StepError("What %s says of %s changed since the rollout looked at it: somebody else works on this device. Run the rollout again with "
                            "-e rollout_resume=%s when they are done." % (self.server.config_file, self.model, self.params["rollout"]), untouched=True)
        make_directories(self.base)
        labels = seen["labels"].get(self.model, {})
        held = self.hold.take(self.params["rollout"], self.params["by"], self.version, {
            "entry": before, "labels": labels, "versions": seen["versions"], "available": seen["available"],
        }, self.params["supersede"])
        self._place_companions()
        health = self.measuring.health()
        served = [place.get(PROVEN_LABEL) for place in (labels, held["before"]["labels"])] + sorted(seen["available"], reverse=True)
        old = next((version for version in served if version not in (None, self.version)), None)
        # One that a run was killed in goes on: the old version may be gone already, and there is no more room than there was.
        begun = held.get("exchanging", False)
        exchange = begun or self._needs_exchange(seen, old)
        # The policy comes before the version: a server that takes the newest by number would unload what the labels point to as soon as it finds another.
        if exchange and not begun:
            self._configure(self._entry("kept"))
        elif not exchange and self.version not in seen["available"]:
            self._configure(self._entry("bridge"))
        self._put_in_place()
        if exchange:
            return self._exchange(held, health)
        self._wait(self.version)
        return self.measuring.beside(old, health)

    def _needs_exchange(self, seen, old):
        if self.version in seen["available"] or old is None or not self.params["memory_factor"]:
            return False
        files = self.params["release_bytes"]
        needed = judge.memory_needed(files, self.params["memory_factor"])
        available = memory_bytes(self.params["roots"].get("proc", PROC), "MemAvailable")
        if available >= needed:
            return False
        short = ("%s of memory are available, and version %d needs about %s beside version %d (%s of files x rollout_memory_factor)."
                 % (human(available), self.version, human(needed), old, human(files)))
        if not self.params["exchange_seconds"]:
            raise StepError("%s Free some, or allow an interruption: rollout_exchange_seconds says how long the device may be without it." % short)
        if self.params["policy"] != {"latest": {"num_versions": 1}}:
            raise StepError("%s An exchange would do, but the declared policy loads both in the end: declare {latest: {num_versions: 1}} for it." % short)
        return True

    def _exchange(self, held, health):
        """The new version instead of the old one: the label comes back as soon as the new one is proven, or the old one is."""
        begin, until = time.monotonic(), None
        seen = self.params["seen"]
        labels = seen["labels"].get(self.model, {})
        # Whoever comes after a kill must know that there is no room for both.
        self.hold.note(held, exchanging=True)
        try:
            if self.version not in seen["available"] or any(labels.get(label) != self.version for label in self._moved()):
                until = begin + self.params["exchange_seconds"]
                self._alone(until)
            measured = self.measuring.beside(None, health, until)
            self._configure(self._entry("moved"))
        except ModuleError:
            self._labels_back(held)
            raise
        self.hold.note(held, exchanged=True)
        return dict(measured, interruption_seconds=round(time.monotonic() - begin, 1))

    def _alone(self, until):
        self._configure(self._entry("alone"))
        try:
            self.server.wait(self.model, self.version, max(1, until - time.monotonic()))
        except RuntimeFailure as failure:
            raise StepError("Version %d was not AVAILABLE within the %d seconds that this device may be without the model (rollout_exchange_seconds): %s"
                            % (self.version, self.params["exchange_seconds"], failure)) from failure

    def _wait(self, version):
        try:
            self.server.wait(self.model, version, self.params["load_seconds"])
        except RuntimeFailure as failure:
            raise StepError("Version %d did not become AVAILABLE: %s" % (version, failure)) from failure

    # ---- promote ----
    def promote(self):
        """Move the label canary, and when it answers, all others. A label can only point to what is loaded, so these are two steps."""
        held = self._own_hold()
        golden = self.measuring.golden(self.version)
        if held.get("exchanging") and not held.get("exchanged"):
            raise StepError("The gate of this device was killed within its exchange, and did not end it: nothing has proven version %d here." % self.version)
        # After an exchange they have moved, and the old version has no room beside the new one.
        if not held.get("exchanged"):
            if FIRST_LABEL in self._moved():
                self._configure(self._entry("canary"))
                self.measuring.ask("the label %s" % FIRST_LABEL, golden, label=FIRST_LABEL)
            self._configure(self._entry("stable"))
        asked = {}
        for label in self._moved():
            asked[label] = self.measuring.ask("the label %s" % label, golden, label=label)["p50"]
        # The counters from which the soak begins; kept on the device for whoever resumes.
        self.hold.note(held, promoted=True, counts=self.server.counts(self.model), health=self.measuring.health())
        return {"asked": asked}

    # ---- check ----
    def check(self):
        """After the soak: still right, few errors, a device that is well; then the declared policy, and the device is let go."""
        held = self._own_hold()
        if not held.get("promoted"):
            raise StepError("The labels of this device were not moved to the end, so there is nothing to check.")
        golden = self.measuring.golden(self.version)
        for label in self._moved():
            self.measuring.ask("the label %s" % label, golden, label=label)
        result = {"requests": None, "errors": None}
        findings = []
        counts = self.server.counts(self.model)
        if counts is not None and held["counts"] is not None:
            findings, result["requests"], result["errors"] = judge.errors(held["counts"], counts, self.params["error_share"])
        after = self.measuring.health()
        fell = judge.counts_fell(held["counts"] or {}, counts or {})
        findings += self.measuring.findings(held["health"], after, fell)
        if findings:
            raise StepError("Version %d of %s was not well after the soak. %s" % (self.version, self.model, " ".join(findings)), **result)
        self._configure(self._entry("final"))
        # What a rollback of all waves would return to stays too.
        protect = sorted(set(self.params["labels"].values()) | set(held["before"]["labels"].values()) | {self.version})
        kept = self._ensure(keep=self.params["keep"], protect=protect)
        self.hold.note(held, done=True)
        return dict(result, versions=kept["versions"], retired=kept["retired"])

    # ---- rollback ----
    def rollback(self):
        """Give the labels back, take what was brought out of the server's sight, and leave what model.config says of the model as it was.

        The hold tells what was brought and what was there: inventories change, and another rollout may have been taken over.
        """
        result = self._back()
        self.hold.end([*self.params["supersede"], self.params["rollout"]])
        return result

    def _back(self):
        try:
            held = self.hold.check(self.params["rollout"], self.params["supersede"])
        except RolloutLockError as error:
            if not error.result.get("held_by"):
                raise
            # Whoever has it now began from what was here then, and owes that.
            return {"returned_to": None, "note": "This device is not this rollout's to take back: the rollout %s has it." % error.result["held_by"]}
        if held is None:
            return {"returned_to": None, "note": "This device was not changed by the rollout, or is back already."}
        before, labels = held["before"], held["before"]["labels"]
        reachable = self.server.look()["reachable"]
        if not reachable:
            # It reads its files when it starts: they must be those of before.
            self.server.write(self.model, before["entry"])
            self.changed = True
        elif self.server.entry(self.model) != before["entry"] or not self._proven(labels):
            self._labels_back(held)
        result = self._set_aside(held)
        if reachable:
            self._configure(before["entry"])
            result["answers"] = self._prove(labels)
        self.hold.remove()
        return dict(result, version=held["version"], returned_to=labels.get(PROVEN_LABEL), server="reachable" if reachable else "not reachable")

    def _labels_back(self, held):
        before = held["before"]
        needed, loaded = set(before["labels"].values()), self._loaded()
        if not needed <= loaded:
            # They have to be loaded before anything points to them: beside what is served now, or after an exchange instead of it.
            now = self.server.entry(self.model) or before["entry"]
            self._configure(serving(before["entry"], needed, labels=False) if held.get("exchanging") else serving(now, needed | loaded))
            for version in sorted(needed):
                self._wait(version)
            loaded = self._loaded()
        if before["entry"] is not None and needed | loaded:
            # Whatever the policy says of versions that came since: what the labels leave and what they return to is loaded while they move.
            self._configure(serving(before["entry"], needed | loaded))

    def _loaded(self):
        return set(self.server.look()["models"].get(self.model, {"available": []})["available"])

    def _set_aside(self, held):
        # A model without labels is asked for its newest version, so what was loaded was in use too. Older holds do not name it.
        served, there = set(held["before"]["labels"].values()) | set(held["before"].get("available", ())), _numbers(self.base)
        result: typing.Dict[str, typing.Any] = {"aside": None}
        if held["version"] in served:
            result["note"] = "Version %d was served before this rollout, so it stays." % held["version"]
        # What a rollout that was taken over found on the disk is not its work.
        away = {version for version in held["brought"] if version == held["version"] or version not in held["before"]["versions"]} - served
        log = self.server.log_lines() if away & set(there) else ""
        reason = ROLLED_BACK % (self.params["rollout"], self.params["reason"])
        for version in sorted(away & set(there)):
            self._ensure(version=version, state="aside", reason=reason + ("\nThe last lines of the server:\n" + log if log else ""))
            result["aside"] = os.path.join(self.base, ".aside")
        return result

    def _proven(self, labels):
        try:
            self._prove(labels)
        except ServerError:
            return False
        return True

    def _prove(self, labels):
        """Ask by the labels that are back; a version without golden answers cannot be asked."""
        answers = {}
        for label, version in sorted(labels.items()):
            golden = self.measuring.golden(version)
            if golden is None:
                continue
            try:
                answers[label] = self.server.ask(self.model, golden, label=label)["version"]
                said = "Version %d answered." % answers[label]
            except RuntimeFailure as failure:
                answers[label], said = None, str(failure)
            if answers[label] != version:
                raise ServerError("The label %s is back on version %d, but that does not answer as it should: %s playbooks/rollback.yml returns this host to "
                                  "any version that it keeps (-e rollback_model=%s -e rollback_version=N)." % (label, version, said, self.model))
        return answers

    # ---- what the steps share ----
    def _entry(self, name):
        """What model.config shall say of the model at a moment of the rollout; the controller made it (rollout_configs)."""
        return entry_of(self.params["configs"][name], self.model)

    def _configure(self, entry):
        self.changed |= self.server.configure(self.model, entry)

    def _own_hold(self):
        held = self.hold.check(self.params["rollout"])
        if held is None:
            raise StepError("This device is not held by the rollout %s: it did not pass the gate, or was rolled back meanwhile. Look who did it, then begin a "
                            "new rollout." % self.params["rollout"])
        return held

    def _moved(self):
        """Labels that shall point to the new version, the one that is watched first at the front."""
        return sorted((label for label, version in self.params["labels"].items() if version == self.version), key=lambda label: (label != PROVEN_LABEL, label))

    def _put_in_place(self):
        src = self.params["src"]
        place = os.path.join(self.base, str(self.version))
        there = self._is_release(place)
        self._ensure(src=None if there or not os.path.exists(src) else src)
        # An older release of the same number may be signed as well, and what was staged be swapped for it.
        if not self._is_release(place):
            raise StepError("%s is not the release of version %d that is rolled out: its %s differs from the controller's. Somebody else put it there, or "
                            "swapped what was staged. Find out who, then begin a new rollout." % (place, self.version, manifests.NAME))

    def _ensure(self, check_mode=False, **desired):
        params = {"base_path": self.base, "model": self.model, "version": self.version, "src": None, "state": "present", "reason": "", "keep": 0, "protect": []}
        params.update((key, self.params[key]) for key in ("owner", "group", "mode", "hardware_class", "reserve_bytes", "trusted_keys"))
        params.update(desired)
        result = ensure_version(params, check_mode)
        self.changed |= result["changed"] and not check_mode
        return result

    def _is_release(self, directory):
        """Whether the directory has the manifest of the release that is rolled out."""
        path = os.path.join(directory, manifests.NAME)
        return os.path.isfile(path) and sha256_file(path) == self.params["manifest_sha256"]

    def _companion_is(self, name):
        path = os.path.join(self.base, GOLDEN, str(self.version), name)
        return os.path.isfile(path) and sha256_file(path) == self.params["companions"][name]

    def _place_companions(self):
        """Put what came with the version beside it: golden answers, sample picture, names of the classes."""
        directory = os.path.join(self.base, GOLDEN, str(self.version))
        for name, src in sorted(self.params["arrived"].items()):
            if self._companion_is(name):
                continue
            if sha256_file(src) != self.params["companions"][name]:
                raise StepError("%s arrived damaged. Look at the device's disk and memory, then begin a new rollout." % name)
            make_directories(directory)
            with open(src, "rb") as source, replacing(os.path.join(directory, name)) as target:
                shutil.copyfileobj(source, target)
            self.changed = True


def _numbers(base):
    try:
        return sorted(int(name) for name in os.listdir(base) if name.isdigit())
    except FileNotFoundError:
        return []
