#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: ask a model server over gRPC and judge its answer."""

DOCUMENTATION = r"""
module: grpc_predict
short_description: Send a real request to a model server and check the answer
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Sends golden examples, pictures or values to a model server over gRPC, to the exact version or label that is asked for.
  - Fails if the server does not answer, if another version answers, if a golden output is outside its tolerance, or if the
    median answer takes longer than the budget.
  - Needs the client of the tfleet runtime, not TensorFlow.
extends_documentation_fragment: tfleet.serving.runtime
options:
  address:
    description: Address of the server's gRPC port, V(host:port) or V(unix:/path), as seen from the managed host.
    type: str
    default: 127.0.0.1:8500
  model:
    description: Name of the model.
    type: str
    required: true
  version:
    description: Version to ask, by number. Without O(version) and O(label) the server takes the latest.
    type: int
  label:
    description: Version to ask, by label.
    type: str
  signature:
    description: Signature to call. Default is the golden file's, else V(serving_default).
    type: str
  golden:
    description: Golden file (C(.npz)) on the managed host with recorded inputs and outputs.
    type: path
  images:
    description: Pictures on the managed host, sent one by one. The signature must have one input.
    type: list
    elements: path
  inputs:
    description:
      - Values of one request by input name. A number, list or dictionary is the value itself, with the batch dimension.
      - A string is a file on the managed host (C(.npy), C(.json) or V(@file)) or the value as JSON.
    type: dict
  latency_budget_ms:
    description: Milliseconds that the median answer may take.
    type: float
  annotate:
    description: PNG file to write on the managed host, with the pictures and the boxes, labels and scores that were answered.
    type: path
  label_map:
    description: File on the managed host with the names of the classes, as JSON, one name a line, or an Object Detection C(.pbtxt).
    type: path
  timeout:
    description: Seconds each answer may take.
    type: float
    default: 10
attributes:
  check_mode:
    support: full
    description: Asks as usual, but writes no picture. A runtime, server, version or file that does not exist yet is no failure then.
  diff_mode:
    support: none
    description: Changes nothing on the server.
  idempotent:
    support: full
    description: Never reports a change; the picture of O(annotate) is a report.
seealso:
  - module: tfleet.serving.model_server_info
"""

EXAMPLES = r"""
- name: Ask version 2 of digits for its golden answers, within 50 ms
  tfleet.serving.grpc_predict:
    model: digits
    version: 2
    golden: /srv/models/digits/.golden/2/golden.npz
    latency_budget_ms: 50

- name: Ask what the label stable stands for
  tfleet.serving.grpc_predict:
    address: 127.0.0.1:8500
    model: digits
    label: stable
    golden: /srv/models/digits/.golden/2/golden.npz
  register: smoke

- name: Draw what the detector sees
  tfleet.serving.grpc_predict:
    model: detector
    images: [/srv/pictures/street.jpg]
    annotate: /srv/pictures/street-seen.png
    label_map: /srv/models/detector/label_map.json

- name: Send values
  tfleet.serving.grpc_predict:
    runtime: /opt/tfleet/bin/tfleet
    model: half_plus_two
    inputs:
      x: [1.0, 2.0, 5.0]
"""

RETURN = r"""
ok:
  description: Whether the answer was right. Null in check mode when there was nobody to ask yet.
  returned: always
  type: bool
model:
  description: Model that answered.
  returned: when the server answered
  type: str
  sample: digits
version:
  description: Version that answered, as the server says.
  returned: when the server answered
  type: int
  sample: 2
label:
  description: Label that was asked for.
  returned: when the server answered
  type: str
  sample: stable
signature:
  description: Signature that was called.
  returned: when the server answered
  type: str
  sample: serving_default
address:
  description: Address of the server.
  returned: when the server answered
  type: str
  sample: 127.0.0.1:8500
requests:
  description: Number of requests that were sent.
  returned: when the server answered
  type: int
  sample: 6
latency_ms:
  description: Milliseconds until the answer. The first one also pays for the connection; the others are without it.
  returned: when the server answered
  type: dict
  sample: {"first": 12.1, "p50": 3.2, "p90": 3.9, "max": 12.1}
worst_error:
  description: With O(golden), the output that was worst in relation to its tolerance.
  returned: when the server answered
  type: dict
  sample: {"output": "scores", "abs": 0.00001, "rel": 0.0002, "example": 3}
outputs:
  description: The outputs of the first request, long ones cut.
  returned: when the server answered
  type: dict
predictions:
  description: Classes or detected objects of each request.
  returned: when the server answered
  type: list
  elements: dict
picture:
  description: File that was written for O(annotate). Null without it and in check mode.
  returned: when the server answered
  type: str
  sample: /srv/pictures/street-seen.png
"""

import json
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import RUNTIME_ARGUMENT_SPEC, RuntimeFailure, reaching, runtime_of
from ansible_collections.tfleet.serving.plugins.module_utils.server_answers import allow, not_there_yet

# The kernel takes at most 128 KiB in one argument.
MAX_INLINE = 64 * 1024


def arguments(params, check_mode, directory):
    """Return the arguments of ``tfleet predict``.

    :param directory: where values that are too long for an argument are written; the caller removes it.
    :raises ModuleError: a number that no server or clock can have.
    """
    if params["version"] is not None and params["version"] < 0:
        raise ModuleError("version %d is not a version: give 0 or more." % params["version"])
    for name in ("latency_budget_ms", "timeout"):
        if params[name] is not None and not params[name] > 0:
            raise ModuleError("%s %g is not more than 0." % (name, params[name]))
    args = ["--address", params["address"], "--model=" + params["model"], "--timeout", "%g" % params["timeout"]]
    for option in ("version", "label", "signature", "golden", "latency_budget_ms", "label_map", "annotate"):
        if params[option] is not None and not (option == "annotate" and check_mode):
            args.append("--%s=%s" % (option.replace("_", "-"), params[option]))
    if params["images"]:
        args += ["--image", *params["images"]]
    if params["inputs"]:
        args += ["--input", *(_input(alias, value, directory) for alias, value in sorted(params["inputs"].items()))]
    return args


def predict(params, runtime, check_mode, directory):
    """Return what ``tfleet predict`` answers.

    :raises RuntimeFailure: no answer or a wrong one.
    :raises ModuleError: an option that makes no sense.
    """
    args = arguments(params, check_mode, directory)
    allow(runtime, params["timeout"])
    files = [params["golden"], params["label_map"]] + (params["images"] or [])
    needs = reaching(params["address"])
    needs["reads"] = [path for path in files if path] + _input_files(params, directory) + needs.get("reads", [])
    needs["writes"] = [params["annotate"]] if params["annotate"] and not check_mode else []
    try:
        answer = runtime.run("predict", args, **needs)
    except RuntimeFailure as failure:
        if not (check_mode and not_there_yet(failure, [path for path in files if path])):
            raise
        asked = "the latest version" if params["version"] is None else "version %d" % params["version"]
        return {"changed": False, "ok": None, "msg": "Would ask %s of model %s at %s, but not yet: %s" % (
            "label " + params["label"] if params["label"] else asked, params["model"], params["address"], failure)}
    return dict(answer, changed=False)


def _input(alias, value, directory):
    if isinstance(value, str):
        return "%s=%s" % (alias, value)
    text = json.dumps(value)
    if len(text) <= MAX_INLINE:
        return "%s=%s" % (alias, text)
    path = os.path.join(directory, "%s.json" % alias.replace("/", "_"))
    with open(path, "w") as stream:
        stream.write(text)
    return "%s=%s" % (alias, path)


def _input_files(params, directory):
    """Files behind the inputs: those that the caller names, and those that were too long for an argument."""
    named = [value for value in (params["inputs"] or {}).values() if isinstance(value, str) and os.path.isabs(value)]
    return named + ([directory] if params["inputs"] else [])


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec=dict(
            RUNTIME_ARGUMENT_SPEC,
            address={"type": "str", "default": "127.0.0.1:8500"},
            model={"type": "str", "required": True},
            version={"type": "int"},
            label={"type": "str"},
            signature={"type": "str"},
            golden={"type": "path"},
            images={"type": "list", "elements": "path"},
            inputs={"type": "dict"},
            latency_budget_ms={"type": "float"},
            annotate={"type": "path"},
            label_map={"type": "path"},
            timeout={"type": "float", "default": 10},
        ),
        required_one_of=[("golden", "images", "inputs")],
        mutually_exclusive=[("golden", "images", "inputs"), ("version", "label")],
        supports_check_mode=True,
    )
    try:
        result = predict(module.params, runtime_of(module), module.check_mode, module.tmpdir)
    except ModuleError as error:
        module.fail_json(**dict(error.result, msg=str(error)))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
