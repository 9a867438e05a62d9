#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: a SavedModel with declared signatures from a frozen graph, SavedModel, Keras file, checkpoint, archive or URL."""

DOCUMENTATION = r"""
module: saved_model
short_description: Make a SavedModel with declared signatures
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Makes a SavedModel folder from a frozen graph, a SavedModel, a Keras file, a checkpoint with its meta graph, or an archive or URL of one of them.
  - Declared input and output tensors become named signatures, which clients of the model server call.
  - The same source and options give the same bytes. Where they came from is kept in C(assets.extra/tfleet_provenance.json).
  - The graph can be made fit to be served on the way - without the device strings of the training machine, with a batch dimension, with an input that
    takes pictures as files. What still spoils serving (dropout left on, a fixed batch and the like) comes back as RV(lint) and as warnings.
  - A folder that holds anything else is never changed; an interrupted run leaves nothing at O(dest).
extends_documentation_fragment: tfleet.serving.runtime
options:
  dest:
    description: The SavedModel folder. It is made, or already is this very export, or is empty.
    type: path
    required: true
  src:
    description:
      - Path on the host, or an C(http), C(https) or C(file) URL.
      - A frozen graph (C(.pb), or C(.pbtxt) as text), a SavedModel folder, a Keras file (C(.keras), C(.h5); TensorFlow 2 only, and only from people
        you trust), a checkpoint of TensorFlow 1 (its C(.meta) file, its prefix or the training folder; the latest one is taken), or an archive
        (C(.tar), C(.tar.gz), C(.zip)) that holds one of them.
      - Required with O(state=present).
    type: str
  checksum:
    description: C(sha256:) and the SHA-256 of the source. Required for a URL.
    type: str
  kind:
    description: What the source is. Needed only where an archive holds several kinds.
    type: str
    choices: [auto, frozen_graph, saved_model, keras, checkpoint]
    default: auto
  signatures:
    description:
      - Signatures by name, each with C(inputs) and C(outputs), which map the names clients use to tensor names such as C(image:0), and
        optionally C(method_name).
      - Required for a frozen graph and a checkpoint; M(tfleet.serving.saved_model_info) lists the candidates.
      - Without it a SavedModel keeps its own, and a Keras file gets the names of its inputs and outputs.
    type: dict
  tags:
    description: The tag set. Of a SavedModel with several graphs, the one to take.
    type: list
    elements: str
    default: [serve]
  device:
    description:
      - What becomes of the nodes' device strings. V(keep) leaves them, V(clear) removes them, V(cpu) and V(gpu) tie every node to C(CPU:0) or C(GPU:0).
    type: str
    choices: [keep, clear, cpu, gpu]
    default: keep
  batch:
    description:
      - What becomes of the first dimension of the inputs. V(keep) leaves it. V(free) lets a fixed one take any number of rows, and fails where the
        outputs do not follow. V(loop) runs the graph for each row, for graphs with a batch of one, or none, built in (not for a SavedModel).
    type: str
    choices: [keep, free, loop]
    default: keep
  image_bytes:
    description:
      - The input (its name in the signatures) that takes pictures as files (JPEG, PNG, GIF) instead of pixels. Its name becomes C(image_bytes).
      - They are resized to the input's height and width as C(tf.image.resize) does. An input of integers gets 0 to 255.
    type: str
  pixel_values:
    description: With O(image_bytes), what the darkest and the brightest pixel become in an input of floats.
    type: list
    elements: float
    default: [0.0, 1.0]
  state:
    description:
      - V(absent) removes O(dest) if it is a SavedModel.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: Reads the source and tells the signatures and the fingerprint; a source or runtime that does not exist yet is no failure.
  diff_mode:
    support: full
    description: Kind, fingerprint and signatures before and after.
seealso:
  - module: tfleet.serving.saved_model_info
  - module: tfleet.serving.model_release
"""

EXAMPLES = r"""
- name: Make a SavedModel from a detector of the Object Detection API
  tfleet.serving.saved_model:
    src: /srv/models/frozen_inference_graph.pb
    dest: /srv/models/detector
    signatures:
      serving_default:
        inputs: {inputs: "image_tensor:0"}
        outputs:
          detection_boxes: "detection_boxes:0"
          detection_scores: "detection_scores:0"
          detection_classes: "detection_classes:0"
          num_detections: "num_detections:0"
    runtime: /opt/tfleet/bin/tfleet

- name: Take the SavedModel out of a downloaded archive
  tfleet.serving.saved_model:
    src: https://models.example.com/ssd_mobilenet_v1.tar.gz
    checksum: sha256:5d8e9a1d4b6c0a9d3e5f0f4f5a0a4f7d7d3a0b0e8c6d1f2a3b4c5d6e7f809100
    kind: saved_model
    dest: /srv/models/ssd

- name: Make a SavedModel from a Keras file, with names of our own
  tfleet.serving.saved_model:
    src: /srv/models/classifier.keras
    dest: /srv/models/classifier
    signatures:
      serving_default:
        inputs: {images: "input_image:0"}
        outputs: {scores: "probabilities:0"}

- name: Make a SavedModel of the latest checkpoint in a training folder, without its devices and with any batch
  tfleet.serving.saved_model:
    src: /srv/training/pose
    kind: checkpoint
    dest: /srv/models/pose
    signatures:
      serving_default:
        inputs: {image: "image:0"}
        outputs: {heatmaps: "heatmaps:0"}
    device: clear
    batch: free

- name: Let a detector take JPEG files, as many as a request has
  tfleet.serving.saved_model:
    src: /srv/models/frozen_inference_graph.pb
    dest: /srv/models/detector_of_files
    signatures:
      serving_default:
        inputs: {inputs: "image_tensor:0"}
        outputs: {detection_boxes: "detection_boxes:0", detection_scores: "detection_scores:0"}
    batch: loop
    image_bytes: inputs

- name: Remove it
  tfleet.serving.saved_model:
    dest: /srv/models/classifier
    state: absent
"""

RETURN = r"""
dest:
  description: The SavedModel folder.
  type: str
  returned: always
kind:
  description: What the source is.
  type: str
  returned: when state is present and the source was read
  sample: frozen_graph
fingerprint:
  description: SHA-256 of what decides the result (source, kind, signatures, tags).
  type: str
  returned: when state is present and the source was read
source_sha256:
  description: SHA-256 of the source file, or of the folder's files.
  type: str
  returned: when state is present and the source was read
signatures:
  description: The signatures, with tensor name, dtype and shape of each input and output. A size of -1 is free, a null shape of any rank.
  type: dict
  returned: when state is present and the source was read
  sample:
    serving_default:
      inputs: {images: {name: "image:0", dtype: float32, shape: [-1, 28, 28, 1]}}
      outputs: {scores: {name: "scores:0", dtype: float32, shape: [-1, 10]}}
      method_name: tensorflow/serving/predict
files:
  description: Number of files of the model.
  type: int
  returned: when state is present and the source was read
bytes:
  description: Their size together.
  type: int
  returned: when state is present and the source was read
lint:
  description: What spoils serving, as C(tfleet lint) finds it. Told as warnings when the model is made.
  type: list
  elements: dict
  returned: when state is present and the source was read
  sample:
    - code: fixed_batch
      nodes: ["image_tensor (inputs of serving_default)"]
      count: 1
      text: "The batch is fixed: the server cannot put requests together, clients cannot send several at once, and every other size is refused."
      advice: "Export it with a free batch (batch: free), or, if it is built in, in a loop (batch: loop)."
candidates:
  description: Candidate inputs and outputs of a frozen graph for which no signatures were given.
  type: dict
  returned: on that failure
proposal:
  description: Signatures made of the candidates, to be copied into O(signatures) if they are right.
  type: dict
  returned: on that failure
"""

import json
import os
import shutil
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import RUNTIME_ARGUMENT_SPEC, RuntimeFailure, RuntimeMissing, runtime_of

PROVENANCE = os.path.join("assets.extra", "tfleet_provenance.json")


def on_disk(dest):
    """What an export at ``dest`` says of itself: ``{"kind", "fingerprint", "signatures"}``, empty if there is none."""
    try:
        with open(os.path.join(dest, PROVENANCE), encoding="utf-8") as stream:
            return identity(json.load(stream))
    except (OSError, ValueError):
        return {}


def identity(answer):
    """The part of an answer or provenance that a diff shows."""
    return {key: answer[key] for key in ("kind", "fingerprint", "signatures") if key in answer}


def export_arguments(params, dry_run):
    """``(args, stdin)`` of ``tfleet export`` for the module's parameters."""
    args = [params["src"], params["dest"], "--kind", params["kind"], "--tags", ",".join(params["tags"])]
    if params["checksum"]:
        args += ["--checksum", params["checksum"]]
    if params["signatures"]:
        args += ["--signatures", "-"]
    args += ["--device", params["device"], "--batch", params["batch"]]
    if params["image_bytes"]:
        # With an equals sign: a value such as -1.0..1.0 would be taken for an option.
        args += ["--image-bytes", params["image_bytes"], "--pixel-values=%r..%r" % tuple(params["pixel_values"])]
    if dry_run:
        args.append("--dry-run")
    return args, json.dumps(params["signatures"]) if params["signatures"] else None


def present(params, runtime, check_mode):
    """Export, or tell what an export would do. Raises RuntimeFailure."""
    dest = os.path.abspath(params["dest"])
    before = on_disk(dest)
    args, stdin = export_arguments(params, check_mode)
    try:
        # A dry run looks at what is there already.
        source = {"network": True} if "://" in params["src"] else {"reads": [params["src"]]}
        answer = runtime.run("export", args, stdin, writes=[params["dest"]], **source)
    except RuntimeFailure as failure:
        if not check_mode or not (isinstance(failure, RuntimeMissing) or failure.result.get("missing")):
            raise
        # An earlier task of the same play may bring the runtime or the source: it does so only outside check mode.
        changed = not os.path.isdir(dest) or not os.listdir(dest)
        after = {"source": params["src"], "signatures": params["signatures"] or {}} if changed else before
        return {
            "changed": changed,
            "dest": dest,
            "diff": diff(dest, before, after),
            "msg": "Would export %s to %s, but not yet: %s" % (params["src"], dest, failure),
        }
    # Ansible's own key `warnings` takes texts only.
    result = {key: value for key, value in answer.items() if key not in ("ok", "dry_run", "warnings")}
    result["lint"] = answer.get("warnings", [])
    result["diff"] = diff(dest, before, identity(answer))
    return result


def absent(params, check_mode):
    """Remove the SavedModel folder. Raises ModuleError if ``dest`` is something else."""
    dest = os.path.abspath(params["dest"])
    if not os.path.lexists(dest):
        return {"changed": False, "dest": dest, "diff": diff(dest, {}, {})}
    before = on_disk(dest)
    is_model = before or any(os.path.isfile(os.path.join(dest, name)) for name in ("saved_model.pb", "saved_model.pbtxt"))
    if os.path.islink(dest) or not os.path.isdir(dest) or (os.listdir(dest) and not is_model):
        raise ModuleError("`%s` is not a SavedModel folder, so it is not removed. Correct `dest`, or remove it yourself." % dest)
    if not check_mode:
        remove(dest)
    return {"changed": True, "dest": dest, "diff": diff(dest, before or {"exists": True}, {})}


def remove(dest):
    """Take the folder out of sight in one step, then delete it: a killed removal leaves no half of a model at ``dest``."""
    hidden = tempfile.mkdtemp(prefix=".%s.tfleet-" % os.path.basename(dest), dir=os.path.dirname(dest))
    os.rename(dest, os.path.join(hidden, "removed"))
    shutil.rmtree(hidden)


def diff(dest, before, after):
    """Ansible's diff of two identities."""
    return {"before_header": dest, "after_header": dest, "before": before, "after": after}


def main():
    """Entry point."""
    module = AnsibleModule(
        argument_spec=dict(
            RUNTIME_ARGUMENT_SPEC,
            dest={"type": "path", "required": True},
            src={"type": "str"},
            checksum={"type": "str"},
            kind={"type": "str", "choices": ["auto", "frozen_graph", "saved_model", "keras", "checkpoint"], "default": "auto"},
            signatures={"type": "dict"},
            tags={"type": "list", "elements": "str", "default": ["serve"]},
            device={"type": "str", "choices": ["keep", "clear", "cpu", "gpu"], "default": "keep"},
            batch={"type": "str", "choices": ["keep", "free", "loop"], "default": "keep"},
            image_bytes={"type": "str"},
            pixel_values={"type": "list", "elements": "float", "default": [0.0, 1.0]},
            state={"type": "str", "choices": ["present", "absent"], "default": "present"},
        ),
        required_if=[("state", "present", ("src",))],
        supports_check_mode=True,
    )
    if len(module.params["pixel_values"]) != 2 or module.params["pixel_values"][0] >= module.params["pixel_values"][1]:
        module.fail_json(msg="pixel_values is %s: give two numbers, the smaller one first." % module.params["pixel_values"])
    try:
        if module.params["state"] == "absent":
            result = absent(module.params, module.check_mode)
        else:
            result = present(module.params, runtime_of(module), module.check_mode)
    except ModuleError as failure:
        module.fail_json(**dict(failure.result, msg=str(failure)))
    except OSError as error:
        module.fail_json(msg="%s: %s. Check the owner and the mode of the folder." % (error.filename, error.strerror))
    for warning in result.get("lint", []) if result["changed"] else []:
        module.warn("%s: %s (%s) %s" % (result["dest"], warning["text"], ", ".join(warning["nodes"][:5]), warning["advice"]))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
