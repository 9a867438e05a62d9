# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Filters that turn the variables of the role model_server into what is started; the rules are in module_utils/servers.py."""
from ansible.errors import AnsibleFilterError
from ansible_collections.tfleet.serving.plugins.module_utils import servers
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
        names = ("server_flags", "container_servers", "read_only_mounts", "memory_shortage")
        return {name: _filter(getattr(servers, name)) for name in names}
