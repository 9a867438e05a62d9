# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What a host's model.config says of a model at each step of its rollout: labels and policies. Pure functions, used on the controller; the device takes the
model's entry out of these texts (model_entry.py), and leaves all other models as they are.

    bridge   old and new version loaded, the labels as they were
    canary   the label canary on the new version
    stable   every label on it that is declared to point to it
    final    the declared policy, as site.yml would write it
    kept     only what has labels, before an exchange
    alone    only the new version, no labels: the exchange on a device that cannot hold both
    moved    only the new version, with its labels: the end of an exchange
"""
import os
import re
from typing import Any, Dict, List, Optional, Sequence

from ansible_collections.tfleet.serving.plugins.module_utils.model_config import model_config
from ansible_collections.tfleet.serving.plugins.module_utils.models import ModelsError, release_item

FIRST_LABEL = "canary"
PROVEN_LABEL = "stable"


def rollout_item(models: Sequence[Dict[str, Any]], name: str, wanted: Any = None, hardware_class: str = "") -> Dict[str, Any]:
    """Return what a rollout of the model brings to a host: the release that its label stable is declared to point to; {} if the host has no such model.

    :param models: result of models.normalise().
    :param wanted: the version that was asked for: a number, {hardware class: number}, or nothing for what the inventory declares. A variant counts as the
        version that it was made from.
    :returns: the release's keys with model, base_path, keep, labels, policy and ``files`` {name beside the version: path on the controller}.
    :raises ModelsError: the inventory declares another version.
    """
    model = next((model for model in models if model["name"] == name), None)
    if model is None:
        return {}
    if not model["releases"]:
        raise ModelsError("Model %s has no releases in tfleet_models: there is nothing to roll out." % name)
    declared = model["labels"].get(PROVEN_LABEL, (model["serve"] or [None])[-1])
    release = next((release for release in model["releases"] if release["version"] == declared), None)
    if release is None:
        raise ModelsError("Model %s: none of its releases is version %s, which its label %s points to." % (name, declared, PROVEN_LABEL))
    version = _asked(wanted, hardware_class, name)
    if version is not None and version not in (release["version"], release["source_version"]):
        raise ModelsError(
            "Version %d of %s was asked for, but tfleet_models declares version %d for this host%s: playbooks/site.yml would take it back. Make version %d the "
            "last of its releases (or the one that its labels name), and run again." % (
                version, name, release["version"], " (hardware class %s)" % hardware_class if hardware_class else "", version))
    item = release_item((model, release))
    # What lies beside the version on the host, by the names that the role model_release gives.
    files = {key + os.path.splitext(item[key])[1]: item[key] for key in ("golden", "sample", "label_map") if item[key]}
    return dict(item, labels=model["labels"], policy=model["policy"], files=files)


def _asked(wanted, hardware_class, name) -> Optional[int]:
    if isinstance(wanted, dict):
        if hardware_class not in wanted:
            raise ModelsError("rollout_version names no version of %s for the hardware class %s. It names: %s."
                              % (name, hardware_class or "of this host, which nobody knows", ", ".join(sorted(map(str, wanted)))))
        wanted = wanted[hardware_class]
    if wanted in (None, ""):
        return None
    if isinstance(wanted, bool) or not re.match(r"[1-9][0-9]*\Z", str(wanted)):
        raise ModelsError("rollout_version must be a version number, or {hardware class: version}, not %r." % (wanted,))
    return int(wanted)


def rollout_configs(seen: Dict[str, Any], item: Dict[str, Any]) -> Dict[str, str]:
    """Return {what it says: text of model.config with this model alone}.

    :param seen: what the step ``look`` told of the host: ``labels`` {model: {label: version}} and ``versions`` of this model on its disk.
    :param item: result of :func:`rollout_item`.
    """
    name, new = item["model"], item["version"]
    now = seen["labels"].get(name, {})
    pointed = sorted(set(now.values()) - {new})
    if not pointed:
        # Clients that ask by no label get the newest.
        pointed = [version for version in seen["versions"] if version != new][-1:]
    together = _together(item["policy"], seen["versions"], pointed + [new])
    # A label that is declared to point elsewhere is no part of this rollout.
    moved = {label: new for label, version in item["labels"].items() if version == new}
    first = dict(now, **({FIRST_LABEL: new} if FIRST_LABEL in moved else {}))
    last = dict(now, **moved)
    declared_labels = {label: version for label, version in last.items() if label in item["labels"]}

    def step(labels: Dict[str, int], policy: Dict[str, Any]) -> str:
        return model_config([{"name": name, "base_path": item["base_path"], "policy": policy}], {name: labels}, {})

    return {
        "bridge": step(now, together),
        "canary": step(first, together),
        "stable": step(last, together),
        "final": step(declared_labels, item["policy"]),
        "kept": step(now, _specific(pointed or [new])),
        "alone": step({}, _specific([new])),
        "moved": step(moved, _specific([new])),
    }


def _together(policy: Dict[str, Any], on_disk: Sequence[int], needed: List[int]) -> Dict[str, Any]:
    """The declared policy where it loads all that is needed side by side, else one that names them."""
    versions = sorted(set(on_disk) | set(needed))
    if "all" in policy or ("latest" in policy and set(needed) <= set(versions[-policy["latest"]["num_versions"]:])):
        return policy
    return _specific(needed)


def _specific(versions: Sequence[int]) -> Dict[str, Any]:
    return {"specific": {"versions": sorted(set(versions))}}
