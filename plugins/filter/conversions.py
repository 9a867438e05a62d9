# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Filters of the role model_conversion, and what carries its results into a deployment; the rules are in module_utils/conversions.py."""
from ansible_collections.tfleet.serving.plugins.module_utils import conversions as rules
from ansible_collections.tfleet.serving.plugins.plugin_utils.filters import filters_of


class FilterModule(object):
    """Each filter is the function of the same name."""

    def filters(self):
        """Return the filters by name."""
        return filters_of(
            rules.benchmark_builds, rules.conversion_entry, rules.conversion_items, rules.conversion_mark, rules.conversion_report,
            rules.conversion_verdict, rules.may_stand_in, rules.with_variants,
        )
