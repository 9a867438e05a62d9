"""Reads outputs as people do: the classes of a classifier, the objects of a detector, a few numbers of anything else."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from tfleet.client import label_map

_SHOWN = 8
TOP = 3
"""Best classes that are told of each row."""
_SCORES = ("scores", "probabilities")


Detection = NamedTuple(
    "Detection",
    [
        ("box", Tuple[float, float, float, float]),  # ymin, xmin, ymax, xmax in shares of the image's sides
        ("number", int),
        ("name", str),
        ("score", float),
        ("mask", Optional[np.ndarray]),  # [h,w] over the box, 0 to 1; None if the model draws none
    ],
)


def is_detector(outputs: Dict[str, np.ndarray]) -> bool:
    """Whether the outputs are those of the Object Detection API, with a batch dimension."""
    boxes, scores = outputs.get("detection_boxes"), outputs.get("detection_scores")
    return boxes is not None and scores is not None and boxes.ndim == 3 and boxes.shape[2] == 4 and scores.ndim == 2


def detections(outputs: Dict[str, Any], labels: Dict[int, str], min_score: float, row: int = 0) -> List[Detection]:
    """The detections of one image from the Object Detection API's outputs with a batch dimension, best first.

    outputs: detection_boxes [N,M,4], detection_scores [N,M], and if present detection_classes [N,M], num_detections [N]
    and detection_masks [N,M,h,w].
    """
    boxes, scores = outputs["detection_boxes"][row], outputs["detection_scores"][row]
    classes = outputs["detection_classes"][row] if "detection_classes" in outputs else np.ones(len(scores))
    count = int(outputs["num_detections"].reshape(-1)[row]) if "num_detections" in outputs else len(scores)
    masks = outputs["detection_masks"][row] if "detection_masks" in outputs else [None] * count
    found = []
    for box, number, score, mask in zip(boxes[:count], classes[:count], scores[:count], masks):
        # JSON has no NaN and no infinity, and nothing is drawn there.
        if score >= min_score and np.isfinite([*box, number, score]).all():
            ymin, xmin, ymax, xmax = (float(edge) for edge in box)
            name = labels.get(int(number), str(int(number)))
            found.append(Detection((ymin, xmin, ymax, xmax), int(number), name, float(score), mask))
    return sorted(found, key=lambda detection: -detection.score)


def class_scores(outputs: Dict[str, np.ndarray]) -> Optional[str]:
    """The alias of the scores [N, classes] of a classifier: named so, or rows of shares that add up to one."""
    candidates = [alias for alias in sorted(outputs) if outputs[alias].ndim == 2 and outputs[alias].dtype.kind == "f"]
    for alias in candidates:
        scores = outputs[alias]
        shares = scores.size > 0 and scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=0.01)
        if scores.shape[1] > 1 and (alias in _SCORES or shares):
            return alias
    return None


def classify(outputs: Dict[str, np.ndarray], labels: Dict[int, str], count: int = TOP) -> List[Dict[str, Any]]:
    """For each row {"class", "label", "score", "top": [{"class", "label", "score"}]}; empty if this is no classifier."""
    alias = class_scores(outputs)
    if alias is None:
        return []
    rows = []
    labels = label_map.fitted(labels, outputs[alias].shape[1])
    names = outputs.get("classes")
    for row, scores in enumerate(outputs[alias]):
        top = []
        for number in np.argsort(-scores, kind="stable")[:count]:
            label = labels.get(int(number), str(int(number)))
            # TensorFlow's classification signature answers the names beside the scores.
            if not labels and names is not None and names.dtype.kind in "OSU" and names.shape == outputs[alias].shape:
                label = as_text(names[row][number])
            top.append({"class": int(number), "label": label, "score": _rounded(scores[number])})
        rows.append(dict(top[0], top=top))
    return rows


def read(outputs: Dict[str, np.ndarray], labels: Dict[int, str], min_score: float, count: int = TOP) -> List[Dict[str, Any]]:
    """For each row what classify() gives, or for detectors {"detections": [{"class", "label", "score", "box"}]}."""
    if not is_detector(outputs):
        return classify(outputs, labels, count)
    rows = []
    for row in range(len(outputs["detection_scores"])):
        objects = []
        for item in detections(outputs, labels, min_score, row):
            box = [round(edge, 6) for edge in item.box]
            objects.append({"class": item.number, "label": item.name, "score": round(item.score, 6), "box": box})
        rows.append({"detections": objects})
    return rows


def short(outputs: Dict[str, np.ndarray]) -> Dict[str, Any]:
    """{alias: {"dtype", "shape", "values": the first few}}, for a report that a person reads."""
    return {
        alias: {
            "dtype": "string" if array.dtype.kind in "OSU" else array.dtype.name,
            "shape": list(array.shape),
            "values": [_plain(value) for value in array.reshape(-1)[:_SHOWN]],
        }
        for alias, array in outputs.items()
    }


def as_text(value: Any) -> str:
    """A str from str, bytes or a number."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, (bytes, str)):
        return as_text(value[:80])
    if np.iscomplexobj(value):
        return str(value)
    plain = value.item()
    # JSON has no NaN and no infinity.
    return plain if not isinstance(plain, float) or np.isfinite(plain) else str(plain)


def _rounded(value: Any) -> Optional[float]:
    return round(float(value), 6) if np.isfinite(value) else None
