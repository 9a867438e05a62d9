#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: whether one build of a model may stand in for another."""

DOCUMENTATION = r"""
module: model_parity
short_description: Compare two builds or servers of a model
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Asks two builds of a model the same requests, in batches, and compares what they answer - errors of each output, agreement of the best classes, matched
    boxes of a detector, accuracy and mean average precision on labelled Examples.
  - Fails if they differ by more than the thresholds, and tells why where an experiment shows it - dropout or batch normalization in training mode, swapped
    colour channels, another range of inputs, classes gone to background while the boxes agree.
  - A build is the folder of a SavedModel, a folder with C(model.tflite) or a C(.tflite) file, run in-process by the model server's own code, or a served
    model, V(grpc://host:port/model), with V(/version) or V(/label) behind it if not the latest.
  - Loads one build after the other, so that the host needs memory for one of them.
extends_documentation_fragment: tfleet.serving.runtime
options:
  reference:
    description: The build that is right; or a golden file (C(.npz)) with its recorded answers.
    type: str
    required: true
  candidate:
    description: The build that is judged.
    type: str
    required: true
  signature:
    description: Signature to call. Default is the golden file's, else V(serving_default).
    type: str
  golden:
    description: Golden file (C(.npz)) on the managed host whose inputs are asked.
    type: path
  tfrecord:
    description: TFRecord files of tf.train.Example, names of shards, or folders of them, on the managed host. Their labels tell accuracy and precision.
    type: list
    elements: path
  images:
    description: Pictures on the managed host.
    type: list
    elements: path
  random:
    description: Number of seeded random rows to ask.
    type: int
  values:
    description: Range of a picture's numbers for a float input.
    type: str
    default: 0..1
  examples:
    description: Ask at most so many requests. Default is all.
    type: int
  batch_size:
    description: Rows that are asked at once, where the model takes any number.
    type: int
    default: 16
  thresholds:
    description:
      - What the builds may differ by. The keys are C(outputs), C(detection) and C(accuracy_drop); what is not given has a default by what the output is.
      - C(outputs) has an entry by output with upper limits C(max_abs), C(mean_abs), C(max_rel) and C(mean_rel), and lower limits C(top1), C(topk) and
        C(equal), which are shares.
      - C(detection) has C(min_score), C(iou), the lower limits C(matched) and C(classes), and the upper limit C(map_drop).
    type: dict
    default: {}
  label_map:
    description: File on the managed host with the names of the classes, as JSON, one name a line, or an Object Detection C(.pbtxt).
    type: path
  top_k:
    description: How many of the best classes count for C(topk).
    type: int
    default: 5
  worst:
    description: How many of the worst rows to report.
    type: int
    default: 4
  picture:
    description: PNG file to write on the managed host, with the worst rows as both builds see them, side by side. Only for models of pictures.
    type: path
  timeout:
    description: Seconds that each answer of a server may take.
    type: float
    default: 60
attributes:
  check_mode:
    support: full
    description: Compares as usual, but writes no picture. A runtime, server, build or file that does not exist yet is no failure then.
  diff_mode:
    support: none
    description: Changes nothing.
  idempotent:
    support: full
    description: Never reports a change; the picture of O(picture) is a report.
seealso:
  - module: tfleet.serving.model_benchmark
  - module: tfleet.serving.grpc_predict
"""

EXAMPLES = r"""
- name: Compare a converted model with its source on the golden inputs
  tfleet.serving.model_parity:
    reference: /srv/work/digits/native
    candidate: /srv/work/digits/tflite-int8
    golden: /srv/models/digits/.golden/2/golden.npz
    thresholds:
      outputs:
        scores: {mean_abs: 0.01, top1: 0.99}

- name: Compare what the device serves with what the reference answered when it was recorded
  tfleet.serving.model_parity:
    reference: /srv/models/detector/.golden/3/golden.npz
    candidate: grpc://127.0.0.1:8500/detector/3
    picture: /srv/reports/detector-worst.png

- name: Compare host and device on labelled pictures
  tfleet.serving.model_parity:
    reference: grpc://serving.example.com:8500/detector/stable
    candidate: grpc://127.0.0.1:8500/detector/4
    tfrecord: [/srv/data/street.tfrecord]
    label_map: /srv/models/detector/label_map.json
    thresholds:
      detection: {matched: 0.97, map_drop: 0.005}

- name: Look without failing
  tfleet.serving.model_parity:
    reference: /srv/work/embedder/native
    candidate: /srv/work/embedder/grappler
    random: 64
  register: parity
  failed_when: parity.holds is undefined
"""

RETURN = r"""
ok:
  description: Whether parity holds. Null in check mode when there was nothing to compare yet.
  returned: always
  type: bool
holds:
  description: Whether parity holds. Undefined if it could not be measured.
  returned: when both builds answered
  type: bool
msg:
  description: What does not hold, and why.
  returned: when parity does not hold
  type: str
reference:
  description: The build that is right.
  returned: when both builds answered
  type: str
candidate:
  description: The build that is judged.
  returned: when both builds answered
  type: str
signature:
  description: Signature that was called.
  returned: when both builds answered
  type: str
kind:
  description: What the outputs are, V(classifier), V(detector) or V(tensors).
  returned: when both builds answered
  type: str
examples:
  description: Number of requests.
  returned: when both builds answered
  type: int
rows:
  description: Number of rows in them.
  returned: when both builds answered
  type: int
batch_size:
  description: Rows of the largest batch.
  returned: when both builds answered
  type: int
outputs:
  description:
    - For each output the largest and the mean error, absolute, and relative to the element or to 1 % of the largest element of its row; the share of equal
      elements; and of scores the share of rows with the same best class, and of those whose best class is among the candidate's C(top_k) best.
  returned: when both builds answered
  type: dict
  sample:
    scores: {max_abs: 0.0021, mean_abs: 0.0001, max_rel: 0.04, mean_rel: 0.003, equal: 0.1, top1: 1.0, topk: 1.0, not_finite: {reference: 0, candidate: 0}}
detection:
  description: Number of objects both builds find, share that both find, share of these with the same class, mean overlap and mean difference of the scores.
  returned: when both builds answered
  type: dict
  sample: {reference: 41, candidate: 41, matched: 1.0, classes: 1.0, iou: 0.998, score_error: 0.002, min_score: 0.5, min_iou: 0.5, background: false}
accuracy:
  description: Share of labelled rows whose best class is the label. Null without labels.
  returned: when both builds answered
  type: dict
  sample: {reference: 0.98, candidate: 0.978, drop: 0.002, rows: 450}
map:
  description: Mean average precision on labelled Examples. Null without labels.
  returned: when both builds answered
  type: dict
  sample: {reference: 0.961, candidate: 0.959, drop: 0.002, images: 200, per_class: {"1": {reference: 0.96, candidate: 0.96}}}
thresholds:
  description: The thresholds in force, with the defaults.
  returned: when both builds answered
  type: dict
problems:
  description: A sentence for each thing that does not hold; causes first.
  returned: when both builds answered
  type: list
  elements: str
diagnoses:
  description:
    - The causes that were found, with a C(code), V(unstable), V(batch_dependent), V(channels), V(input_range), V(constant) or V(background), and a C(message).
  returned: when both builds answered
  type: list
  elements: dict
worst:
  description: The rows that differ most, with what both builds see in them.
  returned: when both builds answered
  type: list
  elements: dict
picture:
  description: File that was written for O(picture). Null without it, in check mode, where nothing differs, and for models of something else than pictures.
  returned: when both builds answered
  type: str
seconds:
  description: Seconds that each build spent in answering.
  returned: when both builds answered
  type: dict
  sample: {reference: 1.2, candidate: 0.4}
"""

import json
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils import measuring
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import RUNTIME_ARGUMENT_SPEC, RuntimeFailure, runtime_of
from ansible_collections.tfleet.serving.plugins.module_utils.server_answers import not_there_yet


def arguments(params, check_mode):
    """Return the arguments of ``tfleet parity``.

    :raises ModuleError: a number that makes no sense.
    """
    for name in ("examples", "batch_size", "top_k", "worst", "random"):
        if params[name] is not None and params[name] < 1:
            raise ModuleError("%s %d is less than 1." % (name, params[name]))
    args = [measuring.absolute(params["reference"]), measuring.absolute(params["candidate"])]
    args += measuring.arguments(params)
    for option in ("examples", "batch_size", "label_map", "top_k", "worst", "picture"):
        if params[option] is not None and not (option == "picture" and check_mode):
            args.append("--%s=%s" % (option.replace("_", "-"), params[option]))
    if params["thresholds"]:
        args.append("--thresholds=" + json.dumps(params["thresholds"], sort_keys=True))
    return args


def compare(params, runtime, check_mode):
    """Return what ``tfleet parity`` answers.

    :raises RuntimeFailure: parity does not hold, or could not be measured.
    :raises ModuleError: an option that makes no sense.
    """
    sources = [measuring.absolute(params[name]) for name in ("reference", "candidate")]
    args = arguments(params, check_mode)
    keywords = measuring.needs(params, sources)
    keywords["writes"] = [params["picture"]] if params["picture"] and not check_mode else []
    try:
        answer = runtime.run("parity", args, **keywords)
    except RuntimeFailure as failure:
        if not (check_mode and not_there_yet(failure, [path for path in keywords["reads"] if os.path.isabs(path)])):
            raise
        return {"changed": False, "ok": None, "msg": "Would compare %s with %s, but not yet: %s" % (sources[1], sources[0], failure)}
    return dict(answer, changed=False)


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec=dict(
            RUNTIME_ARGUMENT_SPEC,
            reference={"type": "str", "required": True},
            candidate={"type": "str", "required": True},
            examples={"type": "int"},
            batch_size={"type": "int", "default": 16},
            thresholds={"type": "dict", "default": {}},
            label_map={"type": "path"},
            top_k={"type": "int", "default": 5},
            worst={"type": "int", "default": 4},
            picture={"type": "path"},
            **measuring.REQUESTS_ARGUMENT_SPEC
        ),
        mutually_exclusive=[measuring.ONE_OF],
        supports_check_mode=True,
    )
    try:
        result = compare(module.params, runtime_of(module), module.check_mode)
    except ModuleError as error:
        module.fail_json(**dict(error.result, msg=str(error)))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
