#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: a swap file of a given size in a given place; or none; or as it was before."""

DOCUMENTATION = r"""
module: swapfile
short_description: Make, grow, shrink or remove a swap file
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Makes a swap file under a temporary name, formats and flushes it, gives it its name, takes it into use, and writes one line with
    C(nofail) to fstab, so that a boot never waits for it.
  - A run that is killed at any moment is finished or cleaned up by the next run.
  - How the place was before the first change is recorded, and O(state=original) puts it back.
  - Swap gives a build or a load more room on the CPU's side. The memory of a Jetson's GPU is never swapped.
options:
  path:
    description: Absolute path of the file. Its directory must exist. Something else with that name is never touched.
    type: path
    required: true
  size:
    description: Size of the file, such as C(8G) or C(512M), rounded up to whole MiB. Required with O(state=present).
    type: str
  state:
    description:
      - V(present) has the file in use with this size, V(absent) has none.
      - V(original) has what was there before this module changed it the first time.
    type: str
    choices: [present, absent, original]
    default: present
  persistent:
    description: Have the file used after a reboot too, by a line in fstab. Without it fstab is left as it is.
    type: bool
    default: true
  priority:
    description: Priority of the swap file, 0 to 32767; the highest is filled first. Left out, the kernel gives a low one, below zram's.
    type: int
  keep_free_percent:
    description: Part of the disk that the swap file must leave free.
    type: int
    default: 10
  record_dir:
    description: Directory of the records of how the host was before.
    type: path
    default: /var/lib/tfleet/originals
  proc_root:
    description: Where the kernel's C(/proc) is.
    type: path
    default: /proc
  etc_root:
    description: Where C(/etc) with fstab is.
    type: path
    default: /etc
attributes:
  check_mode:
    support: full
    description: Says what would be done, and refuses what would be refused.
  diff_mode:
    support: full
    description: Shows size, use and fstab before and after.
  idempotent:
    support: full
    description: A swap file that is as it shall be is left alone, whoever made it.
seealso:
  - module: tfleet.serving.zram
"""

EXAMPLES = r"""
- name: Give the host 8 GiB of swap on its NVMe disk
  tfleet.serving.swapfile:
    path: /mnt/nvme/swapfile
    size: 8G

- name: Have a swap file for one build, which no reboot brings back
  tfleet.serving.swapfile:
    path: /var/tmp/build.swap
    size: 12G
    persistent: false
    priority: 10

- name: Take it away again
  tfleet.serving.swapfile:
    path: /var/tmp/build.swap
    state: absent

- name: Leave the host as it was
  tfleet.serving.swapfile:
    path: /mnt/nvme/swapfile
    state: original
"""

RETURN = r"""
path:
  description: The path, with links in its directory resolved.
  returned: success
  type: str
  sample: /mnt/nvme/swapfile
size_bytes:
  description: Size of the file afterwards; 0 if there is none.
  returned: success
  type: int
  sample: 8589934592
active:
  description: Whether it is in use afterwards.
  returned: success
  type: bool
  sample: true
fstab:
  description: Its lines in fstab afterwards.
  returned: success
  type: list
  elements: str
  sample: ["/mnt/nvme/swapfile none swap sw,nofail 0 0"]
actions:
  description: What was done, or would be done in check mode, in this order.
  returned: success
  type: list
  elements: str
  sample: ["make a swap file of 8 GiB as /mnt/nvme/.swapfile.tfleet-new", "rename it to /mnt/nvme/swapfile", "swapon /mnt/nvme/swapfile"]
possible_bytes:
  description: The largest size that the disk has room for.
  returned: when the disk has no room for the size
  type: int
  sample: 4294967296
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.lock import alone_in
from ansible_collections.tfleet.serving.plugins.module_utils.memory import parse_size
from ansible_collections.tfleet.serving.plugins.module_utils.originals import DIRECTORY, Original
from ansible_collections.tfleet.serving.plugins.module_utils.swap_file import SwapFile, SwapFileError, Wanted

# Filling a large file on a slow card takes this long at most.
OTHER_RUN_SECONDS = 1800


def ensure(params, check_mode):
    """Bring the swap file to its state and return the module's result.

    :param params: the module's parameters.
    :raises ModuleError: what is in the way, and what to do.
    """
    if params["priority"] is not None and not 0 <= params["priority"] <= 32767:
        raise SwapFileError("priority %d is not one of 0 to 32767. Leave it out for the kernel's own." % params["priority"])
    if not 0 <= params["keep_free_percent"] < 100:
        raise SwapFileError("keep_free_percent %d is not one of 0 to 99." % params["keep_free_percent"])
    file = SwapFile(params["path"], params["proc_root"], params["etc_root"])
    original = Original(params["record_dir"], "swapfile-" + file.path)
    if not os.path.isdir(file.directory):
        if params["state"] == "present":
            raise SwapFileError("There is no directory %s for the swap file. Mount its disk or make the directory first, or give another path."
                                % file.directory)
        return _ensure(file, original, params, check_mode)
    with alone_in(file.directory, OTHER_RUN_SECONDS):
        return _ensure(file, original, params, check_mode)


def _ensure(file, original, params, check_mode):
    found, record = file.look(), original.read()
    wanted = _wanted(file, found, record, params)
    verbs = file.plan(wanted, found) if wanted is not None else []
    result = {
        "changed": bool(verbs),
        "path": file.path,
        "actions": [file.sentence(verb, wanted) for verb in verbs],
        "diff": {"before": _picture(found.size_bytes, found.area is not None, found.fstab, found.mode, found.leftover),
                 "before_header": file.path, "after_header": file.path},
    }
    size_bytes, active, fstab = _after(wanted, found)
    result["diff"]["after"] = _picture(size_bytes, active, fstab, found.mode if wanted is None else 0o600)
    result.update(size_bytes=size_bytes, active=active, fstab=fstab)
    if not check_mode:
        if verbs and params["state"] != "original":
            original.keep({"path": file.path, "size_bytes": found.size_bytes, "active": found.area is not None, "fstab": found.fstab,
                           "priority": found.area.priority if found.area and found.area.priority >= 0 else None})
        _perform(file, verbs, wanted, found)
        if params["state"] == "original":
            original.forget()
    return result


def _wanted(file, found, record, params):
    """Return what shall be, or None where everything is right as it is."""
    percent = params["keep_free_percent"]
    if params["state"] == "absent":
        return Wanted(None, False, None, [], percent)
    if params["state"] == "original":
        if record is None:
            return None
        return Wanted(record["size_bytes"] or None, record["active"], record["priority"], record["fstab"], percent)
    fstab = file.fstab_for(found, params["priority"]) if params["persistent"] else None
    return Wanted(parse_size(params["size"], "size"), True, params["priority"], fstab, percent)


def _after(wanted, found):
    if wanted is None:
        return found.size_bytes, found.area is not None, found.fstab
    return wanted.size_bytes or 0, wanted.active, found.fstab if wanted.fstab is None else wanted.fstab


def _perform(file, verbs, wanted, found):
    for verb in verbs:
        try:
            file.perform(verb, wanted)
        except ModuleError as error:
            if verb == "swapon" and "place" in verbs and found.kind == "absent":
                file.perform("remove", wanted)
                raise SwapFileError("%s The file was removed again." % error, **error.result) from error
            raise


def _picture(size_bytes, active, fstab, mode=None, leftover=False):
    if not size_bytes:
        return {"size": None, "in use": False, "fstab": fstab, "left by a killed run": leftover}
    return {"size": size_bytes, "in use": active, "fstab": fstab, "mode": "%04o" % mode, "left by a killed run": leftover}


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "size": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent", "original"], "default": "present"},
            "persistent": {"type": "bool", "default": True},
            "priority": {"type": "int"},
            "keep_free_percent": {"type": "int", "default": 10},
            "record_dir": {"type": "path", "default": DIRECTORY},
            "proc_root": {"type": "path", "default": "/proc"},
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
        module.fail_json(msg="The swap file %s could not be brought to state %s: %s. The module needs root (become: true). What was begun is "
                             "cleaned up by the next run." % (module.params["path"], module.params["state"], error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
