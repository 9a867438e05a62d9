# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Filters of the role monitoring; the rules are in module_utils/monitoring_targets.py."""
from ansible_collections.tfleet.serving.plugins.module_utils import monitoring_targets as rules
from ansible_collections.tfleet.serving.plugins.plugin_utils.filters import filters_of


class FilterModule(object):
    """Each filter is the function of the same name."""

    def filters(self):
        """Return the filters by name."""
        return filters_of(rules.listen_address, rules.rest_addresses, rules.scrape_targets, rules.alertmanager_of)
