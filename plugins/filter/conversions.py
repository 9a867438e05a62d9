# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Filters of the role model_conversion, and what carries its results into a deployment; the rules are in module_utils/conversions.py."""
from ansible.errors import AnsibleFilterError
from ansible_collections.tfleet.serving.plugins.module_utils import conversions as rules
from ansible_collections.tfleet.serving.plugins.module_utils.models import ModelsError


def _filter(function):
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ModelsError as error:
            raise AnsibleFilterError(str(error))
    return call


class FilterModule(object):
    """Each filter is the function of the same name."""

    def filters(self):
        """Return the filters by name."""
        names = ("benchmark_builds", "conversion_entry", "conversion_items", "conversion_mark", "conversion_report", "conversion_verdict",
                 "may_stand_in", "with_variants")
        return {name: _filter(getattr(rules, name)) for name in names}
