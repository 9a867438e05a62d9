# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Filter of playbooks/pull.yml; the rules are in module_utils/rollout_unattended.py."""
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_unattended import unattended_runs
from ansible_collections.tfleet.serving.plugins.plugin_utils.filters import filters_of


class FilterModule(object):
    """Each filter is the function of the same name."""

    def filters(self):
        """Return the filters by name."""
        return filters_of(unattended_runs)
