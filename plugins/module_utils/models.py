# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The inventory variable ``tfleet_models``: its rules, its defaults, and what follows from it.

Everything here is pure: dictionaries in, dictionaries out, no file and no socket. The filters of
``plugins/filter/models.py`` are the only caller on the controller.
"""
import difflib
import posixpath
import re
from typing import Any, Dict, List

# int64, as TensorFlow Serving parses the name of a version directory.
MAX_VERSION = 2 ** 63 - 1

MODEL_KEYS = ("name", "base_path", "keep", "policy", "labels", "releases")
RELEASE_KEYS = (
    "version", "source", "checksum", "kind", "signatures", "tags", "variant", "source_version",
    "golden", "latency_budget_ms", "sample", "label_map", "provenance",
)
RELEASE_KINDS = ("auto", "frozen_graph", "saved_model", "keras", "checkpoint")
POLICY_KEYS = {"latest": "num_versions", "all": None, "specific": "versions"}

DEFAULT_KEEP = 3
# Old and new version side by side, so that a label can move without an interruption.
DEFAULT_POLICY = {"latest": {"num_versions": 2}}
DEFAULT_LABELS = ("canary", "stable")


class ModelsError(ValueError):
    """What is wrong in ``tfleet_models``, where, and what to write instead."""


def normalise(models, models_root, source_root):
    """Return ``models`` with every default filled in and every path absolute.

    :param models: the inventory's ``tfleet_models``: a list of dictionaries.
    :param models_root: absolute directory on the host under which a model without ``base_path`` is kept.
    :param source_root: absolute directory on the controller that relative ``source``, ``golden``,
        ``sample`` and ``label_map`` are relative to.
    :returns: list of dictionaries with all of MODEL_KEYS, releases ascending by version, and ``serve``: the released
        versions that the server loads under the policy.
    :raises ModelsError: naming the model, the key and the remedy.
    """
    if not isinstance(models, (list, tuple)):
        raise ModelsError("tfleet_models must be a list of models, not %s. See inventories/example/group_vars/all.yml." % _kind(models))
    if not str(models_root).startswith("/"):
        raise ModelsError("The models root must be an absolute path, not %r." % models_root)
    result = [_model(model, index, models_root, source_root) for index, model in enumerate(models)]
    for key in ("name", "base_path"):
        values = [model[key] for model in result]
        twice = [value for value in values if values.count(value) > 1]
        if twice:
            raise ModelsError("tfleet_models: two models have the %s %s. Give each its own." % (key, twice[0]))
    for model in result:
        inside = [other["name"] for other in result if model["base_path"].startswith(other["base_path"] + "/")]
        if inside:
            raise ModelsError("Model %s: its base_path %s lies inside that of %s, whose versions it could be taken for. Move one of them."
                              % (model["name"], model["base_path"], inside[0]))
    return result


def _model(model, index, models_root, source_root):
    where = "tfleet_models[%d]" % index
    if not isinstance(model, dict):
        raise ModelsError("%s must be a dictionary with name and releases, not %s." % (where, _kind(model)))
    name = model.get("name")
    if not isinstance(name, str) or not name:
        raise ModelsError("%s has no name. Add `name:`, the name that clients ask for." % where)
    where = "Model %s" % name
    # '/' and ':' would make the model unreachable over REST, a leading dot would hide its directory.
    if not re.match(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z", name):
        raise ModelsError("%s: a name consists of letters, digits, '_', '.' and '-' and does not begin with '.' or '-'." % where)
    _known_keys(model, MODEL_KEYS, where)
    base_path = str(model.get("base_path") or "%s/%s" % (models_root, name))
    if "://" in base_path:
        raise ModelsError("%s: base_path %r is not on this host; tfleet serves from the host's own disk." % (where, base_path))
    if not base_path.startswith("/"):
        raise ModelsError("%s: base_path %r is relative, the server needs an absolute path. Write /…/%s or leave base_path out."
                          % (where, base_path, base_path))
    base_path = posixpath.normpath(base_path)
    releases = model.get("releases", [])
    if not isinstance(releases, (list, tuple)):
        raise ModelsError("%s: releases must be a list, not %s." % (where, _kind(releases)))
    releases = [_release(release, where, source_root) for release in releases]
    versions = [release["version"] for release in releases]
    for version in versions:
        if versions.count(version) > 1:
            raise ModelsError("%s: version %d is released twice. A version is immutable: give the second one a new number."
                              % (where, version))
    releases.sort(key=lambda release: release["version"])
    versions.sort()
    keep = _integer(model.get("keep", DEFAULT_KEEP), where, "keep", 1)
    if len(versions) > keep:
        raise ModelsError("%s: %d releases are listed, but keep is %d. Raise keep or remove the oldest release (%d)."
                          % (where, len(versions), keep, versions[0]))
    policy = _policy(model.get("policy", DEFAULT_POLICY), where)
    serve = _selected(policy, versions)
    labels = _labels(model.get("labels"), versions, serve, where)
    return {
        "name": name,
        "base_path": base_path,
        "keep": keep,
        "policy": policy,
        "labels": labels,
        "releases": releases,
        "serve": serve,
    }


def _release(release, where, source_root):
    if not isinstance(release, dict):
        raise ModelsError("%s: each release is a dictionary with version and source, not %s." % (where, _kind(release)))
    if "version" not in release:
        raise ModelsError("%s: a release has no version. Add `version:`, a positive integer." % where)
    version = _integer(release["version"], where, "version", 1)
    where = "%s, version %d" % (where, version)
    _known_keys(release, RELEASE_KEYS, where)
    source = release.get("source")
    if not isinstance(source, str) or not source:
        raise ModelsError("%s has no source. Add `source:`, the path or URL of a frozen graph, SavedModel, archive or Keras file." % where)
    checksum = release.get("checksum")
    if checksum is not None and not re.match(r"sha256:[0-9a-fA-F]{64}\Z", str(checksum)):
        raise ModelsError("%s: checksum must be sha256: followed by 64 hexadecimal digits, not %r." % (where, checksum))
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source) and not checksum:
        raise ModelsError("%s: a source that is downloaded needs `checksum: sha256:…`. Compute it with sha256sum on a copy that you trust."
                          % where)
    kind = release.get("kind", "auto")
    if kind not in RELEASE_KINDS:
        raise ModelsError("%s: kind %r is unknown%s. Known: %s." % (where, kind, _nearest(kind, RELEASE_KINDS), ", ".join(RELEASE_KINDS)))
    source_version = release.get("source_version")
    budget = release.get("latency_budget_ms")
    if budget is not None:
        try:
            budget = float(budget)
        except (TypeError, ValueError):
            budget = -1.0
        if not 0 < budget < float("inf"):
            raise ModelsError("%s: latency_budget_ms must be a positive number of milliseconds, not %r." % (where, release["latency_budget_ms"]))
    provenance = release.get("provenance") or {}
    if not isinstance(provenance, dict):
        raise ModelsError("%s: provenance is a dictionary of what is known of the model, such as {accuracy: 0.99}, not %s." % (where, _kind(provenance)))
    result = {
        "version": version,
        "provenance": provenance,
        "source": _absolute(source, source_root),
        "checksum": checksum,
        "kind": kind,
        "signatures": _signatures(release.get("signatures"), where),
        "tags": _texts(release.get("tags") or ["serve"], where, "tags"),
        "variant": _text(release.get("variant") or "native", where, "variant"),
        "source_version": None if source_version is None else _integer(source_version, where, "source_version", 1),
        "latency_budget_ms": budget,
    }
    for key in ("golden", "sample", "label_map"):
        result[key] = _absolute(_text(release[key], where, key), source_root) if release.get(key) else None
    return result


def _signatures(signatures, where):
    if signatures is None:
        return {}
    if not isinstance(signatures, dict):
        raise ModelsError("%s: signatures is a dictionary {name: {inputs: {…}, outputs: {…}}}, not %s." % (where, _kind(signatures)))
    for name, signature in signatures.items():
        _text(name, where, "the name of a signature")
        place = "%s, signature %s" % (where, name)
        if not isinstance(signature, dict):
            raise ModelsError("%s must be a dictionary with inputs and outputs, not %s." % (place, _kind(signature)))
        _known_keys(signature, ("inputs", "outputs", "method_name"), place)
        for side in ("inputs", "outputs"):
            tensors = signature.get(side)
            if not isinstance(tensors, dict) or not tensors:
                raise ModelsError("%s: %s must name at least one tensor, such as {%s: \"%s:0\"}." % (place, side, side[:-1], side[:-1]))
            for alias, tensor in tensors.items():
                if not isinstance(tensor, str) or not re.match(r".+:\d+\Z", tensor):
                    raise ModelsError("%s: %s %s is %r, which names an operation; a tensor name ends with its output number, such as \"%s:0\"."
                                      % (place, side[:-1], alias, tensor, tensor))
    return signatures


def _policy(policy, where):
    if not isinstance(policy, dict) or len(policy) != 1:
        raise ModelsError("%s: policy must be exactly one of {latest: {num_versions: N}}, {all: {}} and {specific: {versions: [N, …]}}." % where)
    name, options = next(iter(policy.items()))
    if name not in POLICY_KEYS:
        raise ModelsError("%s: policy %r is unknown%s. Known: %s." % (where, name, _nearest(name, POLICY_KEYS), ", ".join(sorted(POLICY_KEYS))))
    options = {} if options is None else options
    key = POLICY_KEYS[name]
    if not isinstance(options, dict):
        raise ModelsError("%s: write the policy as {%s: {%s}}." % (where, name, "%s: …" % key if key else ""))
    _known_keys(options, (key,) if key else (), "%s, policy %s" % (where, name))
    if name == "latest":
        return {name: {key: _integer(options.get(key, 1), where, "policy.latest.num_versions", 1)}}
    if name == "all":
        return {name: {}}
    versions = options.get(key)
    if not isinstance(versions, (list, tuple)) or not versions:
        raise ModelsError("%s: policy specific needs versions, a list of version numbers." % where)
    return {name: {key: sorted(_integer(version, where, "policy.specific.versions", 1) for version in versions)}}


def _selected(policy, versions):
    """Return those of ``versions`` (ascending) that the server loads under ``policy``."""
    if "latest" in policy:
        return versions[-policy["latest"]["num_versions"]:]
    if "specific" in policy:
        return [version for version in versions if version in policy["specific"]["versions"]]
    return versions


def _labels(labels, versions, serve, where):
    if labels is None:
        return dict.fromkeys(DEFAULT_LABELS, serve[-1]) if serve else {}
    if not isinstance(labels, dict):
        raise ModelsError("%s: labels is a dictionary {label: version}, not %s." % (where, _kind(labels)))
    result: Dict[str, Any] = {}
    for label, value in labels.items():
        # The server's REST route takes [^/:]+ for a label.
        if not isinstance(label, str) or not re.match(r"[^/:\s\"]+\Z", label):
            raise ModelsError("%s: label %r must be a word without '/', ':', quotes and spaces." % (where, label))
        version = _integer(value, where, "labels.%s" % label, 1)
        # Without releases somebody else brings the versions, as before a fleet is handed over to tfleet: the host knows them.
        if versions and version not in versions:
            raise ModelsError("%s: label %s points to version %d, which is not among its releases (%s). Add the release or move the label."
                              % (where, label, version, ", ".join(map(str, versions)) or "none"))
        if versions and version not in serve:
            raise ModelsError("%s: label %s points to version %d, which its policy does not load (it loads %s). Raise num_versions, "
                              "name the version in policy specific, or move the label."
                              % (where, label, version, ", ".join(map(str, serve)) or "none"))
        result[label] = version
    return result


def client_address(listen_address, port):
    """Return HOST:PORT under which a client on the host itself reaches a server that listens there.

    A wildcard is no destination, and an IPv6 address stands in brackets before a port.
    """
    host = "127.0.0.1" if str(listen_address) in ("0.0.0.0", "::", "") else str(listen_address)  # noqa: S104 a comparison, nothing is bound
    return "%s:%s" % ("[%s]" % host if ":" in host else host, port)


def release_item(pair):
    """Return one release of a model as a flat dictionary: model, base_path, keep and all of RELEASE_KEYS.

    :param pair: (model, release) as the filter ``subelements`` yields it.
    """
    model, release = pair
    item = dict(release, model=model["name"])
    item.update((key, model[key]) for key in ("base_path", "keep"))
    return item


def declared_versions(models):
    """Return [{"name", "version"}] of every version that the server shall have AVAILABLE."""
    return [{"name": model["name"], "version": version} for model in models for version in model["serve"]]


def versions_on_disk(models, directories):
    """Sort a host's version directories by model.

    :param models: result of :func:`normalise`.
    :param directories: absolute paths of directories on the host, ``<base_path>/<version>``.
    :returns: {model: [version, ascending]}, an empty list where the host holds none.
    """
    result: Dict[str, List[int]] = {model["name"]: [] for model in models}
    for directory in directories:
        base_path, version = str(directory).rsplit("/", 1)
        for model in models:
            # TensorFlow Serving takes any name that parses as int64, 007 included.
            if model["base_path"].rstrip("/") == base_path and re.match(r"\d+\Z", version):
                result[model["name"]].append(int(version))
    return {name: sorted(versions) for name, versions in result.items()}


def served_labels(models, current, on_disk, move):
    """Decide which labels model.config shall contain for each model.

    A label stays where the host has it now until it is this step's turn to move, so that a new
    version gets no traffic by label before it has been proven. A label that the inventory no longer
    declares goes with the last step (``move`` is ``all``).

    :param models: result of :func:`normalise`.
    :param current: {model: {label: version}} of the host's model.config now.
    :param on_disk: {model: [version]} that the host holds.
    :param move: labels that move to their declared version in this step, or the string ``all``.
    :returns: {model: {label: version}}.
    """
    result: Dict[str, Any] = {}
    for model in models:
        name, declared = model["name"], model["labels"]
        have = set(on_disk.get(name, []))
        # A label on a version that is gone can only be refused by the server.
        labels = {label: version for label, version in current.get(name, {}).items() if version in have}
        if move == "all":
            labels = {label: version for label, version in labels.items() if label in declared}
            labels.update(declared)
        else:
            labels.update((label, declared[label]) for label in move if label in declared)
        result[name] = labels
    return result


def rollback_plan(models, current, on_disk, names=None, version=None):
    """For each model that can go back: the version to return to and the newer ones to put aside.

    Without ``version`` the target is the version that ``stable`` points to if a newer one is on the host
    (a deployment that did not get as far as ``stable``), else the highest version below the newest.

    :param models: result of :func:`normalise`; ``current`` and ``on_disk`` as for :func:`served_labels`.
    :param names: only these models; None means all.
    :param version: the version to return to; only together with exactly one model.
    :returns: ``plan`` [{name, base_path, to, aside: [version]}], and for its models ``labels`` {model: {label: version}},
        ``policies`` {model: policy} under which the old and the new version are loaded together, ``wait``
        [{name, version}] that must be AVAILABLE before a label moves, and ``sentences`` for people.
    :raises ModelsError: an unknown model, or a version that the host does not hold.
    """
    known = [model["name"] for model in models]
    names = known if names is None else list(names)
    for name in names:
        if name not in known:
            raise ModelsError("Model %s is not in tfleet_models%s. Declared: %s." % (name, _nearest(name, known), ", ".join(known) or "none"))
    if version is not None and len(names) != 1:
        raise ModelsError("rollback_version needs rollback_model: which of %s shall return to version %s?" % (", ".join(names), version))
    plan: Dict[str, Any] = {"plan": [], "labels": {}, "policies": {}, "wait": [], "sentences": []}
    for model in models:
        name = model["name"]
        if name not in names:
            continue
        versions = sorted(on_disk.get(name, []))
        labels = current.get(name, {})
        if version is not None:
            target = _integer(version, "Model %s" % name, "rollback_version", 1)
            if target not in versions:
                raise ModelsError("Model %s: version %d is not on this host. It holds: %s." % (name, target, ", ".join(map(str, versions)) or "none"))
        else:
            older = versions[:-1]
            if not older:
                plan["sentences"].append("%s stays: no older version is on the host (it holds: %s)."
                                         % (name, ", ".join(map(str, versions)) or "none"))
                continue
            target = labels.get("stable")
            if target not in older:
                target = older[-1]
        aside = [candidate for candidate in versions if candidate > target]
        if not aside and all(labels.get(label) == target for label in labels):
            plan["sentences"].append("%s stays: version %d is the newest on the host and has every label." % (name, target))
            continue
        plan["plan"].append({"name": name, "base_path": model["base_path"], "to": target, "aside": aside})
        plan["labels"][name] = dict.fromkeys(sorted(set(labels) | set(model["labels"])), target)
        plan["policies"][name] = {"specific": {"versions": [target] + aside}}
        plan["wait"].append({"name": name, "version": target})
        plan["sentences"].append("%s returns from version %d to version %d." % (name, versions[-1], target))
    return plan


def _integer(value, where, key, lowest):
    # True is an int in Python; YAML's `yes` must not become version 1.
    if isinstance(value, bool) or not re.match(r"-?\d+\Z", str(value)):
        raise ModelsError("%s: %s must be an integer, not %r." % (where, key, value))
    number = int(str(value))
    if not lowest <= number <= MAX_VERSION:
        raise ModelsError("%s: %s must be between %d and 2^63-1, not %s." % (where, key, lowest, value))
    return number


def _text(value, where, key):
    if not isinstance(value, str):
        raise ModelsError("%s: %s must be text, not %s." % (where, key, _kind(value)))
    return value


def _texts(value, where, key):
    if isinstance(value, str):
        return [value]
    if not isinstance(value, (list, tuple)):
        raise ModelsError("%s: %s must be a list of texts, not %s." % (where, key, _kind(value)))
    return [_text(item, where, key) for item in value]


def _known_keys(mapping, known, where):
    for key in mapping:
        if key not in known:
            raise ModelsError("%s: unknown key %r%s. Known: %s." % (where, key, _nearest(key, known), ", ".join(known) or "none"))


def _nearest(word, known):
    near = difflib.get_close_matches(str(word), [str(item) for item in known], 1, 0.6)
    return " (did you mean %s?)" % near[0] if near else ""


def _absolute(path, root):
    path = str(path)
    if path.startswith("/") or re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path):
        return path
    return "%s/%s" % (str(root).rstrip("/"), path)


def _kind(value):
    return {"dict": "a dictionary", "str": "text", "list": "a list", "NoneType": "empty"}.get(type(value).__name__, type(value).__name__)
