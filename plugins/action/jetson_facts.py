# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Action of the module ``jetson_facts``: the readings come from the device, what follows from them is looked up here."""
from ansible.plugins.action import ActionBase
from ansible_collections.tfleet.serving.plugins.module_utils.device_identity import describe
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError


class ActionModule(ActionBase):
    """Run the module and turn its readings into the fact ``tfleet_device``."""

    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp=None, task_vars=None):
        """Return the module's result, with ``ansible_facts`` instead of its readings."""
        super().run(tmp, task_vars)
        arguments = {key: value for key, value in self._task.args.items() if value is not None}
        result = self._execute_module(module_name="tfleet.serving.jetson_facts", module_args=arguments, task_vars=task_vars)
        observed = result.pop("observed", None)
        if result.get("failed") or observed is None:
            return result
        try:
            result["ansible_facts"] = {"tfleet_device": describe(observed, arguments.get("l4t_override") or None)}
        except ModuleError as error:
            result.update(failed=True, msg=str(error))
        return result
