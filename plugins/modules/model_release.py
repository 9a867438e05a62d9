#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: a SavedModel directory becomes a release archive."""

DOCUMENTATION = r"""
module: model_release
short_description: Make a release archive from a SavedModel directory
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Writes an uncompressed tar of the SavedModel with a C(manifest.json) inside that lists every file with its size and SHA-256.
  - The same SavedModel, model, version and variant give the same archive, byte for byte, so that it can be named by its digest
    and sent as a difference to the one before.
  - Beside it stand C(<dest>.index), the digests of its blocks, by which a device fetches only what it lacks, and, if there are keys,
    C(<dest>.sig), the signature of the manifest. The three files together are what an HTTP server needs.
  - A version never changes. If O(dest) already holds another release of the same version, the module fails and says what differs.
  - Needs neither TensorFlow nor the tfleet runtime.
options:
  src:
    description: SavedModel directory, the one that holds C(saved_model.pb) or C(saved_model.pbtxt). Links and special files in it are refused.
    type: path
    required: true
  dest:
    description: Archive to write. Its directory must exist.
    type: path
    required: true
  model:
    description: Name under which the model will be served.
    type: str
    required: true
  version:
    description: Version number, 1 or more.
    type: int
    required: true
  variant:
    description: How this version was built, for example V(native) or V(tftrt-orin-fp16).
    type: str
    default: native
  source_version:
    description: Version that a variant was made from. Leave it out for the source model itself.
    type: int
  signing_keys:
    description:
      - Keys that sign the manifest. The file of an OpenSSH key, or C(gpg:) and the id of a GPG key. A key with a passphrase belongs in its agent.
      - Devices with OpenSSH before 8.1 (JetPack 4) can check GPG signatures only; give a key of each kind for a mixed fleet.
    type: list
    elements: str
    default: []
  origin:
    description:
      - File or directory that the SavedModel was made from. The manifest's provenance names it and, in a git checkout, the last commit that changed it.
      - What is written once stays. A version is not another one because a commit was made later.
    type: path
  provenance:
    description: What else is to stand in the manifest's provenance, such as the accuracy or the training data.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Says whether the archive would be written, with the manifest it would hold.
  diff_mode:
    support: full
    description: Shows the manifest before and after.
  idempotent:
    support: full
    description: An archive that is already what it should be is left alone.
seealso:
  - module: tfleet.serving.saved_model
  - module: tfleet.serving.model_version
"""

EXAMPLES = r"""
- name: Release version 2 of digits
  tfleet.serving.model_release:
    src: build/saved_models/digits/2
    dest: build/releases/digits-2.tar
    model: digits
    version: 2

- name: Release version 2 signed, with what is known of it
  tfleet.serving.model_release:
    src: build/saved_models/digits/2
    dest: build/releases/digits-2.tar
    model: digits
    version: 2
    signing_keys: [keys/release, "gpg:release@example.net"]
    origin: models/digits/2/frozen_graph.pb
    provenance: {accuracy: 0.991}

- name: Release a variant for one hardware class as a version of its own
  tfleet.serving.model_release:
    src: build/saved_models/digits/3
    dest: build/releases/digits-3.tar
    model: digits
    version: 3
    variant: tftrt-orin-fp16
    source_version: 2

- name: Show the manifest that a release would have
  tfleet.serving.model_release:
    src: build/saved_models/digits/2
    dest: build/releases/digits-2.tar
    model: digits
    version: 2
  check_mode: true
  register: release
"""

RETURN = r"""
manifest:
  description: The manifest in the archive. Null, as the digests and RV(bytes), in check mode when O(src) does not exist yet.
  returned: success
  type: dict
  sample: {"format": 1, "model": "digits", "version": 2, "variant": "native", "source_version": null, "files": [], "provenance": {}}
manifest_sha256:
  description: SHA-256 of C(manifest.json) in the archive, the same as of the file in a version directory made from it.
  returned: success
  type: str
  sample: 5b2c1a0f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3
sha256:
  description: SHA-256 of the archive, 64 hexadecimal digits.
  returned: success
  type: str
  sample: 0f343b0931126a20f133d67c2b018a3b5a1a3f0a2d5c8c0d3f8e0a2b1c4d5e6f
bytes:
  description: Size of the archive.
  returned: success
  type: int
  sample: 245760
signed:
  description: Whether the archive has a signature by the given keys.
  returned: success
  type: bool
  sample: true
dest:
  description: Path of the archive.
  returned: success
  type: str
  sample: /srv/releases/digits-2.tar
"""

import hashlib
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils import commands, release_archive, release_index
from ansible_collections.tfleet.serving.plugins.module_utils import manifest as manifests
from ansible_collections.tfleet.serving.plugins.module_utils import signature as signatures
from ansible_collections.tfleet.serving.plugins.module_utils.durable import replacing, sha256_file, write_atomically
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError


def ensure(params, check_mode):
    """Make ``dest`` the release of ``src`` and return the module's result.

    :raises ModuleError: what is wrong with src, or what else is at dest.
    """
    src, dest = params["src"], params["dest"]
    if check_mode and not os.path.lexists(src):
        # What makes the SavedModel did not run either.
        return {"changed": not os.path.lexists(dest), "manifest": None, "manifest_sha256": None, "sha256": None, "bytes": None, "signed": False,
                "dest": dest, "msg": "Would release %s as %s once it is there." % (src, dest)}
    origin = dict(params["provenance"], **_origin(params["origin"]))
    manifest = manifests.build(src, params["model"], params["version"], params["variant"], params["source_version"], origin)
    before = _existing(dest, manifest)
    if before is not None:
        manifest = before
    digest, size = release_archive.write(None, src, manifest)
    changed = before is None or sha256_file(dest) != digest
    if changed and not os.path.isdir(os.path.dirname(os.path.abspath(dest))) and not check_mode:
        raise release_archive.ReleaseError("The directory of %s does not exist. Create it first." % dest)
    if changed and not check_mode:
        with replacing(dest) as stream:
            if release_archive.write(stream, src, manifest) != (digest, size):
                raise release_archive.ReleaseError("%s changed while it was being released. Let what writes it finish, and run again." % src)
    index = release_index.path_of(dest)
    if not check_mode and (changed or not release_index.belongs(index, manifest)):
        changed = True
        release_index.write(index, dest)
    content = manifests.dump(manifest)
    signature = signatures.read(dest + ".sig")
    unsigned = bool(params["signing_keys"]) and not signatures.signed_by(content, signature, params["signing_keys"])
    if unsigned and not check_mode:
        write_atomically(dest + ".sig", signatures.sign(content, params["signing_keys"]))
    return {
        "changed": changed or unsigned,
        "manifest": manifest,
        "manifest_sha256": hashlib.sha256(content).hexdigest(),
        "sha256": digest,
        "bytes": size,
        "signed": bool(params["signing_keys"]),
        "dest": dest,
        "diff": {
            "before_header": dest, "after_header": dest,
            "before": manifests.dump(before).decode("utf-8") if before else "",
            "after": content.decode("utf-8"),
        },
    }


def _origin(path):
    """Where the model comes from, as far as this machine knows."""
    if not path:
        return {}
    origin = {"source": os.path.basename(path.rstrip("/"))}
    try:
        answer = commands.run(["git", "-C", os.path.dirname(os.path.abspath(path)), "log", "-1", "--format=%H", "--", os.path.abspath(path)])
    except ModuleError:
        return origin
    if answer.status == 0 and answer.stdout.strip():
        origin["git_commit"] = answer.stdout.strip()
    return origin


def _existing(dest, manifest):
    if not os.path.lexists(dest):
        return None
    advice = "It was left as it is. If it was never deployed, remove it; otherwise give the new release a new version number."
    if os.path.islink(dest) or not os.path.isfile(dest):
        raise release_archive.ReleaseError("%s exists and is not a file. Name another dest." % dest)
    try:
        release = release_archive.open_release(dest)
    except ModuleError as error:
        raise release_archive.ReleaseError("%s exists and is not a release of this model: %s %s" % (dest, error, advice)) from error
    release.close()
    different = manifests.difference(release.manifest, _with_origin_of(release.manifest, manifest))
    if different:
        raise release_archive.ReleaseError("%s holds another release: %s %s" % (dest, different, advice), manifest=release.manifest)
    return release.manifest


def _with_origin_of(released, manifest):
    """``manifest`` with the origin that stands in the release already: what is known later makes no other release."""
    provenance = {key: value for key, value in manifest["provenance"].items() if key != "release"}
    if "release" in released["provenance"]:
        provenance["release"] = released["provenance"]["release"]
    return dict(manifest, provenance=provenance)


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "model": {"type": "str", "required": True},
            "version": {"type": "int", "required": True},
            "variant": {"type": "str", "default": "native"},
            "source_version": {"type": "int"},
            "signing_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "origin": {"type": "path"},
            "provenance": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    try:
        result = ensure(module.params, module.check_mode)
    except ModuleError as error:
        module.fail_json(**dict(error.result, msg=str(error)))
    except OSError as error:
        module.fail_json(msg="The release %s could not be made from %s: %s. Check that both are readable and the disk has room."
                         % (module.params["dest"], module.params["src"], error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
