# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Filters over the inventory variable ``tfleet_models``; the rules are in module_utils/models.py."""
from ansible.errors import AnsibleFilterError
from ansible_collections.tfleet.serving.plugins.module_utils import models as rules


def _filter(function):
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except rules.ModelsError as error:
            raise AnsibleFilterError(str(error))
    return call


class FilterModule(object):
    """Each filter is the function of the same name."""

    def filters(self):
        """Return the filters by name."""
        names = ("normalise", "client_address", "release_item", "declared_versions", "versions_on_disk", "served_labels", "rollback_plan")
        return {name: _filter(getattr(rules, name)) for name in names}
