# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What an entry of ``model_conversion_variants`` may say besides the model: precision, options of ``tftrt_convert``, thresholds of ``model_parity``.

Pure. A mistake is a ValueError with a sentence, before anything is converted: a conversion that fails says so only in its record.
"""

import difflib

PRECISIONS = {"tftrt": ("FP32", "FP16", "INT8"), "tflite": ("FP32", "FP16", "INT8"), "grappler": ("FP32",)}
_TEXT, _NUMBER, _SWITCH, _TEXTS, _NUMBERS = "a text", "a whole number, 1 or more", "true or false", "a list of texts", "a list of whole numbers, 1 or more"
_SHAPES = "shapes by input, such as {images: [1, 300, 300, 3]}"
# Those that roles/model_conversion hands to the module.
OPTIONS = {
    "signature": _TEXT, "calibration": _TEXTS, "calibration_examples": _NUMBER, "calibration_batch": _NUMBER, "values": _TEXT, "batch_sizes": _NUMBERS,
    "shapes": _SHAPES, "dynamic_shape": _SWITCH, "profile_strategy": _TEXT, "workspace_bytes": _NUMBER, "minimum_segment_size": _NUMBER,
    "cached_engines": _NUMBER, "build": _SWITCH, "build_at_runtime": _SWITCH, "gpu_memory_bytes": _NUMBER, "ignore_memory": _SWITCH,
    "server_unit": _TEXT, "server_container": _TEXT,
}
_OUTPUT = ("max_abs", "mean_abs", "max_rel", "mean_rel", "top1", "topk", "equal")
_DETECTION = ("min_score", "iou", "matched", "classes", "map_drop")
_SWITCHES = ("yes", "no", "true", "false", "on", "off", "1", "0")


def check(entry):
    """Raise ValueError unless precision, options and thresholds of an entry, whose variant is known, can mean something."""
    precision = str(entry.get("precision", "FP32")).upper()
    known = PRECISIONS[entry["variant"]]
    if precision not in known:
        raise ValueError("the variant %s has no precision %r: write %s." % (entry["variant"], entry["precision"], " or ".join(known)))
    for name, value in _dictionary(entry.get("options"), "options", OPTIONS).items():
        if value is not None and not _is(OPTIONS[name], value):
            raise ValueError("the option %s is %r: write %s." % (name, value, OPTIONS[name]))
        if name == "shapes":
            for alias, given in (value or {}).items():
                shapes(alias, given)
    _check_thresholds(entry.get("thresholds"))


def shapes(alias, given):
    """Return the shapes of one input as lists of numbers; ``given`` is one or a list, each ``[1, 300, 300, 3]`` or ``1x300x300x3``."""
    listed = given if isinstance(given, (list, tuple)) and given and not all(_whole(size) for size in given) else [given]
    found = [_sizes(shape) for shape in listed]
    if None in found:
        raise ValueError("the shape of %s is %r: write [1, 300, 300, 3] or 1x300x300x3, whole numbers of 1 or more, or a list of such shapes." % (alias, given))
    return found


def nearest(word, known):
    """Return the known word that was probably meant, in parentheses; empty if there is none."""
    near = difflib.get_close_matches(str(word), list(known), 1, 0.6)
    return " (did you mean %s?)" % near[0] if near else ""


def _sizes(shape):
    sizes = [part.strip() for part in shape.split("x")] if isinstance(shape, str) else shape
    return [int(size) for size in sizes] if isinstance(sizes, (list, tuple)) and sizes and all(_whole(size) for size in sizes) else None


def _check_thresholds(given):
    thresholds = _dictionary(given, "thresholds", ("outputs", "detection", "accuracy_drop"))
    limits = [("accuracy_drop", thresholds.get("accuracy_drop", 0))]
    limits += _dictionary(thresholds.get("detection"), "thresholds of detection", _DETECTION).items()
    for output, of_output in _dictionary(thresholds.get("outputs"), "thresholds of outputs", None).items():
        limits += _dictionary(of_output, "thresholds of output %s" % output, _OUTPUT).items()
    for name, value in limits:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise ValueError("the threshold %s is %r: write a number, 0 or more." % (name, value))


def _dictionary(given, what, known):
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ValueError("the %s are %r: write a dictionary." % (what, given))
    for name in given:
        if known is not None and name not in known:
            raise ValueError("there is no %r among the %s%s. Known: %s." % (name, what, nearest(name, known), ", ".join(known)))
    return given


def _is(kind, value):
    if kind == _SHAPES:
        return isinstance(value, dict)
    if kind == _SWITCH:
        return str(value).lower() in _SWITCHES
    if kind in (_TEXTS, _NUMBERS):
        # One value and a text with commas are lists to Ansible.
        parts = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
        return all(_is(_TEXT if kind == _TEXTS else _NUMBER, part) for part in parts)
    return isinstance(value, str) if kind == _TEXT else _whole(value)


def _whole(value):
    """Whether it is a whole number, 1 or more; templates make texts of numbers."""
    return not isinstance(value, bool) and isinstance(value, (int, str)) and str(value).strip().isdecimal() and int(value) > 0
