# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Filters over what a host says of its containers and GPUs; the rules are in module_utils/container_findings.py."""
from ansible.errors import AnsibleFilterError
from ansible_collections.tfleet.serving.plugins.module_utils import container_findings as rules
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError


def _filter(function):
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ModuleError as error:
            raise AnsibleFilterError(str(error))
    return call


class FilterModule(object):
    """Each filter is the function of the same name."""

    def filters(self):
        """Return the filters by name."""
        return {name: _filter(getattr(rules, name)) for name in ("container_findings", "l4t_source_faults")}
