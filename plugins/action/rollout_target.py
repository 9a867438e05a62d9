# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Action of the module ``rollout_target``: the device is asked once, and all that follows from its answer is decided here."""
import json
import os

from ansible import constants
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.tfleet.serving.plugins.module_utils.compatibility import hardware_class_of, resolve
from ansible_collections.tfleet.serving.plugins.module_utils.conversions import with_variants
from ansible_collections.tfleet.serving.plugins.module_utils.device_identity import describe
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.models import ModelsError, normalise
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_configs import rollout_item
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import redact

FACTS = "tfleet.serving.jetson_facts"
LONGEST_MESSAGE = 4000


class ActionModule(ActionBase):
    """Ask the device, decide what may run on it, read its models and choose the release."""

    _supports_check_mode = True
    _requires_connection = True
    _VALID_ARGS = frozenset(("device", "runtime", "models", "models_root", "source_root", "conversions_dir", "model", "version"))

    def run(self, tmp=None, task_vars=None):
        """Return facts; a device that does not answer lacks those about itself, and only what is declared wrongly fails."""
        super().run(tmp, task_vars)
        args = dict({"device": {}, "runtime": {}}, **self._task.args)
        observed, message = self._observed({key: value for key, value in args["device"].items() if value not in (None, "", [])}, task_vars)
        if message:
            self._display.display("%s: %s" % (task_vars["inventory_hostname"], message), color=constants.COLOR_ERROR)
        try:
            facts = _decided(observed, args, task_vars)
        except (ModuleError, ModelsError) as error:
            return {"failed": True, "msg": str(error)}
        return {"changed": False, "ansible_facts": facts, **({"msg": message} if message else {})}

    def _observed(self, options, task_vars):
        """(what the device reads of itself or None, why there is nothing)."""
        try:
            result = self._execute_module(module_name=FACTS, module_args=options, task_vars=task_vars)
        except AnsibleError as error:
            # No way to it, no way to become root on it: the steps say what that means for a rollout.
            return None, _short(error)
        return result.get("observed"), _short(result.get("module_stderr") or result.get("msg", "no message")) if result.get("failed") else ""


def _short(message):
    return redact(str(message).strip())[:LONGEST_MESSAGE]


def _decided(observed, args, task_vars):
    # What another play has learned of it is better than nothing.
    known = task_vars.get("ansible_facts") or {}
    device, facts = known.get("tfleet_device"), {}
    if observed is not None:
        device = facts["tfleet_device"] = describe(observed, args["device"].get("l4t_override") or None)
    resolved = resolve(device, groups=task_vars["group_names"], **args["runtime"]) if device else {}
    wanted = hardware_class_of(resolved, device, known)
    record = os.path.join(args["conversions_dir"], wanted + ".json")
    conversions = {}
    if os.path.isfile(record):
        with open(record, encoding="utf-8") as stream:
            conversions = json.load(stream)
    models = normalise(with_variants(args["models"], conversions), args["models_root"], args["source_root"])
    item = rollout_item(models, args["model"], args.get("version"), wanted) if args.get("model") else {}
    return dict(facts, preflight_resolved=resolved, preflight_models=models, rollout_item=item)
