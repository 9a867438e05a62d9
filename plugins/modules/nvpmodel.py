#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: the power mode of a Jetson, by its name."""

DOCUMENTATION = r"""
module: nvpmodel
short_description: Put a Jetson into a power mode by its name
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Looks the name up in the board's own C(nvpmodel.conf), because the numbers differ between boards and releases, and sets the mode.
  - Some modes need a reboot, and C(nvpmodel) then asks a question that would hold Ansible up. It is answered with no, the mode stays as it
    was, and RV(reboot_required) is true with the command that sets the mode and reboots in RV(reboot_command).
  - The mode that the host was in before the first change is recorded, and O(state=original) puts it back.
options:
  mode:
    description:
      - Name of the mode, such as C(MAXN) or C(15W). Upper and lower case and a leading C(MODE_), which some boards write, do not matter.
      - Required with O(state=present).
    type: str
  state:
    description:
      - V(present) has the board in O(mode), V(original) in the mode it was in before this module changed it the first time.
      - V(gathered) only says what is there.
    type: str
    choices: [present, original, gathered]
    default: present
  reboot_modes:
    description: Names of modes that are known to need a reboot on this board. Check mode, which cannot try, says so for them.
    type: list
    elements: str
    default: []
  record_dir:
    description: Directory of the records of how the host was before.
    type: path
    default: /var/lib/tfleet/originals
  etc_root:
    description: Where C(/etc) with C(nvpmodel.conf) is.
    type: path
    default: /etc
attributes:
  check_mode:
    support: full
    description: Says what would be done. Whether a mode that is not one of O(reboot_modes) needs a reboot is only known once it is tried.
  diff_mode:
    support: full
    description: Shows the mode before and after.
  idempotent:
    support: full
    description: A board that is in the mode is left alone.
seealso:
  - module: tfleet.serving.zram
"""

EXAMPLES = r"""
- name: Let the board use all it has
  tfleet.serving.nvpmodel:
    mode: MAXN

- name: Keep a fleet of Orins at 15 watts, MODE_15W on some of them
  tfleet.serving.nvpmodel:
    mode: 15W
  register: power

- name: Say which modes the board has
  tfleet.serving.nvpmodel:
    state: gathered

- name: Leave the board as it was
  tfleet.serving.nvpmodel:
    state: original
"""

RETURN = r"""
mode:
  description: Name of the mode that the board is in afterwards. Null if it is in none of its file's modes.
  returned: success
  type: str
  sample: MAXN
modes:
  description: The modes that the board has.
  returned: success, and when it has not the one that was asked for
  type: list
  elements: dict
  sample: [{"id": 0, "name": "MAXN"}, {"id": 1, "name": "5W"}]
reboot_required:
  description: Whether the mode was not set because that needs a reboot.
  returned: success
  type: bool
  sample: false
reboot_command:
  description: What sets the mode and reboots at once. Null unless RV(reboot_required).
  returned: success
  type: str
  sample: /bin/sh -c 'echo YES | nvpmodel -m 3'
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils import power_modes as power
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.originals import DIRECTORY, Original


def ensure(params, check_mode):
    """Bring the board into its mode and return the module's result.

    :param params: the module's parameters.
    :raises ModuleError: what is in the way, and what to do.
    """
    original = Original(params["record_dir"], "nvpmodel")
    if params["state"] == "original" and original.read() is None:
        return {"changed": False, "mode": None, "modes": [], "reboot_required": False, "reboot_command": None}
    modes = power.read_modes(params["etc_root"])
    now = power.current_mode(modes)
    wanted = _wanted(params, modes, original, now)
    result = {"changed": wanted != now, "mode": wanted.name if wanted else None, "modes": [dict(mode._asdict()) for mode in modes],
              "reboot_required": False, "reboot_command": None, "diff": _diff(now, wanted)}
    if check_mode:
        return _needs_reboot(result, now, wanted) if wanted != now and wanted.name in params["reboot_modes"] else result
    if wanted != now:
        if params["state"] == "present":
            # A board that was in none of its modes goes back to the one it starts with.
            before = now or power.default_mode(modes, params["etc_root"])
            if before is not None:
                original.keep({"mode": before.name})
        if power.change_mode(modes, wanted):
            _needs_reboot(result, now, wanted)
    if params["state"] == "original" and not result["reboot_required"]:
        original.forget()
    return result


def _wanted(params, modes, original, now):
    if params["state"] == "gathered":
        return now
    return power.find_mode(modes, params["mode"] if params["state"] == "present" else original.read()["mode"])


def _needs_reboot(result, now, wanted):
    result.update(changed=False, mode=now.name if now else None, reboot_required=True, diff=_diff(now, now),
                  reboot_command="/bin/sh -c 'echo YES | nvpmodel -m %d'" % wanted.id)
    return result


def _diff(before, after):
    return {"before": {"power mode": before.name if before else None}, "after": {"power mode": after.name if after else None},
            "before_header": "nvpmodel", "after_header": "nvpmodel"}


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "mode": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "original", "gathered"], "default": "present"},
            "reboot_modes": {"type": "list", "elements": "str", "default": []},
            "record_dir": {"type": "path", "default": DIRECTORY},
            "etc_root": {"type": "path", "default": "/etc"},
        },
        required_if=[("state", "present", ("mode",))],
        supports_check_mode=True,
    )
    try:
        result = ensure(module.params, module.check_mode)
    except ModuleError as error:
        module.fail_json(**dict(error.result, msg=str(error)))
    except OSError as error:
        module.fail_json(msg="The power mode could not be brought to state %s: %s. The module needs root (become: true)."
                             % (module.params["state"], error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
