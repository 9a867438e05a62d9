#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: packages at pinned versions, held there, and removed again with what came along."""

DOCUMENTATION = r"""
module: apt_packages
short_description: Install pinned and held packages, refuse surprises, and remove exactly what came
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Installs packages by apt's own commands, so no C(python3-apt) is needed for the interpreter that runs the module. Recommended packages are not
    installed, and a configuration file that somebody changed is kept.
  - Everything is simulated first. A package that somebody else holds, a version newer than the one asked for, and an installation that would remove
    other packages are refused with a sentence and no change.
  - A record says which packages the host had before, so that O(state=absent) removes what came, with the dependencies that came along and that
    nothing else needs by then, and nothing that was there.
  - Package lists are fetched only if those of the host do not know what is asked for. Another repository that cannot be reached is a warning then.
options:
  set_by:
    description: Who wants the packages, such as the name of a role.
    type: str
    required: true
  packages:
    description:
      - "Names and versions. A version is given whole, as V(5:27.5.1-1~debian.12~bookworm), or as upstream calls it, as V(27.5.1)."
      - An empty version is satisfied by any that is installed, else the newest is.
      - Not read with O(state=absent).
    type: dict
    default: {}
  hold:
    description: Hold the packages, so that C(apt upgrade) leaves them at their version.
    type: bool
    default: false
  fetch:
    description: Whether package lists may be fetched.
    type: bool
    default: true
  environment:
    description:
      - Environment of apt, such as the proxies C(http_proxy) and C(https_proxy). Not logged.
      - The task keyword C(environment) would put a proxy's password into the process list and into sudo's log.
    type: dict
    default: {}
  state:
    description: V(absent) removes everything that O(set_by) ever installed here, and its holds.
    type: str
    choices: [present, absent]
    default: present
  delete_before_purge:
    description:
      - Files to delete with O(state=absent) once the packages are removed and before their configuration is purged, such as one that a package leaves
        to delete its users' data.
    type: list
    elements: path
    default: []
  record_directory:
    description: Where the records are.
    type: path
    default: /var/lib/tfleet/packages
attributes:
  check_mode:
    support: full
    description: Simulates with the package lists that the host has. A package that they do not know is expected from lists yet to be fetched.
  diff_mode:
    support: full
    description: Shows every package that would be installed, upgraded or removed, dependencies included.
  idempotent:
    support: full
    description: Packages at their version change nothing, and nothing is fetched.
seealso:
  - module: ansible.builtin.apt
"""

EXAMPLES = r"""
- name: Install Docker's engine at one version, and keep it there
  tfleet.serving.apt_packages:
    set_by: docker_engine
    packages: {docker-ce: 27.5.1, docker-ce-cli: 27.5.1, containerd.io: ""}
    hold: true

- name: Install the distribution's engine in whichever version it has
  tfleet.serving.apt_packages:
    set_by: docker_engine
    packages: {docker.io: ""}

- name: Install all parts of the container toolkit at the same version
  tfleet.serving.apt_packages:
    set_by: nvidia_container_toolkit
    packages: {nvidia-container-toolkit: 1.20.0, nvidia-container-toolkit-base: 1.20.0, libnvidia-container-tools: 1.20.0, libnvidia-container1: 1.20.0}
    hold: true

- name: Remove what the first two installed
  tfleet.serving.apt_packages:
    set_by: docker_engine
    state: absent
"""

RETURN = r"""
versions:
  description: The whole version of each package afterwards. Null in check mode for one that no package list of the host knows yet.
  returned: success
  type: dict
  sample: {"docker-ce": "5:27.5.1-1~debian.12~bookworm"}
unknown:
  description: Packages that no package list knows.
  returned: failure
  type: list
  elements: str
  sample: [docker-ce]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.package_plan import ensure_absent, ensure_present


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "set_by": {"type": "str", "required": True},
            "packages": {"type": "dict", "default": {}},
            "hold": {"type": "bool", "default": False},
            "fetch": {"type": "bool", "default": True},
            "environment": {"type": "dict", "default": {}, "no_log": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "delete_before_purge": {"type": "list", "elements": "path", "default": []},
            "record_directory": {"type": "path", "default": "/var/lib/tfleet/packages"},
        },
        supports_check_mode=True,
    )
    ensure = ensure_present if module.params["state"] == "present" else ensure_absent
    try:
        result = ensure(module.params, module.check_mode, module.run_command)
    except ModuleError as error:
        module.fail_json(**dict(error.result, msg=str(error)))
    except OSError as error:
        module.fail_json(msg="The packages of %s could not be recorded in %s: %s. Run with become."
                             % (module.params["set_by"], module.params["record_directory"], error))
    for note in result.pop("notes"):
        module.warn(note)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
