# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Filters over the inventory variable ``tfleet_models``; the rules are in module_utils/models.py and model_config.py."""
from ansible_collections.tfleet.serving.plugins.module_utils import models as rules
from ansible_collections.tfleet.serving.plugins.module_utils.model_config import model_config
from ansible_collections.tfleet.serving.plugins.plugin_utils.filters import filters_of


class FilterModule(object):
    """Each filter is the function of the same name."""

    def filters(self):
        """Return the filters by name."""
        return filters_of(
            rules.normalise, rules.client_address, rules.release_item, rules.declared_versions, rules.versions_on_disk, rules.served_labels,
            rules.rollback_plan, model_config,
        )
