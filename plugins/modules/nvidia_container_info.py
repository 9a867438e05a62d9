#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: what decides on a host whether its containers get the GPU."""

DOCUMENTATION = r"""
module: nvidia_container_info
short_description: Observe what decides whether containers get the GPU
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Asks Docker, the driver, the runtime, NVIDIA's CSV files and, on request, a test container. Changes nothing.
  - What the observations mean, which of the known failures they are and what cures each, tells the filter
    P(tfleet.serving.container_findings#filter) from C(data/docker.yml) on the controller.
options:
  runtime:
    description: C(name) of NVIDIA's runtime in C(daemon.json), and C(path) of its command.
    type: dict
    default: {name: nvidia, path: nvidia-container-runtime}
  devices:
    description: Device nodes to look for.
    type: list
    elements: path
    default: []
  csv_directory:
    description: Where the runtime of a Jetson finds out what to mount.
    type: path
    default: /etc/nvidia-container-runtime/host-files-for-container.d
  csv_files:
    description: CSV files that must be there.
    type: list
    elements: str
    default: []
  csv_targets:
    description: Those of O(csv_files) whose entries must be on the host too, as on JetPack 4.
    type: list
    elements: str
    default: []
  stale_files:
    description: Files that must not be there, such as older entries of NVIDIA's repository.
    type: list
    elements: path
    default: []
  daemon_options:
    description: Docker's configuration.
    type: path
    default: /etc/docker/daemon.json
  snap:
    description: What is there if Docker is a snap.
    type: path
    default: /snap/docker/current
  test:
    description: Command that proves it, such as a C(docker run). Empty runs none.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode. The test command is not run in check mode.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: Changes nothing.
seealso:
  - module: tfleet.serving.docker_daemon_options
"""

EXAMPLES = r"""
- name: Look at a GPU server
  tfleet.serving.nvidia_container_info:
    devices: [/dev/nvidiactl, /dev/nvidia0]
  register: gpu

- name: Say what is wrong and what to do
  ansible.builtin.debug:
    msg: "{{ gpu.observations | tfleet.serving.container_findings('gpu_server') }}"

- name: Look at a Jetson with JetPack 4
  tfleet.serving.nvidia_container_info:
    devices: [/dev/nvmap, /dev/nvhost-ctrl-gpu]
    csv_files: [l4t.csv, cuda.csv, cudnn.csv, tensorrt.csv]
    csv_targets: [cuda.csv, cudnn.csv, tensorrt.csv]

- name: Prove it with a container
  tfleet.serving.nvidia_container_info:
    devices: [/dev/nvidiactl, /dev/nvidia0]
    test: [docker, run, --rm, --gpus, all, "ubuntu:22.04", nvidia-smi]
"""

RETURN = r"""
observations:
  description: What was seen. Null stands for what could not be asked.
  returned: success
  type: dict
  sample:
    docker: {version: 27.5.1, runtimes: [nvidia, runc], default_runtime: runc, cgroup_driver: systemd, rootless: false}
    snap: false
    runtime_installed: true
    runtime_registered: true
    devices: {/dev/nvidiactl: true, /dev/nvidia0: true}
    gpus: 1
    stale_files: []
    csv: {}
    test: null
    messages: {}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils.container_gpu import observe


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "runtime": {"type": "dict", "default": {"name": "nvidia", "path": "nvidia-container-runtime"}},
            "devices": {"type": "list", "elements": "path", "default": []},
            "csv_directory": {"type": "path", "default": "/etc/nvidia-container-runtime/host-files-for-container.d"},
            "csv_files": {"type": "list", "elements": "str", "default": []},
            "csv_targets": {"type": "list", "elements": "str", "default": []},
            "stale_files": {"type": "list", "elements": "path", "default": []},
            "daemon_options": {"type": "path", "default": "/etc/docker/daemon.json"},
            "snap": {"type": "path", "default": "/snap/docker/current"},
            "test": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    params = dict(module.params, test=[] if module.check_mode else module.params["test"])
    module.exit_json(changed=False, observations=observe(params, module.run_command, module.get_bin_path))


if __name__ == "__main__":
    main()
