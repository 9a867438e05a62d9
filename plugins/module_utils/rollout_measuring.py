# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""How a new version of a model is measured on a device: by its golden answers, beside the version that is served, and by what it does to the device."""
import os
import time

from ansible_collections.tfleet.serving.plugins.module_utils import rollout_gate as judge
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.memory import parse_size
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import RuntimeFailure
from ansible_collections.tfleet.serving.plugins.module_utils.version_store import GOLDEN

GOLDEN_NAME = "golden.npz"


class StepError(ModuleError):
    """A step found the version, or the device, not as it must be."""


class Measuring(object):
    """One version on one device.

    :param params: the options of the module ``rollout_host``.
    :param server: a rollout_server.Server.
    :param device_health: a function that returns device_facts.Device.health().
    """

    def __init__(self, params, server, device_health):
        self.params = params
        self.server = server
        self.device_health = device_health
        self.model, self.version, self.base = params["model"], params["version"], params["base_path"]

    def golden(self, version):
        """Return the path of a version's golden answers, None if it has none."""
        path = os.path.join(self.base, GOLDEN, str(version), GOLDEN_NAME)
        return path if os.path.isfile(path) else None

    def ask(self, what, golden, **target):
        """Return the golden answers of the new version by its number or a label.

        :raises StepError: none, wrong ones, or those of another version.
        """
        try:
            answer = self.server.ask(self.model, golden, **target)
        except RuntimeFailure as failure:
            raise StepError("Wrong or no answer by %s: %s" % (what, failure), samples=failure.result.get("samples", [])) from failure
        if answer["version"] != self.version:
            raise StepError("By %s version %d answered, not version %d." % (what, answer["version"], self.version))
        return answer

    def beside(self, old, before, until=None):
        """Ask the new version and the version ``old`` in turns, so that both meet the same minute, and look at the device that was as ``before``.

        :param old: None to ask the new one alone.
        :param until: when it has to be proven in an exchange, by time.monotonic().
        :raises StepError: it does not pass; its result holds what was measured.
        """
        golden, old_golden = self.golden(self.version), self.golden(old) if old is not None else None
        if golden is None:
            raise StepError("There are no golden answers of version %d of %s, so nothing would prove it. Name them in tfleet_models (golden:), or run "
                            "playbooks/deploy.yml, which asks for none." % (self.version, self.model))
        rounds, notes, answer = [], [], {}
        for _turn in range(self.params["rounds"]):
            reference = None
            if old_golden is not None and old != self.version:
                try:
                    reference = self.server.ask(self.model, old_golden, version=old)["p50"]
                except RuntimeFailure as failure:
                    notes.append("Version %d, which is served now, did not answer as recorded: %s" % (old, failure))
            limit = {} if until is None else {"timeout": max(5.0, min(60.0, until - time.monotonic()))}
            answer = self.ask("version %d" % self.version, golden, version=self.version, **limit)
            rounds.append((reference, answer["p50"]))
            if until is not None and time.monotonic() > until:
                raise StepError("Version %d was AVAILABLE, but not proven within the %d seconds that this device may be without the model "
                                "(rollout_exchange_seconds): it was asked %d of %d times (rollout_rounds)."
                                % (self.version, self.params["exchange_seconds"], len(rounds), self.params["rounds"]))
        findings = judge.latency(rounds, self.params["latency_factor"], self.params["latency_slack_ms"], self.params["latency_budget_ms"])
        after = self.health()
        findings += self.findings(before, after)
        measured = {"old": old, "rounds": rounds, "worst_error": answer["worst_error"], "samples": answer["samples"], "notes": notes[:1],
                    "health": _short(before, after)}
        if findings:
            raise StepError("Version %d of %s does not pass. %s" % (self.version, self.model, " ".join(findings)), **measured)
        return measured

    def health(self):
        """Return what Device.health() tells, and ``servers`` as Server.processes() does."""
        return dict(self.device_health(), servers=self.server.processes())

    def findings(self, before, after, fell=False):
        """Return what speaks against the version of what it did to the device and its servers.

        :param fell: whether their counters began anew.
        """
        total, memory = (after["memory"] or {}).get("total_bytes"), None
        if total:
            memory = max(parse_size(self.params["memory_growth"], "rollout_memory_growth", total),
                         judge.memory_needed(self.params["release_bytes"], self.params["memory_factor"]))
        swap = parse_size(self.params["swap_growth"], "rollout_swap_growth")
        return judge.restarts(before, after, fell) + judge.health(before, after, memory, swap, self.params["max_celsius"])


def _short(before, after):
    """What of the device's health belongs into the ledger."""
    memory = [(reading["memory"] or {}).get("available_bytes") for reading in (before, after)]
    return {
        "available_bytes": memory,
        "server_bytes": [sum(server["resident_bytes"] for server in reading["servers"]) if reading["servers"] else None for reading in (before, after)],
        "swap_used_bytes": [sum(area["used_bytes"] for area in reading["swap"] or ()) for reading in (before, after)],
        "celsius": max([zone["celsius"] for zone in after["thermal"] or ()] or [None], key=lambda value: value or 0),
        "over_current": after["over_current"], "throttling": after["throttling"],
    }
