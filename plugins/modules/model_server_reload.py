#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: a running model server takes another model.config."""

DOCUMENTATION = r"""
module: model_server_reload
short_description: Have a running model server take another model.config
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Sends the models of a C(model.config) to the server, which replaces all that it serves by them. Returns when models with a new
    name are loaded. The server goes on serving the old ones if it refuses the file.
  - Use it after the file has changed, for example when the task that wrote it reports a change.
  - Needs the client of the tfleet runtime, not TensorFlow.
extends_documentation_fragment: tfleet.serving.runtime
options:
  address:
    description: Address of the server's gRPC port, V(host:port) or V(unix:/path), as seen from the managed host.
    type: str
    default: 127.0.0.1:8500
  config_file:
    description: The model.config on the managed host.
    type: path
    required: true
  timeout:
    description: Seconds to wait until models with a new name are loaded.
    type: float
    default: 60
attributes:
  check_mode:
    support: full
    description: Checks the file by the server's own rules and sends nothing. A runtime or file that does not exist yet is no failure then.
  diff_mode:
    support: none
    description: The task that writes the file shows the difference.
  idempotent:
    support: none
    description: Sends the file every time.
seealso:
  - module: tfleet.serving.model_server_info
"""

EXAMPLES = r"""
- name: Have the server read its configuration again
  tfleet.serving.model_server_reload:
    config_file: /etc/tfleet/model.config

- name: The same when a template has changed it
  tfleet.serving.model_server_reload:
    address: 127.0.0.1:8500
    config_file: /etc/tfleet/model.config
  when: written is changed

- name: Give a large new model ten minutes to load
  tfleet.serving.model_server_reload:
    runtime: /opt/tfleet/bin/tfleet
    config_file: /etc/tfleet/model.config
    timeout: 600
"""

RETURN = r"""
models:
  description: Names of the models in the file.
  returned: success
  type: list
  elements: str
  sample: [digits, digits_detector]
address:
  description: Address of the server.
  returned: success
  type: str
  sample: 127.0.0.1:8500
code:
  description: Name of the server's gRPC status code.
  returned: when the server refused the file or does not answer
  type: str
  sample: FAILED_PRECONDITION
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import RUNTIME_ARGUMENT_SPEC, RuntimeMissing, reaching, runtime_of
from ansible_collections.tfleet.serving.plugins.module_utils.server_answers import allow


def reload(params, runtime, check_mode):
    """Send the file, or in check mode look at it, and return the module's result.

    :raises RuntimeFailure: the file is wrong, or the server refuses it or does not answer.
    :raises ModuleError: an option that makes no sense.
    """
    if not params["timeout"] > 0:
        raise ModuleError("timeout %g is not more than 0." % params["timeout"])
    result = {"changed": True, "address": params["address"], "models": []}
    if not check_mode:
        allow(runtime, params["timeout"])
        needs = reaching(params["address"])
        needs["reads"] = [params["config_file"], *needs.get("reads", [])]
        answer = runtime.run(
            "reload", ["--address", params["address"], "--config=" + params["config_file"], "--timeout", "%g" % params["timeout"]], **needs)
        return dict(result, models=answer["models"])
    result["msg"] = "Would send %s to %s." % (params["config_file"], params["address"])
    if os.path.exists(params["config_file"]):
        try:
            result["models"] = [model["name"] for model in _check(runtime, params["config_file"])["models"]]
        except RuntimeMissing as missing:
            result["msg"] += " It could not be checked: %s" % missing
    return result


def _check(runtime, path):
    return runtime.run("config", ["check", "--kind", "model", path], reads=[path])


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec=dict(
            RUNTIME_ARGUMENT_SPEC,
            address={"type": "str", "default": "127.0.0.1:8500"},
            config_file={"type": "path", "required": True},
            timeout={"type": "float", "default": 60},
        ),
        supports_check_mode=True,
    )
    try:
        result = reload(module.params, runtime_of(module), module.check_mode)
    except ModuleError as error:
        module.fail_json(**dict(error.result, msg=str(error)))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
