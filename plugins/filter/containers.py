# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Filters over what a host says of its containers and GPUs; the rules are in module_utils/container_findings.py."""
from ansible_collections.tfleet.serving.plugins.module_utils import container_findings as rules
from ansible_collections.tfleet.serving.plugins.plugin_utils.filters import filters_of


class FilterModule(object):
    """Each filter is the function of the same name."""

    def filters(self):
        """Return the filters by name."""
        return filters_of(
            rules.container_findings, rules.l4t_source_faults,
        )
