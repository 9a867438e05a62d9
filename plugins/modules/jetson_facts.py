#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: what a Jetson, or a server with or without GPUs, is and has."""

DOCUMENTATION = r"""
module: jetson_facts
short_description: Tell what a Jetson or a server is, has and is set to
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Reads the release of Jetson Linux, the module and its SoC, power modes, memory, swap, zram, temperatures, throttling, the Docker engine and the free
    space of a Jetson; of another machine its NVIDIA GPUs and their driver.
  - What follows from that (JetPack, compute capability, precisions, the CUDA and TensorRT that belong to the release) is looked up on the controller, in the
    files under C(data) of the collection.
  - What is not known is null, with a sentence in C(notes) where a person should know; a device that is strange is no failure.
  - Commands that it asks (C(nvpmodel), C(tegrastats), C(nvidia-smi), C(dpkg-query), C(docker), C(systemctl), C(dmesg)) have no input and a limit in time.
    Without root the power mode, the engine and the kernel's log may stay unknown.
options:
  proc_root:
    description: Directory that stands for C(/proc).
    type: path
    default: /proc
  sys_root:
    description: Directory that stands for C(/sys).
    type: path
    default: /sys
  etc_root:
    description: Directory that stands for C(/etc).
    type: path
    default: /etc
  var_root:
    description: Directory that stands for C(/var).
    type: path
    default: /var
  command_path:
    description: Directories in which commands are looked for, in this order.
    type: list
    elements: path
    default: [/usr/local/sbin, /usr/local/bin, /usr/sbin, /usr/bin, /sbin, /bin]
  command_timeout:
    description: Seconds that each command may take.
    type: int
    default: 10
  disk:
    description: Path whose free space is told, such as the models root. It need not exist yet.
    type: path
    default: /
  l4t_override:
    description: A release of C(data/l4t.yml) that the device is to be treated like, where its own is unknown or cannot be read.
    type: str
attributes:
  check_mode:
    support: full
    description: Reads only, in check mode too.
  diff_mode:
    support: none
    description: There is nothing to change.
"""

EXAMPLES = r"""
- name: Tell what the device is
  tfleet.serving.jetson_facts:
    disk: /var/lib/tfleet/models

- name: Show its module and release
  ansible.builtin.debug:
    msg: "{{ ansible_facts.tfleet_device.module }}, JetPack {{ ansible_facts.tfleet_device.jetpack }}"

- name: Treat a release that tfleet does not know yet like the one before
  tfleet.serving.jetson_facts:
    l4t_override: "36.4.7"

- name: Read a device from files that stand for it
  tfleet.serving.jetson_facts:
    proc_root: /srv/devices/nano/proc
    sys_root: /srv/devices/nano/sys
    etc_root: /srv/devices/nano/etc
    var_root: /srv/devices/nano/var
    command_path: [/srv/devices/nano/bin]
"""

RETURN = r"""
ansible_facts:
  description: One fact, C(tfleet_device).
  returned: success
  type: dict
  contains:
    tfleet_device:
      description: What the device is and has. Every key is there; what is not known is null.
      returned: success
      type: dict
      contains:
        kind: {description: "V(jetson), V(gpu_server) or V(cpu_server).", type: str, returned: always, sample: jetson}
        architecture: {description: As the kernel calls it., type: str, returned: always, sample: aarch64}
        l4t: {description: Release of Jetson Linux., type: str, returned: always, sample: 36.4.7}
        l4t_known_as: {description: The release of C(data/l4t.yml) whose facts hold; null for an unknown one., type: str, returned: always, sample: 36.4.7}
        l4t_override: {description: O(l4t_override) as it was given., type: str, returned: always, sample: null}
        jetpack: {description: JetPack of that release., type: str, returned: always, sample: 6.2.1}
        soc: {description: A key of C(socs) in C(data/jetsons.yml)., type: str, returned: always, sample: tegra234}
        module: {description: A key of C(modules) in C(data/jetsons.yml)., type: str, returned: always, sample: orin-nx}
        variant: {description: "Which of the module's variants, where it has some.", type: str, returned: always, sample: 16GB}
        model: {description: The board's own name for itself; for people only., type: str, returned: always, sample: NVIDIA Jetson Orin NX}
        compute_capability: {description: "Of the GPU, the first of several.", type: str, returned: always, sample: "8.7"}
        precisions: {description: Those of TensorRT on the GPU; null where it is not known., type: list, elements: str, returned: always, sample: [FP32, FP16]}
        cuda: {description: C(expected) with the release; C(installed) on the host; C(driver) what the driver offers., type: dict, returned: always}
        tensorrt: {description: C(expected) with the release and C(installed) on the host., type: dict, returned: always}
        cudnn: {description: C(expected) with the release and C(installed) on the host., type: dict, returned: always}
        packages_known: {description: Whether the package manager could be asked., type: bool, returned: always, sample: true}
        gpus: {description: "Of a server: C(index), C(name), C(uuid), C(driver), C(memory_bytes), C(compute_capability).", type: list, elements: dict,
               returned: always, sample: []}
        driver: {description: NVIDIA's driver of a server., type: str, returned: always, sample: 550.54.14}
        power: {description: "C(mode) and C(id) now, C(default_id), and C(modes) that the board offers, each with C(id) and C(name).", type: dict,
                returned: always}
        zram: {description: "Devices: C(device), C(size_bytes), C(used_bytes), C(swap) whether it is swapped to, C(algorithm).", type: list, elements: dict,
               returned: always}
        swap: {description: "All that is swapped to: C(path), C(type) (V(file), V(partition) or V(zram)), C(size_bytes), C(used_bytes), C(priority).",
               type: list, elements: dict, returned: always}
        memory: {description: C(total_bytes) and C(available_bytes)., type: dict, returned: always}
        largest_free_block_bytes: {description: Size of the largest free blocks of memory., type: int, returned: always, sample: 4194304}
        largest_free_blocks: {description: How many of them there are., type: int, returned: always, sample: 1154}
        default_target: {description: Systemd's target at start., type: str, returned: always, sample: graphical.target}
        thermal: {description: "Zones that are on: C(zone), C(celsius), C(critical_celsius).", type: list, elements: dict, returned: always}
        over_current: {description: Events since the start by counter., type: dict, returned: always, sample: {"oc1": 0}}
        throttling: {description: What slowed the device down since its start., type: list, elements: str, returned: always, sample: []}
        docker: {description: "C(installed), C(version), C(runtimes), C(default_runtime).", type: dict, returned: always}
        disk: {description: "C(path), C(free_bytes), C(total_bytes).", type: dict, returned: always}
        hardware_class: {description: The device's half of the hardware class; the role preflight adds TensorRT and TensorFlow of the image., type: str,
                         returned: always, sample: orin-nx-16GB_l4t-36.4.7}
        notes: {description: Sentences on what was strange., type: list, elements: str, returned: always, sample: []}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils.commands import Commands
from ansible_collections.tfleet.serving.plugins.module_utils.device_facts import Device

ARGUMENT_SPEC = {
    "proc_root": {"type": "path", "default": "/proc"},
    "sys_root": {"type": "path", "default": "/sys"},
    "etc_root": {"type": "path", "default": "/etc"},
    "var_root": {"type": "path", "default": "/var"},
    "command_path": {"type": "list", "elements": "path", "default": ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]},
    "command_timeout": {"type": "int", "default": 10},
    "disk": {"type": "path", "default": "/"},
    "l4t_override": {"type": "str"},
}


def main():
    """Entry point of the module: the readings, which the action plugin of the same name turns into facts."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    params = module.params
    if params["command_timeout"] < 1:
        module.fail_json(msg="command_timeout is %d seconds. Give it one or more." % params["command_timeout"])
    roots = {name: params[name + "_root"] for name in ("proc", "sys", "etc", "var")}
    observed = Device(roots, Commands(params["command_path"], params["command_timeout"]), params["disk"]).observe()
    module.exit_json(changed=False, observed=observed)


if __name__ == "__main__":
    main()
