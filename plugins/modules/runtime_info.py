#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: what the tfleet runtime of a host can do."""

DOCUMENTATION = r"""
module: runtime_info
short_description: Tell TensorFlow's version in a runtime, the GPUs it sees, and whether TensorRT can be used
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Starts the runtime, on the host or in a throw-away container of its image, and has it import TensorFlow and look for GPUs and TensorRT.
  - Asking for TensorRT can abort a process; that happens in a child of the runtime and is told as a reason, not as a failure.
extends_documentation_fragment: tfleet.serving.runtime
options:
  gpu_required:
    description: Fail if TensorFlow sees no GPU.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Runs as usual. A runtime that does not exist yet is no failure then.
  diff_mode:
    support: none
    description: Changes nothing.
seealso:
  - module: tfleet.serving.saved_model_info
"""

EXAMPLES = r"""
- name: Prove that the virtual environment works
  tfleet.serving.runtime_info:
    runtime: /opt/tfleet/venv/bin/tfleet

- name: Prove that the image sees a Jetson's GPU
  tfleet.serving.runtime_info:
    runtime_image: tfleet-runtime:current
    runtime_gpu: nvidia
    gpu_required: true
  register: runtime

- name: Say whether TF-TRT is possible
  ansible.builtin.debug:
    msg: "{{ runtime.tensorrt.reason or ('TensorRT ' ~ runtime.tensorrt.loaded) }}"

- name: Look at the second GPU of a server, with no more than 2 GiB of memory
  tfleet.serving.runtime_info:
    runtime_image: tfleet-runtime:current
    runtime_gpu: "1"
    runtime_memory: 2g
"""

RETURN = r"""
tensorflow:
  description: TensorFlow's version. Null in check mode if there is no runtime yet.
  returned: success
  type: str
  sample: 2.17.1
python:
  description: Version of the runtime's Python.
  returned: success
  type: str
  sample: 3.11.2
cuda:
  description: The CUDA that TensorFlow was built for. Null in a build without it, and before TensorFlow 2.3, which does not tell.
  returned: success
  type: str
  sample: "11.4"
gpus:
  description: The GPUs that TensorFlow sees.
  returned: success
  type: list
  elements: str
  sample: ["/physical_device:GPU:0"]
tensorrt:
  description: Whether TF-TRT can be used, the versions TensorFlow was built for and finds, and the reason why not.
  returned: success
  type: dict
  sample: {usable: true, linked: 8.5.2, loaded: 8.5.2, reason: ""}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import RUNTIME_ARGUMENT_SPEC, RuntimeFailure, RuntimeMissing, runtime_of

NO_TENSORRT = {"usable": False, "linked": None, "loaded": None, "reason": "not known yet"}
NOTHING_YET: dict = {"tensorflow": None, "python": None, "cuda": None, "gpus": [], "tensorrt": NO_TENSORRT}


def info(params, runtime, check_mode):
    """What ``tfleet probe`` answers. Raises RuntimeFailure, also if there is no GPU and there must be one."""
    try:
        answer = runtime.run("probe")
    except RuntimeMissing as missing:
        if not check_mode:
            raise
        return dict(NOTHING_YET, changed=False, msg="Would ask the runtime, but not yet: %s" % missing)
    result = dict({key: value for key, value in answer.items() if key != "ok"}, changed=False)
    if params["gpu_required"] and not answer["gpus"]:
        raise RuntimeFailure(
            "TensorFlow %s of %s sees no GPU. %s" % (answer["tensorflow"], runtime.where(), _advice(params, answer)), result)
    return result


def _advice(params, answer):
    if params["runtime_image"] and not params["runtime_gpu"]:
        return "The container was started without one: set `runtime_gpu`."
    if answer["cuda"] is None:
        return "It may be a build for the CPU, as every aarch64 wheel of the package index is: use NVIDIA's image or wheel for this host."
    return ("It was built for CUDA %s: compare that with the host's driver or L4T (playbooks/preflight.yml), and look at `nvidia-smi` or /dev/nvmap."
            % answer["cuda"])


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec=dict(RUNTIME_ARGUMENT_SPEC, gpu_required={"type": "bool", "default": False}),
        supports_check_mode=True,
    )
    try:
        result = info(module.params, runtime_of(module), module.check_mode)
    except RuntimeFailure as failure:
        module.fail_json(**dict(failure.result, msg=str(failure)))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
