# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The facts about hardware and versions that stand in ``data/*.yml`` of the collection, read and checked on the controller.

Modules never read them: what a device must know, an action plugin or a role gives it as a parameter.
"""
import os
import re
from typing import Any, Dict, Tuple

from ansible.module_utils.common.yaml import HAS_YAML, yaml_load
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError

DIRECTORY = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "data"))

TEXT = (str,)
MAYBE = (str, type(None))
_PAIRING = {"first": TEXT, "last": TEXT, "confidence": ("H", "M", "L")}

# What each file must hold. A type or a tuple of types stands for a value, a tuple of strings for one of these, [shape] for a list, {str: shape} for a
# dictionary with keys of any name, and any other dictionary for exactly its keys, where those that end in ? may be missing.
SHAPES: Dict[str, Any] = {
    "l4t": {
        "generations": {str: {"jetpack": TEXT, "ubuntu": TEXT, "python": TEXT, "socs": [TEXT]}},
        "releases": {str: {"jetpack": TEXT, "cuda": MAYBE, "tensorrt": MAYBE, "cudnn": MAYBE, "confidence": ("H", "M", "L")}},
    },
    "jetsons": {
        "socs": {str: {"name": TEXT, "compute_capability": TEXT, "precisions": [("FP32", "FP16", "INT8")]}},
        "modules": {str: {"name": TEXT, "soc": TEXT, "l4t": [TEXT], "parts": {str: MAYBE}, "elements": [TEXT]}},
    },
    "containers": {
        "repositories": {str: {"name": TEXT, "generations": [TEXT]}},
        "images": {str: {str: {"l4t": MAYBE, "tensorflow": MAYBE, "python": MAYBE, "tensorrt": MAYBE, "cuda": MAYBE, "confidence": ("H", "M", "L")}}},
        "selection": [dict(_PAIRING, **{"tf1?": [TEXT], "tf2?": [TEXT], "confidence": {str: ("H", "M", "L")}})],
        "groups": [{"first": TEXT, "last": TEXT, "exact": (bool,)}],
        "cuda_requirement": {"message": TEXT, "environment": {str: TEXT}, "confidence": ("H", "M", "L")},
        "servers": {"gpu_server": [TEXT], "cpu_server": [TEXT], "architecture": TEXT},
        "wheels": {"base": TEXT, "files": [dict(_PAIRING, **{"directory": TEXT, "tf1?": TEXT, "tf2?": TEXT})]},
    },
    "tftrt": {
        "first": TEXT, "last": TEXT,
        "constructors": [{"first": TEXT, "last": TEXT, "converter": TEXT, "arguments": ("keyword", "params"), "options": [TEXT], "methods": [TEXT]}],
        "explicit_batch_from_tensorrt": TEXT,
        "without_tensorrt": {str: TEXT},
        "instead": TEXT,
        "faults": [{"tensorflow": TEXT, "says": TEXT, "cause": TEXT}],
    },
    "docker": {
        "engine": {
            "sources": {str: {"versioned": [TEXT], "others": [TEXT]}},
            "packages": [TEXT],
            "version": {"docker": TEXT, "distribution": TEXT, "confidence": ("H", "M", "L")},
            "repository": {"address": TEXT, "key": TEXT, "component": TEXT},
            "broken": [{"l4t": TEXT, "versions": [TEXT], "because": TEXT, "confidence": ("H", "M", "L")}],
            "modules": {"packages": [TEXT], "confidence": ("H", "M", "L")},
        },
        "toolkit": {
            "runtime": {"name": TEXT, "path": TEXT},
            "cdi": {"docker": TEXT, "file": TEXT},
            "gpu_server": {
                "version": TEXT, "packages": [TEXT], "repository": {"address": TEXT, "key": TEXT}, "source_file": TEXT, "keyring": TEXT,
                "stale_files": [TEXT], "devices": [TEXT], "confidence": ("H", "M", "L"),
            },
            "jetson": {
                "source_file": TEXT, "address": TEXT, "csv_directory": TEXT, "devices": [TEXT], "soc_components": {str: TEXT},
                "generations": {str: {"packages": [TEXT], "components": [TEXT], "csv": [TEXT], "check_targets": [TEXT], "confidence": ("H", "M", "L")}},
            },
        },
        "failures": [{
            "id": TEXT, "hosts": [("gpu_server", "jetson")], "condition": MAYBE, "says": MAYBE, "level": ("failure", "warning"),
            "cause": TEXT, "cure": TEXT, "confidence": ("H", "M", "L"),
        }],
    },
    "ansible": {
        "cores": {str: {"controller": TEXT, "target": TEXT, "package": MAYBE}},
        "oldest_target": TEXT,
    },
}

_READ: Dict[str, Tuple[Tuple[int, int], Any]] = {}


class DataError(ModuleError):
    """A data file cannot be read, is not what it must be, or does not know what was asked; the message names it."""


def path_of(name):
    """Return where the data file ``name`` is, for messages."""
    return os.path.join(DIRECTORY, name + ".yml")


def load(name, shape=None):
    """Return the content of ``data/<name>.yml``.

    :param shape: what it must hold, as in SHAPES; None takes the one there.
    :raises DataError: naming the file, the place in it and what is wrong.
    """
    path = path_of(name)
    try:
        stamp = os.stat(path)
        key = (stamp.st_mtime_ns, stamp.st_size)
        if name not in _READ or _READ[name][0] != key:
            with open(path, encoding="utf-8") as stream:
                content = _parse(stream.read(), path)
            _check(content, SHAPES[name] if shape is None else shape, path, "")
            _READ[name] = (key, content)
    except OSError as error:
        raise DataError("%s cannot be read: %s. It belongs to the collection tfleet.serving: install it again." % (path, error.strerror))
    return _READ[name][1]


def _parse(text, path):
    if not HAS_YAML:
        raise DataError("%s cannot be read: the Python that runs Ansible has no PyYAML." % path)
    try:
        return yaml_load(text)
    except Exception as error:  # noqa: BLE001 - PyYAML's own class cannot be named where PyYAML may be missing
        raise DataError("%s is not YAML: %s" % (path, " ".join(str(error).split())))


def _check(value, shape, path, place):
    if isinstance(shape, list):
        _require(isinstance(value, list), value, "a list", path, place)
        for index, item in enumerate(value):
            _check(item, shape[0], path, "%s[%d]" % (place, index))
    elif isinstance(shape, dict):
        _require(isinstance(value, dict), value, "a dictionary", path, place)
        _check_keys(value, shape, path, place)
    elif isinstance(shape[0], str):
        _require(value in shape, value, "one of " + ", ".join(shape), path, place)
    else:
        # A bool is an int for Python, and no number for a person.
        fits = isinstance(value, shape) and (bool in shape or not isinstance(value, bool))
        _require(fits, value, " or ".join("null" if kind is type(None) else _NAMES[kind] for kind in shape), path, place)


_NAMES = {str: "a text in quotes", int: "a whole number", bool: "true or false", float: "a number", list: "a list", dict: "a dictionary"}


def _check_keys(value, shape, path, place):
    if set(shape) == {str}:
        for key, item in value.items():
            _require(isinstance(key, str), key, "a key in quotes", path, place)
            _check(item, shape[str], path, "%s.%s" % (place, key))
        return
    wanted = {key.rstrip("?"): (item, key.endswith("?")) for key, item in shape.items()}
    unknown = sorted(str(key) for key in value if key not in wanted)
    missing = sorted(key for key, (_item, optional) in wanted.items() if key not in value and not optional)
    if unknown or missing:
        what = (["has no key " + key for key in missing] + ["has the unknown key " + key for key in unknown])
        raise DataError("%s: %s %s. Its keys are %s." % (path, place.lstrip(".") or "the file", " and ".join(what), ", ".join(sorted(wanted))))
    for key, item in value.items():
        _check(item, wanted[key][0], path, "%s.%s" % (place, key))


def _require(holds, value, wanted, path, place):
    if not holds:
        raise DataError("%s: %s is %r, but must be %s." % (path, place.lstrip(".") or "the content", value, wanted))


def number(version):
    """Return a version such as ``36.4.7`` or ``8.2.1-1+cuda10.2`` as a tuple of its leading numbers, to compare with others."""
    match = re.match(r"\d+(?:\.\d+)*", str(version))
    return tuple(int(part) for part in match.group(0).split(".")) if match else ()


def within(version, first, last):
    """Say whether ``version`` lies between two others, both included, each compared as far as it is written: 32.7.4 lies within 32.7 and 32."""
    version, first, last = number(version), number(first), number(last)
    return first <= version[:len(first)] and version[:len(last)] <= last


def l4t_release(version):
    """Return what is known of a release of L4T: jetpack, cuda, tensorrt, cudnn, confidence, and ``generation`` with its row.

    :raises DataError: the release is unknown; the message names data/l4t.yml, the nearest known one, and the way around.
    """
    data = load("l4t")
    if version in data["releases"]:
        major = version.split(".")[0]
        if major not in data["generations"]:
            raise DataError("%s: there is a release %s, but no generation %s. Add it." % (path_of("l4t"), version, major))
        return dict(data["releases"][version], generation=data["generations"][major])
    near = nearest_l4t(version)
    raise DataError(
        "L4T %s is unknown: %s has no such release. Look up what its JetPack brings and add a line there with its source, or, if you know that it is like "
        "one that is there%s, set preflight_l4t_override to that one for this host."
        % (version, path_of("l4t"), " (the nearest is %s, JetPack %s)" % (near, data["releases"][near]["jetpack"]) if near else ""))


def nearest_l4t(version):
    """Return the newest known release of the same generation that is not newer than ``version``, else its oldest, else None."""
    same = sorted((known for known in load("l4t")["releases"] if number(known)[:1] == number(version)[:1]), key=number)
    older = [known for known in same if number(known) <= number(version)]
    return (older or same[:1] or [None])[-1]
