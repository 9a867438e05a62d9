#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: what is in a SavedModel or a frozen graph."""

DOCUMENTATION = r"""
module: saved_model_info
short_description: Tell what is in a SavedModel or a frozen graph
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Tells the tag sets, signatures, dtypes, shapes and operations of a SavedModel without loading its variables.
  - Of a frozen graph, which has no signatures, it tells the candidate inputs and outputs with their shapes, so that nobody guesses names of nodes.
extends_documentation_fragment: tfleet.serving.runtime
options:
  path:
    description: A SavedModel folder, or a graph file (C(.pb), or C(.pbtxt) as text).
    type: path
    required: true
attributes:
  check_mode:
    support: full
    description: Runs as usual; a model or runtime that does not exist yet is no failure then.
  diff_mode:
    support: none
    description: Changes nothing.
seealso:
  - module: tfleet.serving.saved_model
"""

EXAMPLES = r"""
- name: See which tensors a frozen graph could take and give
  tfleet.serving.saved_model_info:
    path: /srv/models/frozen_inference_graph.pb
  register: graph

- name: Show the candidates
  ansible.builtin.debug:
    var: graph.candidates

- name: Look into a SavedModel
  tfleet.serving.saved_model_info:
    path: /srv/models/detector
    runtime: /opt/tfleet/bin/tfleet
  register: model

- name: Stop unless it takes images of any size
  ansible.builtin.assert:
    that: model.meta_graphs[0].signatures.serving_default.inputs.inputs.shape == [1, -1, -1, 3]
    fail_msg: The detector was exported for one size of images; export it again with free height and width.

- name: Give a very large graph more time, and keep TensorFlow's own messages out of it
  tfleet.serving.saved_model_info:
    path: /srv/models/frozen_inference_graph.pb
    runtime_timeout: 1800
    runtime_env:
      TF_CPP_MIN_LOG_LEVEL: "3"
"""

RETURN = r"""
path:
  description: The absolute path of the model.
  type: str
  returned: always
kind:
  description: V(saved_model) or V(frozen_graph); null for a model that does not exist yet (check mode).
  type: str
  returned: always
meta_graphs:
  description: For each graph its tag set, signatures, operations with their number of uses, and the TensorFlow that wrote it.
  type: list
  elements: dict
  returned: always
  sample:
    - tags: [serve]
      tensorflow_version: 2.17.1
      signatures:
        serving_default:
          inputs: {images: {name: "image:0", dtype: float32, shape: [-1, 28, 28, 1]}}
          outputs: {scores: {name: "scores:0", dtype: float32, shape: [-1, 10]}}
          method_name: tensorflow/serving/predict
      ops: {Conv2D: 2, Const: 9, MatMul: 2, Placeholder: 1, Softmax: 1}
candidates:
  description: Of a frozen graph, the placeholders and the tensors that nothing consumes. A size of -1 is free, a null shape of any rank.
  type: dict
  returned: always
  sample:
    inputs: [{name: "image:0", dtype: float32, shape: [-1, 28, 28, 1], op: Placeholder}]
    outputs: [{name: "scores:0", dtype: float32, shape: [-1, 10], op: Softmax}]
bytes:
  description: Size of the file, or of all files of the folder.
  type: int
  returned: always
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import RUNTIME_ARGUMENT_SPEC, RuntimeFailure, RuntimeMissing, runtime_of


def info(params, runtime, check_mode):
    """What ``tfleet inspect`` answers. Raises RuntimeFailure."""
    try:
        answer = runtime.run("inspect", [params["path"]], reads=[params["path"]])
    except RuntimeFailure as failure:
        if not check_mode or not (isinstance(failure, RuntimeMissing) or failure.result.get("missing")):
            raise
        # An earlier task of the same play may bring the runtime or the model: it does so only outside check mode.
        return {
            "changed": False,
            "path": os.path.abspath(params["path"]),
            "kind": None,
            "meta_graphs": [],
            "bytes": 0,
            "candidates": {"inputs": [], "outputs": []},
            "msg": "Would inspect it, but not yet: %s" % failure,
        }
    return dict({key: value for key, value in answer.items() if key != "ok"}, changed=False)


def main():
    """Entry point."""
    module = AnsibleModule(
        argument_spec=dict(RUNTIME_ARGUMENT_SPEC, path={"type": "path", "required": True}),
        supports_check_mode=True,
    )
    try:
        result = info(module.params, runtime_of(module), module.check_mode)
    except RuntimeFailure as failure:
        module.fail_json(**dict(failure.result, msg=str(failure)))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
