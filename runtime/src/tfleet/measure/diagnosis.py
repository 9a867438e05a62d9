"""Why two builds differ: the faults that conversions really have, each found by an experiment on the build that is wrong."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional

import numpy as np

from tfleet.measure.asking import Asker
from tfleet.measure.outputs import Output
from tfleet.measure.requests import Batch

Arrays = Dict[str, np.ndarray]
Diagnosis = Dict[str, str]

_SAME = 0.02
"""Answers of one build to one row may differ by so much, relatively, only because it runs in another batch."""
_CURED = 0.25
"""An experiment explains a difference if so small a share of it is left."""
_FLAT = 0.1

_Experiment = NamedTuple("_Experiment", [("code", str), ("change", Callable[[np.ndarray], np.ndarray]), ("message", str)])

_EXPERIMENTS = (
    _Experiment("channels", lambda array: array[..., ::-1], "with the colour channels in the other order (BGR for RGB)"),
    _Experiment("input_range", lambda array: array * 255, "with inputs multiplied by 255 (it expects 0 to 255, the reference 0 to 1)"),
    _Experiment("input_range", lambda array: array / 255, "with inputs divided by 255 (it expects 0 to 1, the reference 0 to 255)"),
    _Experiment("input_range", lambda array: array * 2 - 1, "with inputs from -1 to 1 (the reference takes 0 to 1)"),
    _Experiment("input_range", lambda array: (array + 1) / 2, "with inputs from 0 to 1 (the reference takes -1 to 1)"),
    _Experiment("input_range", lambda array: array / 127.5 - 1, "with inputs from -1 to 1 (the reference takes 0 to 255)"),
)


def repeats(asker: Asker, batch: Batch, answer: Arrays, which: str) -> List[Diagnosis]:
    """Whether a build gives one row the same answer twice, and the same beside other rows. Costs it two requests of one row."""
    if batch.sizes[0] < sum(batch.sizes):
        alone = {alias: array[: batch.sizes[0]] for alias, array in batch.arrays.items()}
        beside = {alias: array[: batch.sizes[0]] for alias, array in answer.items()}
    else:
        alone, beside = batch.arrays, {}
    first, second = asker.predict(alone), asker.predict(alone)
    found = []
    worst = _worst(first, second)
    if worst:
        found.append({
            "code": "unstable",
            "message": "The %s answers one and the same request differently each time (output '%s'): dropout, or another random operation, is active. "
            "Export it in inference mode; tfleet lint names the nodes." % (which, worst),
        })
        return found
    worst = _worst(first, beside)
    if worst:
        found.append({
            "code": "batch_dependent",
            "message": "The %s answers a row differently beside other rows (output '%s'): batch normalization takes its statistics from the batch, as in "
            "training. Export it in inference mode; tfleet lint names the nodes." % (which, worst),
        })
    return found


def explain(asker: Asker, batch: Batch, reference: Arrays, errors: Dict[str, Dict[str, Any]]) -> List[Diagnosis]:
    """Tries on the candidate what would make its answers to a batch agree with the reference's."""
    alias = _picture(batch.arrays)
    before = _distance(reference, asker(batch))
    found: List[Diagnosis] = []
    if alias is not None and before > 0:
        for experiment in _EXPERIMENTS:
            array = batch.arrays[alias]
            if experiment.code == "channels" and array.shape[-1] != 3:
                continue
            if experiment.code == "input_range" and array.dtype.kind != "f":
                continue
            changed = np.ascontiguousarray(experiment.change(array)).astype(array.dtype)
            left = _distance(reference, asker(batch._replace(arrays=dict(batch.arrays, **{alias: changed}))))
            if left <= _CURED * before:
                found.append({
                    "code": experiment.code,
                    "message": "The candidate agrees with the reference %s: it was built for other inputs. Convert it from the same source again, or "
                    "correct its input." % experiment.message,
                })
                break
    return found or _flat(errors)


def _flat(errors: Dict[str, Dict[str, Any]]) -> List[Diagnosis]:
    for alias in sorted(errors):
        spread = errors[alias].get("spread")
        if spread and spread["reference"] and spread["candidate"] is not None and spread["candidate"] <= _FLAT * spread["reference"]:
            return [{
                "code": "constant",
                "message": "The candidate's output '%s' hardly depends on the request (its spread is %.1f %% of the reference's): an int8 range from "
                "calibration data of another scale, or weights that were not loaded. Calibrate with data as the model gets it in service."
                % (alias, 100 * spread["candidate"] / spread["reference"]),
            }]
    return []


def background(scores: str, boxes: Optional[str], before: int, after: int) -> Diagnosis:
    """Boxes that agree while the classes are gone."""
    agree = "The boxes of both agree (output '%s')" % boxes if boxes else "The boxes were not compared"
    return {
        "code": "background",
        "message": "%s, but the candidate's classes have gone to background: of %d that show something in the reference, %d do in the candidate (output "
        "'%s'). That is mostly an overflow in half precision, or a wrong int8 range, in the class head: keep the head in FP32 (out of the segment, by "
        "a larger minimum segment size), or calibrate again." % (agree, before, after, scores),
    }


def _worst(left: Arrays, right: Arrays) -> Optional[str]:
    for alias in sorted(left):
        if alias not in right or left[alias].shape != right[alias].shape or left[alias].dtype.kind not in "f":
            continue
        if _relative(left[alias], right[alias]) > _SAME:
            return alias
    return None


def _distance(reference: Arrays, answer: Arrays) -> float:
    """The mean relative error over all outputs that are numbers."""
    found = [
        _relative(reference[alias], answer[alias])
        for alias in reference
        if alias in answer and reference[alias].shape == answer[alias].shape and reference[alias].dtype.kind in "fiu" and reference[alias].size
    ]
    return sum(found) / len(found) if found else 0.0


def _relative(left: np.ndarray, right: np.ndarray) -> float:
    measured = Output("")
    measured.add(left, right)
    return float(measured.result()["mean_rel"])


def _picture(arrays: Arrays) -> Optional[str]:
    """The input that holds pictures, [rows, height, width, channels]."""
    found = [alias for alias, array in arrays.items() if array.ndim == 4 and array.shape[3] in (1, 3) and array.dtype.kind in "fu"]
    return found[0] if len(found) == 1 else None
