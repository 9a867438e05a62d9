# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Filters that turn the variables of the role model_server into what is started; the rules are in module_utils/servers.py."""
from ansible_collections.tfleet.serving.plugins.module_utils import servers
from ansible_collections.tfleet.serving.plugins.plugin_utils.filters import filters_of


class FilterModule(object):
    """Each filter is the function of the same name."""

    def filters(self):
        """Return the filters by name."""
        return filters_of(
            servers.server_flags, servers.container_servers, servers.read_only_mounts, servers.memory_shortage,
        )
