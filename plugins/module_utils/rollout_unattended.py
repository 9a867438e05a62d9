# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What a device that updates itself does next: nobody is there to resume a rollout or to decide that a failed one is worth another try.

Pure but for looking at the ledgers and the versions, both of which such a device has itself.
"""
import os
from collections import OrderedDict
from typing import Any, Dict, List, Optional, Sequence

from ansible_collections.tfleet.serving.plugins.module_utils.rollout_configs import rollout_item
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_ledger import Ledger, LedgerError, known, model_of
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_state import DONE, ROLLED_BACK, State


def unattended_runs(models: Sequence[Dict[str, Any]], root: str, host: str, hardware_class: str = "") -> List[Dict[str, Any]]:
    """Return for each declared model what playbooks/pull.yml does on this device.

    :param models: result of models.normalise().
    :param root: directory of the rollouts' ledgers.
    :param host: name of the device in the inventory.
    :returns: [{"model", "version", "variables": extra variables of playbooks/rollout.yml, or None if there is nothing to do, "reason": a sentence}].
    :raises ModelsError: a declaration that no rollout accepts.
    """
    runs = []
    for model in models:
        if model["releases"]:
            item = rollout_item(models, model["name"], None, hardware_class)
            version, last = item["version"], _last(root, model["name"])
            try:
                state = State(Ledger(os.path.join(root, last)).read()) if last else None
            except LedgerError as error:
                # Nobody restores it here. Of a version that is there already the new rollout only proves that it answers.
                variables: Any = OrderedDict([("rollout_model", model["name"]), ("rollout_supersede", last)])
                reason = "A new rollout takes the place of one whose record cannot be used. %s" % error
            else:
                if state is None and os.path.isdir(os.path.join(item["base_path"], str(version))):
                    # From the bench. Built anew from the same source it would be another release of the same number, which no version takes.
                    variables, reason = None, "Version %d of %s was here before the device began to update itself." % (version, model["name"])
                else:
                    variables, reason = _next(state, model["name"], version, host)
            runs.append({"model": model["name"], "version": version, "variables": variables, "reason": reason})
    return runs


def _last(root: str, model: str) -> Optional[str]:
    names = [name for name in known(root) if model_of(name) == model]
    return names[-1] if names else None


def _next(state: Optional[State], model: str, version: int, name: str) -> Any:
    begin = OrderedDict([("rollout_model", model)])
    host = state.hosts.get(name) if state else None
    if state is None or host is None:
        return begin, "Version %d of %s is new here." % (version, model)
    rollout = state.plan["rollout"]
    settled = host.status in (DONE, ROLLED_BACK)
    if host.version != version:
        if host.touched and not settled:
            return OrderedDict(begin, rollout_supersede=rollout), "Version %d of %s takes the place of what %s began." % (version, model, rollout)
        return begin, "Version %d of %s is new here." % (version, model)
    if host.status == DONE:
        return None, "Version %d of %s was brought by %s." % (version, model, rollout)
    if not settled:
        return OrderedDict(begin, rollout_resume=rollout), "%s did not come to its end." % rollout
    return None, ("Version %d of %s failed here in %s and is not tried again. Declare another version, or run playbooks/rollout.yml with "
                  "-e rollout_model=%s. %s" % (version, model, rollout, model, (host.failure or {}).get("msg", ""))).rstrip()
