"""What two builds may differ by: thresholds of a model, with defaults by what its outputs are."""

from typing import Any, Dict, List

from tfleet.errors import TfleetError

UPPER = ("max_abs", "mean_abs", "max_rel", "mean_rel")
LOWER = ("top1", "topk", "equal")
_DETECTION = {"min_score": 0.5, "iou": 0.5, "matched": 0.95, "classes": 0.98, "map_drop": 0.01}
_ACCURACY_DROP = 0.01

# A build in half precision stays well within these, one in int8 with the right ranges just does; every fault that tests/unit/runtime/measure
# seeds is far outside.
_SHARES = {"mean_abs": 0.02, "top1": 0.98}
_LOGITS = {"mean_rel": 0.1, "top1": 0.98}
_NUMBERS = {"mean_rel": 0.05}
_EXACT = {"equal": 0.98}


def check(given: Any) -> Dict[str, Any]:
    """The thresholds that a user wrote, with detection and accuracy completed. Raises TfleetError for what is none."""
    if not isinstance(given, dict):
        raise TfleetError('Thresholds are an object such as {"outputs": {"scores": {"mean_abs": 0.01, "top1": 0.99}}}, not %r.' % (given,))
    _known(given, ("outputs", "detection", "accuracy_drop"), "thresholds")
    outputs = given.get("outputs") or {}
    for alias, limits in outputs.items() if isinstance(outputs, dict) else [("outputs", None)]:
        if not isinstance(limits, dict):
            raise TfleetError("The thresholds of output '%s' are not an object such as {\"mean_abs\": 0.01}." % alias)
        _known(limits, UPPER + LOWER, "thresholds of output '%s'" % alias)
    detection = given.get("detection") or {}
    _known(detection, tuple(_DETECTION), "thresholds of detections")
    for name, value in list(detection.items()) + [item for limits in outputs.values() for item in limits.items()]:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise TfleetError("The threshold %s is %r: give a number, 0 or more." % (name, value))
    return {
        "outputs": {alias: dict(limits) for alias, limits in outputs.items()},
        "detection": dict(_DETECTION, **detection),
        "accuracy_drop": given.get("accuracy_drop", _ACCURACY_DROP),
    }


def complete(chosen: Dict[str, Any], reference: Dict[str, Any], scores: Any, detector: bool) -> Dict[str, Any]:
    """`chosen` with the defaults of every output that it does not name, as the first batch of the reference shows them.

    The rows of a detector come in another order as soon as two scores change places: they are judged by the objects, not one by one.
    Raises TfleetError for an output that the model does not have.
    """
    unknown = sorted(set(chosen["outputs"]) - set(reference))
    if unknown:
        raise TfleetError(
            "There are thresholds for output '%s', which the model does not have. Its outputs are: %s." % (unknown[0], ", ".join(sorted(reference)))
        )
    outputs = dict(chosen["outputs"])
    for alias, array in reference.items():
        if alias in outputs or (detector and (alias.startswith("detection_") or alias == "num_detections")):
            continue
        if array.dtype.kind != "f":
            outputs[alias] = dict(_EXACT)
        elif alias == scores:
            shares = array.size > 0 and float(array.min()) >= 0 and float(array.max()) <= 1
            outputs[alias] = dict(_SHARES if shares else _LOGITS)
        else:
            outputs[alias] = dict(_NUMBERS)
    return dict(chosen, outputs=outputs)


def exceeded(alias: str, found: Dict[str, Any], limits: Dict[str, float]) -> List[str]:
    """A sentence for each limit of an output that is not kept."""
    problems = []
    if found.get("problem"):
        return ["Output '%s' %s." % (alias, found["problem"])]
    if found["not_finite"]["candidate"] != found["not_finite"]["reference"]:
        problems.append(
            "Output '%s' of the candidate holds %d values that are not finite (NaN or infinity), the reference's %d."
            % (alias, found["not_finite"]["candidate"], found["not_finite"]["reference"])
        )
    for name in UPPER:
        if name in limits and found[name] > limits[name]:
            problems.append("Output '%s' is off by %s %.3g, more than %.3g." % (alias, _WORDS[name], found[name], limits[name]))
    for name in LOWER:
        if name in limits and found.get(name) is not None and found[name] < limits[name]:
            words = _WORDS[name] % found.get("k", 0) if name == "topk" else _WORDS[name]
            problems.append("Output '%s' %s only in %.1f %% of all, fewer than %g %%." % (alias, words, 100 * found[name], 100 * limits[name]))
    return problems


_WORDS = {
    "max_abs": "as much as",
    "mean_abs": "a mean of",
    "max_rel": "a relative error of as much as",
    "mean_rel": "a mean relative error of",
    "top1": "has the same best class",
    "topk": "has the reference's best class among its %d best",
    "equal": "has equal values",
}


def _known(given: Any, names: Any, what: str) -> None:
    if not isinstance(given, dict):
        raise TfleetError("The %s are not an object." % what)
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise TfleetError("There is no '%s' among the %s: they are %s." % (unknown[0], what, ", ".join(names)))
