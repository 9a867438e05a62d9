#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: options in Docker's daemon.json, merged by their meaning and taken back to what they were."""

DOCUMENTATION = r"""
module: docker_daemon_options
short_description: Set options in Docker's daemon.json beside those of others, and take them back
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Merges options into C(daemon.json) by their meaning. Keys of others are never touched, C(args) and C(runtimeArgs) of a runtime are
    alike, and a file that already says the same in another formatting is left as it is.
  - C(daemon.json.tfleet) beside it records, for each O(set_by), which options it set and what they were before. Options that are no longer
    given return to that, and so do all of them with O(state=absent); what somebody else has changed since is left alone.
  - When nobody sets an option any more, the file is what it was before the first, byte for byte, or gone if there was none.
  - The new file is checked by C(dockerd --validate) (Docker 23 and later) before it replaces the old one.
  - Does not restart Docker; RV(restart_needed) says whether that is due.
options:
  set_by:
    description: Who sets the options, such as the name of a role.
    type: str
    required: true
  options:
    description:
      - All options of this O(set_by), in the structure of C(daemon.json). A list replaces a list, an object is merged.
      - Values in C(log-opts) become texts, which is what Docker wants there.
    type: dict
    default: {}
  state:
    description: V(absent) takes back everything that O(set_by) ever set; O(options) is not read then.
    type: str
    choices: [present, absent]
    default: present
  path:
    description: The file. It and its directory are made if they do not exist.
    type: path
    default: /etc/docker/daemon.json
  backup:
    description: Keep a copy of the file beside it when it changes; its name is returned.
    type: bool
    default: false
  dockerd:
    description: The daemon's command, to check the new file with. One that is not there, or knows no C(--validate), checks nothing.
    type: str
    default: dockerd
  pid_file:
    description: The daemon's pid file, whose age tells whether the running daemon has read the file.
    type: path
    default: /run/docker.pid
attributes:
  check_mode:
    support: full
    description: Says what would be changed. The new file is checked too.
  diff_mode:
    support: full
    description: Shows the text of the file before and after.
  idempotent:
    support: full
    description: Options that mean the same are not written again.
"""

EXAMPLES = r"""
- name: Keep logs small and images on the second disk
  tfleet.serving.docker_daemon_options:
    set_by: docker_engine
    options:
      data-root: /data/docker
      log-opts: {max-size: 10m, max-file: 3}

- name: Register the NVIDIA runtime and make it the default, as on every Jetson
  tfleet.serving.docker_daemon_options:
    set_by: nvidia_container_toolkit
    options:
      default-runtime: nvidia
      runtimes: {nvidia: {path: nvidia-container-runtime, runtimeArgs: []}}
    backup: true
  register: daemon_options

- name: Have Docker read it
  ansible.builtin.systemd_service:
    name: docker
    state: restarted
  when: daemon_options.restart_needed

- name: Take back what nvidia_container_toolkit set, whatever it was
  tfleet.serving.docker_daemon_options:
    set_by: nvidia_container_toolkit
    state: absent
"""

RETURN = r"""
options:
  description: The whole content of the file afterwards.
  returned: success
  type: dict
  sample: {"default-runtime": "nvidia", "runtimes": {"nvidia": {"path": "nvidia-container-runtime", "runtimeArgs": []}}}
previous_options:
  description: What O(set_by) had set before, to be given as O(options) again if the daemon does not start with the new ones.
  returned: success
  type: dict
  sample: {}
restart_needed:
  description: Whether the running daemon has not read the file as it is afterwards, because of this run or an earlier one that was killed.
  returned: success
  type: bool
  sample: true
validated:
  description: Whether C(dockerd --validate) has checked the content; null if it could not.
  returned: success
  type: bool
  sample: true
backup_file:
  description: Copy of the old file, with O(backup=true) if there was one and it was changed.
  returned: changed
  type: str
  sample: /etc/docker/daemon.json.4711.2026-11-21@10:00:00~
"""

import os
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils import daemon_options
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError


def ensure(params, check_mode, dockerd, run_command, backup_local):
    """Bring the options to their state and return the module's result, with what a person should know as ``notes``.

    :param dockerd: path of the daemon's command, None if the host has none.
    :param run_command: AnsibleModule.run_command, or a function like it.
    :param backup_local: AnsibleModule.backup_local, or a function like it.
    :raises ModuleError: naming what is wrong with the file or the options; nothing was changed then.
    """
    file = daemon_options.DaemonFile(params["path"])
    wanted = daemon_options.plan(file.options, file.record, params["set_by"], params["options"] if params["state"] == "present" else {})
    before, after = file.text, file.text_after(wanted)
    # Without the daemon there is nobody to ask; its package brings one that reads the file at its first start.
    validated = _validate(after, params, dockerd, run_command) if dockerd and after is not None and after != before else None
    result = {
        "changed": file.changes(wanted),
        "options": wanted.options,
        "previous_options": daemon_options.options_of(file.record, params["set_by"]),
        "restart_needed": _restart_needed(file.path, params["pid_file"], after != before),
        "validated": validated,
        "notes": wanted.notes,
        "diff": {"before_header": file.path, "after_header": file.path, "before": before or "", "after": after or ""},
    }
    if result["changed"] and not check_mode:
        if params["backup"] and before is not None and after != before:
            result["backup_file"] = backup_local(file.path)
        file.write(wanted)
    return result


def _restart_needed(path, pid_file, changed):
    try:
        started = os.stat(pid_file).st_mtime
        return changed or os.stat(path).st_mtime > started
    except FileNotFoundError:
        # A daemon that does not run reads it when it starts; a file that is not there and was not removed now has been read long ago.
        return changed and os.path.exists(pid_file)


def _validate(text, params, dockerd, run_command):
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        code, out, err = run_command([dockerd, "--validate", "--config-file", stream.name])
        said = (err + out).strip().replace(stream.name, params["path"])
    if code == 0:
        return True
    if "unknown flag" in said:
        return None
    raise daemon_options.DaemonOptionsError("Docker would not start with the new %s: %s. The options of %s are wrong, or something in the file already "
                                            "was. It was not changed." % (params["path"], said, params["set_by"]))


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "set_by": {"type": "str", "required": True},
            "options": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "path": {"type": "path", "default": "/etc/docker/daemon.json"},
            "backup": {"type": "bool", "default": False},
            "dockerd": {"type": "str", "default": "dockerd"},
            "pid_file": {"type": "path", "default": "/run/docker.pid"},
        },
        supports_check_mode=True,
    )
    try:
        result = ensure(module.params, module.check_mode, module.get_bin_path(module.params["dockerd"]), module.run_command, module.backup_local)
    except ModuleError as error:
        module.fail_json(**dict(error.result, msg=str(error)))
    except OSError as error:
        module.fail_json(msg="%s could not be read or written: %s. Run with become." % (module.params["path"], error))
    for note in result.pop("notes"):
        module.warn(note)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
