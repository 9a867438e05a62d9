# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Functions of module_utils as filters: what they refuse becomes the error of the task that used them."""
import functools

from ansible.errors import AnsibleFilterError
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.models import ModelsError


def filters_of(*functions):
    """Return {name: filter} for functions that raise ModuleError or ModelsError."""
    return {function.__name__: _filter(function) for function in functions}


def _filter(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except (ModuleError, ModelsError) as error:
            raise AnsibleFilterError(str(error))
    return call
