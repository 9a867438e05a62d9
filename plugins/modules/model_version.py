#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: one version of a model on a host is there, verified; or gone; or set aside."""

DOCUMENTATION = r"""
module: model_version
short_description: Put a verified model version where the model server finds it, or take it away
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Unpacks a release made by M(tfleet.serving.model_release) beside the version directories, checks every file against the
    manifest, flushes it to the disk and then renames it to its number. A running model server finds it at its next poll and
    never sees a part of it.
  - A run that is killed at any moment, or ended by a power loss, is finished or cleaned up by the next run.
  - A version that is already there is read whole and compared with its manifest. One that was changed after its release is an
    error, never overwritten.
options:
  base_path:
    description: Absolute path of the model's directory, as in the server's model.config. Made if it does not exist.
    type: path
    required: true
  model:
    description: Name of the model. It must be the one in the release's manifest.
    type: str
    required: true
  version:
    description: Version number, 1 or more. It must be the one in the release's manifest.
    type: int
    required: true
  src:
    description:
      - Release archive, or directory with a manifest, on the managed host. The one where M(tfleet.serving.release_stage) put the version is
        verified and renamed, anything else is unpacked or copied.
      - Not needed for a version that is already there (which is then verified) or that was set aside (which is then put back).
    type: path
  state:
    description:
      - V(present) puts the version in place, or verifies it. One that was set aside and is whole is put back instead of being unpacked.
      - V(aside) moves the version out of the server's sight to C(.aside) in O(base_path), to be looked into or put back.
      - V(absent) removes the version, also from C(.aside).
    type: str
    choices: [present, aside, absent]
    default: present
  reason:
    description: Why the version is set aside. Written with the time to C(.aside/<version>.json).
    type: str
    default: Set aside by model_version.
  keep:
    description:
      - With O(state=present), how many of the newest versions to keep; older ones are removed. 0 keeps all.
      - The version O(version), those in O(protect), and directories that did not come from a release of this model are never removed.
    type: int
    default: 0
  protect:
    description: Versions that are never removed or set aside, such as those a label points to.
    type: list
    elements: int
    default: []
  owner:
    description: User that owns the files, a name or a number. Only root can give files away. Left out, it is whoever runs the module.
    type: str
  group:
    description: Group of the files, a name or a number.
    type: str
  mode:
    description: Mode of the files in octal. Directories also get C(x) wherever files get C(r).
    type: str
    default: "0644"
  hardware_class:
    description:
      - The class of this host, C(tfleet_device.hardware_class). A TF-TRT variant of another class is refused, and any TF-TRT variant if this is left out.
    type: str
  trusted_keys:
    description:
      - Public keys, as text, one of which must have signed the release before it is put in place - lines of OpenSSH keys, armoured GPG keys.
      - The signature is checked again with a version that is already there. Checked with ssh-keygen (OpenSSH 8.1 or later) or gpgv.
      - With no keys, signatures are not looked at.
    type: list
    elements: str
    default: []
  reserve_bytes:
    description: Bytes that must stay free on the disk after a release was unpacked; checked before anything is written.
    type: int
    default: 0
attributes:
  check_mode:
    support: full
    description: Says what would be done. A O(src) that does not exist yet is taken for a good release.
  diff_mode:
    support: full
    description: Shows the versions in place and aside, before and after.
  idempotent:
    support: full
    description: A version that is already in the state is verified and left alone.
seealso:
  - module: tfleet.serving.model_release
  - module: tfleet.serving.model_server_info
"""

EXAMPLES = r"""
- name: Deploy version 2 of digits
  tfleet.serving.model_version:
    base_path: /srv/models/digits
    model: digits
    version: 2
    src: /var/tmp/digits-2.tar
    reserve_bytes: 1073741824

- name: Put a staged version in place if the release key has signed it
  tfleet.serving.model_version:
    base_path: /srv/models/digits
    model: digits
    version: 2
    src: /srv/models/digits/.staging/2
    trusted_keys: ["{{ lookup('ansible.builtin.file', 'keys/release.pub') }}"]

- name: Verify version 2, and remove all but the newest three and those that labels point to
  tfleet.serving.model_version:
    base_path: /srv/models/digits
    model: digits
    version: 2
    keep: 3
    protect: [1]

- name: Take version 2 out of service, but keep it to look into
  tfleet.serving.model_version:
    base_path: /srv/models/digits
    model: digits
    version: 2
    state: aside
    reason: smoke inference differs from the golden outputs

- name: Put version 2 back
  tfleet.serving.model_version:
    base_path: /srv/models/digits
    model: digits
    version: 2

- name: Remove version 1
  tfleet.serving.model_version:
    base_path: /srv/models/digits
    model: digits
    version: 1
    state: absent
"""

RETURN = r"""
versions:
  description: Numbers of the versions in place afterwards, ascending.
  returned: success
  type: list
  elements: int
  sample: [1, 2]
aside:
  description: Numbers of the versions in C(.aside) afterwards, ascending.
  returned: success
  type: list
  elements: int
  sample: []
retired:
  description: Numbers of the versions that this run removed, ascending.
  returned: success
  type: list
  elements: int
  sample: []
path:
  description: Where the version is now, in place or aside. Null if it is nowhere.
  returned: success
  type: str
  sample: /srv/models/digits/2
manifest:
  description: The version's manifest. Null if the version is nowhere, has none, or in check mode if O(src) does not exist yet.
  returned: success
  type: dict
  sample: {"format": 1, "model": "digits", "version": 2, "variant": "native", "source_version": null, "files": [], "provenance": {}}
signer:
  description: Which of O(trusted_keys) signed the version. Null without such keys.
  returned: success
  type: str
  sample: ED25519 key SHA256:WGFGbz1E3mvDSPA5eNVbWoRQWMz8w3sGDtcTkFUKjXw
actions:
  description: What was done, or would be done in check mode, in this order.
  returned: success
  type: list
  elements: str
  sample: ["rename /srv/models/digits/1 to /srv/models/digits/.retired-1"]
findings:
  description: With a version that was changed after its release, every file that differs, with what was expected and found.
  returned: failure
  type: list
  elements: dict
  sample: [{"path": "saved_model.pb", "expected": "1234 bytes", "found": "1230 bytes"}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.version_state import ensure_version as ensure


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "base_path": {"type": "path", "required": True},
            "model": {"type": "str", "required": True},
            "version": {"type": "int", "required": True},
            "src": {"type": "path"},
            "state": {"type": "str", "choices": ["present", "aside", "absent"], "default": "present"},
            "reason": {"type": "str", "default": "Set aside by model_version."},
            "keep": {"type": "int", "default": 0},
            "protect": {"type": "list", "elements": "int", "default": []},
            "owner": {"type": "str"},
            "group": {"type": "str"},
            "mode": {"type": "str", "default": "0644"},
            "hardware_class": {"type": "str"},
            "trusted_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "reserve_bytes": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    try:
        result = ensure(module.params, module.check_mode)
    except ModuleError as error:
        module.fail_json(**dict(error.result, msg=str(error)))
    except OSError as error:
        module.fail_json(msg="Version %d of %s could not be brought to state %s in %s: %s. What was begun is finished or cleaned up by the next "
                         "run, once that is put right."
                             % (module.params["version"], module.params["model"], module.params["state"], module.params["base_path"], error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
