#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: what a model server serves, or waiting until it serves what it should."""

DOCUMENTATION = r"""
module: model_server_info
short_description: Tell what a model server serves, or wait for versions to become available
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Asks the server for the state of every version of the models, and reads the models and labels of its C(model.config).
  - With O(wait) it waits until the versions are AVAILABLE, and fails with the server's own reason as soon as one has failed to load.
  - Needs the client of the tfleet runtime, not TensorFlow.
extends_documentation_fragment: tfleet.serving.runtime
options:
  address:
    description: Address of the server's gRPC port, V(host:port) or V(unix:/path), as seen from the managed host.
    type: str
    default: 127.0.0.1:8500
  config_file:
    description: The server's model.config on the managed host. One that does not exist (yet) lists no models.
    type: path
  models:
    description: Names of models to ask for, besides those in O(config_file) and O(wait).
    type: list
    elements: str
    default: []
  wait:
    description: Versions that must become AVAILABLE. Not waited for in check mode.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the model.
        type: str
        required: true
      version:
        description: Version number.
        type: int
        required: true
  timeout:
    description: Seconds to wait for the versions of O(wait), or else for an answer.
    type: float
    default: 30
attributes:
  check_mode:
    support: full
    description: Asks as usual, but does not wait. A runtime that does not exist yet is no failure then.
  diff_mode:
    support: none
    description: Changes nothing.
seealso:
  - module: tfleet.serving.model_server_reload
  - module: tfleet.serving.grpc_predict
"""

EXAMPLES = r"""
- name: Ask what the server of this host serves
  tfleet.serving.model_server_info:
    config_file: /etc/tfleet/model.config
  register: server

- name: Say which versions are in use
  ansible.builtin.debug:
    msg: "{{ server.models.digits.versions | selectattr('state', 'eq', 'AVAILABLE') | map(attribute='version') }}"
  when: server.reachable

- name: Wait until version 2 of digits is served
  tfleet.serving.model_server_info:
    wait:
      - name: digits
        version: 2
    timeout: 120

- name: Ask a server that has no model.config here
  tfleet.serving.model_server_info:
    runtime: /opt/tfleet/bin/tfleet
    address: unix:/run/tfleet/model_server.sock
    models: [digits, digits_detector]
"""

RETURN = r"""
reachable:
  description: Whether a server answered. That none does is no failure without O(wait).
  returned: success
  type: bool
  sample: true
address:
  description: Address of the server.
  returned: success
  type: str
  sample: 127.0.0.1:8500
models:
  description:
    - For each model that was asked for, the state of every version the server has seen, newest first, and its labels in O(config_file).
    - A model the server does not know has no versions. Empty if the server is not reachable.
  returned: success, or when a version of O(wait) failed to load
  type: dict
  sample:
    digits:
      versions:
        - {version: 2, state: AVAILABLE, error_code: OK, error_message: ""}
      labels: {stable: 2}
config:
  description: The models of O(config_file) as they would stand in the inventory, and what is doubtful in the file.
  returned: success
  type: dict
  sample:
    models:
      - {name: digits, base_path: /srv/models/digits, policy: {latest: {num_versions: 2}}, labels: {stable: 2}}
    warnings: []
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import RUNTIME_ARGUMENT_SPEC, RuntimeFailure, RuntimeMissing, reaching, runtime_of
from ansible_collections.tfleet.serving.plugins.module_utils.server_answers import allow, unknown_model, unreachable

# No model can have this name, so a server that says it does not know it is there.
_NOBODY = "/"


def info(params, runtime, check_mode):
    """Return the module's result.

    :raises RuntimeFailure: a version waited for failed to load or did not come, or model.config is wrong.
    :raises ModuleError: an option that makes no sense.
    """
    if not params["timeout"] > 0:
        raise ModuleError("timeout %g is not more than 0." % params["timeout"])
    for item in params["wait"]:
        if item["version"] < 1 or not item["name"]:
            raise ModuleError("wait: %s=%d is not a model and a version of 1 or more." % (item["name"], item["version"]))
    allow(runtime, params["timeout"])
    result = {"changed": False, "reachable": False, "address": params["address"], "models": {}, "config": {"models": [], "warnings": []}}
    try:
        result["config"] = _config(runtime, params["config_file"])
        if params["wait"] and not check_mode:
            _wait(runtime, params)
        result.update(_status(runtime, params, result["config"]["models"]))
    except RuntimeMissing as missing:
        if not check_mode:
            raise
        result["msg"] = "Would ask the server at %s, but not yet: %s" % (params["address"], missing)
    return result


def _config(runtime, path):
    if path is None or not os.path.exists(path):
        return {"models": [], "warnings": []}
    answer = runtime.run("config", ["check", "--kind", "model", path], reads=[path])
    return {"models": answer["models"], "warnings": answer["warnings"]}


def _wait(runtime, params):
    wanted = ["%s=%d" % (item["name"], item["version"]) for item in params["wait"]]
    try:
        runtime.run("status", [*_where(params), "--wait", *wanted], **reaching(params["address"]))
    except RuntimeFailure as failure:
        name = failure.result.get("model")
        if failure.result.get("state") != "END":
            raise
        failure.result["models"] = _status(runtime, params, [])["models"]
        serving = [row["version"] for row in failure.result["models"].get(name, {}).get("versions", []) if row["state"] == "AVAILABLE"]
        sentence = "%s %s serving." % (_versions(serving), "keeps" if len(serving) == 1 else "keep") if serving else "No version of it serves."
        raise RuntimeFailure("%s %s" % (failure, sentence), failure.result)


def _status(runtime, params, configured):
    labels = {model["name"]: model["labels"] for model in configured}
    names = list(labels) + params["models"] + [item["name"] for item in params["wait"]]
    names = [name for index, name in enumerate(names) if name not in names[:index]]
    models = {name: {"versions": [], "labels": labels.get(name, {})} for name in names}
    asked = names or [_NOBODY]
    while asked:
        try:
            answer = runtime.run("status", [*_where(params), *("--model=" + name for name in asked)], **reaching(params["address"]))
        except RuntimeFailure as failure:
            if unreachable(failure):
                return {"reachable": False, "models": {}, "msg": str(failure)}
            # One that the server does not know spoils the answer about the others.
            unknown = unknown_model(failure)
            if unknown not in asked:
                raise
            asked = [name for name in asked if name != unknown]
            continue
        for name, model in answer["models"].items():
            models[name]["versions"] = model["versions"]
        break
    return {"reachable": True, "models": models}


def _where(params):
    return ["--address", params["address"], "--timeout", "%g" % params["timeout"]]


def _versions(numbers):
    return "Version%s %s" % ("" if len(numbers) == 1 else "s", ", ".join(map(str, numbers)))


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec=dict(
            RUNTIME_ARGUMENT_SPEC,
            address={"type": "str", "default": "127.0.0.1:8500"},
            config_file={"type": "path"},
            models={"type": "list", "elements": "str", "default": []},
            wait={"type": "list", "elements": "dict", "default": [],
                  "options": {"name": {"type": "str", "required": True}, "version": {"type": "int", "required": True}}},
            timeout={"type": "float", "default": 30},
        ),
        supports_check_mode=True,
    )
    try:
        result = info(module.params, runtime_of(module), module.check_mode)
    except ModuleError as error:
        module.fail_json(**dict(error.result, msg=str(error)))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
