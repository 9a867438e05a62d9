# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""One version of a model on this host brought to a state: what the module ``model_version`` does, and the steps of a rollout do too."""
import os

from ansible_collections.tfleet.serving.plugins.module_utils import manifest as manifests
from ansible_collections.tfleet.serving.plugins.module_utils import signature as signatures
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.release_archive import open_release
from ansible_collections.tfleet.serving.plugins.module_utils.staging import Ownership
from ansible_collections.tfleet.serving.plugins.module_utils.version_store import Desired, StoreError, VersionStore, sentence


def ensure_version(params, check_mode):
    """Bring the version to its state and return what was done.

    :param params: the options of the module ``model_version``, all of them; its documentation tells what the result holds.
    :raises ModuleError: naming what is in the way; nothing was changed then, or it was undone.
    """
    manifests.check_model(params["model"])
    manifests.check_version(params["version"])
    if params["keep"] < 0 or params["reserve_bytes"] < 0:
        raise StoreError("keep (%d) and reserve_bytes (%d) must not be negative." % (params["keep"], params["reserve_bytes"]))
    desired = Desired(params["model"], params["version"], params["state"], params["keep"], frozenset(params["protect"]), params["reason"])
    ownership = Ownership(params["owner"], params["group"], params["mode"], announced=check_mode)
    store = VersionStore(params["base_path"], ownership, params["reserve_bytes"])
    src = params["src"] if desired.state == "present" else None
    announced = check_mode and src is not None and not os.path.lexists(src)
    release = _open(src, desired, params["hardware_class"]) if src is not None and not announced else None
    try:
        signer = None
        if params["trusted_keys"] and desired.state == "present" and not announced:
            signer = _signer(store, desired, release, params["trusted_keys"])
        return dict(_bring(store, desired, release, announced, params["hardware_class"], check_mode), signer=signer)
    finally:
        if release is not None:
            release.close()


def _open(src, desired, hardware_class):
    release = open_release(src)
    manifest = release.manifest
    try:
        manifests.check_hardware_class(manifest, hardware_class, src)
    except ModuleError:
        release.close()
        raise
    if (manifest["model"], manifest["version"]) != (desired.model, desired.version):
        release.close()
        raise StoreError("%s is version %d of %s by its manifest, but version %d of %s was asked for. Give the release that belongs to it."
                         % (src, manifest["version"], manifest["model"], desired.version, desired.model), manifest=manifest)
    return release


def _signer(store, desired, release, trusted):
    """Who signed what is to be put, or stands, in place.

    :raises SignatureError: nobody who is trusted.
    """
    if release is not None:
        return signatures.verify(release.content, release.signature, trusted, release.path)
    where = store.where(desired.version, store.scan())
    if where is None:
        return None
    _manifest, content = manifests.read(where)
    return signatures.verify(content, signatures.read(os.path.join(where, manifests.SIGNATURE)), trusted, where)


def _bring(store, desired, release, announced, hardware_class, check_mode):
    if check_mode:
        before, after, actions, notes, manifest = _look(store, desired, release, announced, hardware_class)
    else:
        if release is not None and not os.path.isdir(store.base):
            store.prepare(release)
        with store.lock():
            before, after, actions, notes, manifest = _look(store, desired, release, announced, hardware_class)
            for action in actions:
                store.perform(action, desired, release)
            after = store.scan()
    result = {
        "changed": bool(actions),
        "versions": sorted(after.versions),
        "aside": sorted(set(after.aside.values())),
        "retired": sorted(set(before.versions) - set(after.versions) - ({desired.version} if desired.state == "aside" else set())),
        "path": store.where(desired.version, after),
        "manifest": manifest,
        "actions": [sentence(action) for action in actions],
        "diff": {"before_header": store.base, "after_header": store.base, "before": _picture(before, actions), "after": _picture(after, ())},
    }
    if notes:
        result["warnings"] = notes
    return result


def _look(store, desired, release, announced, hardware_class):
    before = store.scan()
    actions, after, notes = store.plan(desired, before, release, announced)
    if release is not None and any(action.verb == "stage" for action in actions):
        store.check_space(release)
    manifest = release.manifest if release is not None else store.manifest_of(desired.version, before)
    if manifest is not None and desired.state == "present":
        manifests.check_hardware_class(manifest, hardware_class, store.where(desired.version, before) or store.base)
    return before, after, actions, notes, manifest


def _picture(actual, actions):
    return {
        "versions": sorted(actual.versions),
        "aside": sorted(actual.aside),
        "left by a killed run": sorted(actual.staging + actual.retired + actual.reasons),
        "owner, group and modes": "differ" if any(action.verb == "own" for action in actions) else "as declared",
    }
