#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: compressed swap in memory, of a given size, off, or as it was before."""

DOCUMENTATION = r"""
module: zram
short_description: Set the size of zram, or turn it off, through whatever manages it on the host
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Knows the three managers of zram, C(nvzramconfig) of JetPack 4 to 6, C(systemd-zram-generator) and C(zram-tools), and changes the
    one that the host has. Where there are two, or another one, nothing is changed.
  - The devices are changed at once if what is in them finds room in memory or other swap, else at the next boot, and
    RV(reboot_required) says so.
  - How the host was before the first change is recorded, and O(state=original) puts it back.
options:
  state:
    description:
      - V(present) has O(size) of zram now and after each boot, V(absent) none.
      - V(original) has what was there before this module changed it the first time.
      - V(suspended) swaps the devices off and leaves everything else, so that C(swapon) or a reboot brings them back.
      - V(gathered) only says what is there.
    type: str
    choices: [present, absent, original, suspended, gathered]
    default: present
  size:
    description: Size of all devices together, such as C(4G), or C(50%) of the memory. Required with O(state=present).
    type: str
  announced_manager:
    description: A manager whose package a task before this one installs. Check mode, which installs nothing, takes it for installed.
    type: str
    choices: [systemd-zram-generator, zram-tools]
  record_dir:
    description: Directory of the records of how the host was before.
    type: path
    default: /var/lib/tfleet/originals
  proc_root:
    description: Where the kernel's C(/proc) is.
    type: path
    default: /proc
  sys_root:
    description: Where the kernel's C(/sys) is.
    type: path
    default: /sys
  etc_root:
    description: Where C(/etc) is.
    type: path
    default: /etc
attributes:
  check_mode:
    support: full
    description: Says what would be done, and refuses what would be refused.
  diff_mode:
    support: full
    description: Shows the manager, its file and the size of the devices before and after.
  idempotent:
    support: full
    description: zram that is as it shall be is left alone, whoever set it.
seealso:
  - module: tfleet.serving.swapfile
"""

EXAMPLES = r"""
- name: Have zram of half the memory
  tfleet.serving.zram:
    size: 50%

- name: Have 2 GiB of it
  tfleet.serving.zram:
    size: 2G

- name: Turn it off
  tfleet.serving.zram:
    state: absent

- name: See who manages it
  tfleet.serving.zram:
    state: gathered

- name: Leave the host as it was
  tfleet.serving.zram:
    state: original
"""

RETURN = r"""
manager:
  description: What manages zram on this host. Null if nothing does.
  returned: success
  type: str
  sample: nvzramconfig
unit:
  description: The unit by which it does. Null if nothing manages zram.
  returned: success
  type: str
  sample: nvzramconfig.service
size_bytes:
  description: Size of all zram devices in use afterwards; without O(state=gathered) as declared.
  returned: success
  type: int
  sample: 2079326208
devices:
  description: The zram devices in use now, before the change.
  returned: success
  type: list
  elements: dict
  sample: [{"device": "/dev/zram0", "size_bytes": 519831552, "used_bytes": 0, "priority": 5}]
reboot_required:
  description: Why the devices change only at the next boot. Null if they did, or need not.
  returned: success
  type: str
  sample: 1.9 GiB of swap are in use on /dev/zram0, and only 400 MiB of memory and 0 MiB of other swap are free for them
actions:
  description: What was done, or would be done in check mode, in this order.
  returned: success
  type: list
  elements: str
  sample: ["write /etc/systemd/nvzramconfig.sh", "swap off /dev/zram0", "free the devices", "start nvzramconfig.service"]
strangers:
  description: Files by which somebody else sets up zram.
  returned: when it is managed by somebody else
  type: list
  elements: str
  sample: ["/etc/udev/rules.d/99-zram.rules"]
"""


from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils import memory
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.lock import alone_in
from ansible_collections.tfleet.serving.plugins.module_utils.originals import DIRECTORY, Original
from ansible_collections.tfleet.serving.plugins.module_utils.zram_managers import MANAGERS
from ansible_collections.tfleet.serving.plugins.module_utils.zram_state import Wanted, Zram, ZramError

OTHER_RUN_SECONDS = memory.SWAPOFF_SECONDS


def ensure(params, check_mode):
    """Bring zram to its state and return the module's result.

    :param params: the module's parameters.
    :raises ModuleError: what is in the way, and what to do.
    """
    zram = Zram(params["proc_root"], params["sys_root"], params["etc_root"])
    if params["state"] == "gathered":
        manager = zram.manager()
        return dict(_facts(zram, manager), changed=False, size_bytes=sum(device.size_bytes for device in zram.devices() if device.area), actions=[])
    with alone_in(params["etc_root"], OTHER_RUN_SECONDS):
        return _suspend(zram, check_mode) if params["state"] == "suspended" else _ensure(zram, params, check_mode)


def _ensure(zram, params, check_mode):
    original = Original(params["record_dir"], "zram")
    record = original.read()
    if params["state"] == "original" and record is None:
        return dict(_facts(zram, None), changed=False, size_bytes=sum(device.size_bytes for device in zram.devices() if device.area), actions=[])
    manager = zram.manager(params["announced_manager"] if check_mode else None)
    if manager is None:
        if params["state"] == "present":
            raise ZramError("This host has nothing that manages zram. Install systemd-zram-generator or zram-tools first, as the role jetson_memory "
                            "does. Nothing was changed.")
        if not check_mode and params["state"] == "original":
            original.forget()
        return dict(_facts(zram, None), changed=False, size_bytes=0, actions=[])
    wanted = _wanted(zram, manager, record, params)
    verbs, pending = zram.plan(manager, wanted)
    result = _result(zram, manager, wanted, verbs, pending)
    if check_mode:
        return result
    if verbs and params["state"] != "original":
        original.keep({"manager": manager.name, "file": manager.original(), "enabled": manager.enabled(),
                       "size_bytes": sum(device.size_bytes for device in zram.devices() if device.area)})
    for verb in verbs:
        zram.perform(verb, manager, wanted)
    if {"reset", "restart"} & set(verbs):
        zram.proven(manager, wanted)
    if params["state"] == "original" and pending is None:
        original.forget()
    return result


def _wanted(zram, manager, record, params):
    if params["state"] == "present":
        size = memory.parse_size(params["size"], "size", memory.memory_bytes(zram.proc_root))
        return Wanted(manager.text(size), True if manager.switched_by_unit else None, size)
    if params["state"] == "absent":
        return Wanted(manager.text(None), False if manager.switched_by_unit else None, 0)
    if record["manager"] != manager.name:
        raise ZramError("zram of this host was managed by %s before, and is by %s now. Install that again and remove this to have it as it was, or "
                        "remove %s to leave it as it is." % (record["manager"], manager.name, Original(params["record_dir"], "zram").path))
    return Wanted(manager.restored(record["file"]), record["enabled"] if manager.switched_by_unit else None, record["size_bytes"])


def _suspend(zram, check_mode):
    now = [device for device in zram.devices() if device.area]
    crowded = memory.no_room_for([device.area for device in now], zram.proc_root)
    if crowded:
        raise ZramError("zram cannot be swapped off now: %s. Stop what uses the memory (the model server), or make the swap file larger, and run "
                        "again. Nothing was changed." % crowded)
    result = dict(_facts(zram, None), changed=bool(now), size_bytes=0, actions=[_sentence("swapoff", None, now)] if now else [])
    result["diff"] = {"before": {"in use": [device.path for device in now]}, "after": {"in use": []}, "before_header": "zram", "after_header": "zram"}
    if not check_mode:
        zram.swap_off()
    return result


def _result(zram, manager, wanted, verbs, pending):
    now = [device for device in zram.devices() if device.area]
    size = sum(device.size_bytes for device in now)
    result = dict(_facts(zram, manager), changed=bool(verbs), size_bytes=wanted.size_bytes, reboot_required=pending,
                  actions=[_sentence(verb, manager, now) for verb in verbs])
    live = {"swapoff", "restart"} & set(verbs)
    result["diff"] = {
        "before_header": "zram, by %s" % manager.name, "after_header": "zram, by %s" % manager.name,
        "before": {"file": manager.read().splitlines(), "set up at boot": manager.enabled(), "in use": memory.human(size)},
        "after": {"file": wanted.text.splitlines(), "set up at boot": manager.enabled() if wanted.enabled is None else wanted.enabled,
                  "in use": memory.human(wanted.size_bytes if live else size)},
    }
    if pending:
        result["warnings"] = ["zram of this host changes at its next boot: %s. Reboot it when that suits." % pending]
    return result


def _facts(zram, manager):
    return {
        "manager": manager.name if manager else None,
        "unit": manager.unit if manager else None,
        "devices": [{"device": device.path, "size_bytes": device.size_bytes, "used_bytes": device.area.used_bytes, "priority": device.area.priority}
                    for device in zram.devices() if device.area],
        "reboot_required": None,
    }


def _sentence(verb, manager, devices):
    if verb == "swapoff":
        return "swap off %s" % ", ".join(device.path for device in devices)
    return {"write": lambda: "write %s" % manager.file, "enable": lambda: "enable %s" % manager.unit, "disable": lambda: "disable %s" % manager.unit,
            "reset": lambda: "free the devices", "restart": lambda: "start %s" % manager.unit}[verb]()


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent", "original", "suspended", "gathered"], "default": "present"},
            "size": {"type": "str"},
            "announced_manager": {"type": "str", "choices": [kind.name for kind in MANAGERS if kind.name != "nvzramconfig"]},
            "record_dir": {"type": "path", "default": DIRECTORY},
            "proc_root": {"type": "path", "default": "/proc"},
            "sys_root": {"type": "path", "default": "/sys"},
            "etc_root": {"type": "path", "default": "/etc"},
        },
        required_if=[("state", "present", ("size",))],
        supports_check_mode=True,
    )
    try:
        result = ensure(module.params, module.check_mode)
    except ModuleError as error:
        module.fail_json(**dict(error.result, msg=str(error)))
    except OSError as error:
        module.fail_json(msg="zram could not be brought to state %s: %s. The module needs root (become: true). What was begun is finished by the "
                             "next run." % (module.params["state"], error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
