# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Filters that turn what modules returned into lines, tables and pages; see module_utils/reporting.py and fleet_status.py."""
from ansible_collections.tfleet.serving.plugins.module_utils import reporting
from ansible_collections.tfleet.serving.plugins.module_utils.fleet_status import fleet_status


class FilterModule(object):
    """Each filter is the function of the same name."""

    def filters(self):
        """Return the filters by name."""
        names = ("smoke_items", "smoke_result", "unproven_models", "smoke_summary", "picture_item", "base64_file", "status_table", "drift")
        return dict({name: getattr(reporting, name) for name in names}, fleet_status=fleet_status)
