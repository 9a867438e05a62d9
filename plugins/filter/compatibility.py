# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Filters that decide what may run on a device; the rules are in module_utils of the same names."""
from ansible_collections.tfleet.serving.plugins.module_utils import compatibility, host_problems, preflight_report
from ansible_collections.tfleet.serving.plugins.plugin_utils import variables
from ansible_collections.tfleet.serving.plugins.plugin_utils.filters import filters_of


class FilterModule(object):
    """Each filter is the function of the same name."""

    def filters(self):
        """Return the filters by name."""
        return filters_of(
            compatibility.resolve, host_problems.core_problem, host_problems.host_problems, variables.variable_problems,
            preflight_report.fleet_table, preflight_report.fleet_json, preflight_report.problems_by_host,
        )
