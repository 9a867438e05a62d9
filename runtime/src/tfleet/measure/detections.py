"""Detections of two builds: matched boxes, agreement of their classes, mean average precision, and classes gone to background."""

import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from tfleet.client import results

Found = NamedTuple(
    "Found",
    [
        ("boxes", np.ndarray),  # [N,4] ymin, xmin, ymax, xmax
        ("classes", np.ndarray),  # int64 [N]
        ("scores", np.ndarray),  # [N], best first
    ],
)
Truth = NamedTuple("Truth", [("boxes", np.ndarray), ("classes", np.ndarray), ("difficult", np.ndarray)])

_GONE = 0.1
"""Background: so small a share of the reference's foreground is left in the candidate."""
_BOXES_AGREE = 0.05
"""Boxes agree if they differ by so small a share of their size on average."""


def found_in(outputs: Dict[str, np.ndarray], row: int, min_score: float = 0.0) -> Found:
    """The detections of one image, best first, from the outputs of the Object Detection API."""
    boxes, scores = outputs["detection_boxes"][row], outputs["detection_scores"][row]
    classes = outputs["detection_classes"][row] if "detection_classes" in outputs else np.ones(len(scores))
    count = int(outputs["num_detections"].reshape(-1)[row]) if "num_detections" in outputs else len(scores)
    keep = np.flatnonzero(np.nan_to_num(scores[:count]) >= min_score)
    keep = keep[np.argsort(-scores[keep], kind="stable")]
    return Found(boxes[keep], classes[keep].astype(np.int64), scores[keep])


def overlaps(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Intersection over union of each of `left` [N,4] with each of `right` [M,4]: [N,M]."""
    low = np.maximum(left[:, np.newaxis, :2], right[np.newaxis, :, :2])
    high = np.minimum(left[:, np.newaxis, 2:], right[np.newaxis, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    union = _areas(left)[:, np.newaxis] + _areas(right)[np.newaxis, :] - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0.0)


def match(want: Found, got: Found, min_iou: float) -> List[Tuple[int, int, float]]:
    """Pairs (of `want`, of `got`, IoU), one to one, the largest overlaps first, of equal ones those of the same class; whatever their classes."""
    table = overlaps(want.boxes, got.boxes)
    left, right = np.nonzero(table >= min_iou)
    same = want.classes[left] == got.classes[right]
    pairs = []
    taken_left, taken_right = set(), set()
    # A cut to five digits lets the class decide between boxes that lie on each other.
    for place in np.lexsort((right, left, ~same, -np.round(table[left, right], 5))):
        one, other = int(left[place]), int(right[place])
        if one not in taken_left and other not in taken_right:
            taken_left.add(one)
            taken_right.add(other)
            pairs.append((one, other, float(table[one, other])))
    return pairs


class Agreement(object):
    """How far two builds find the same objects. add() an image of both, result() at the end."""

    def __init__(self, min_score: float, min_iou: float) -> None:
        self._min_score = min_score
        self._min_iou = min_iou
        self._reference = self._candidate = self._matched = self._same_class = 0
        self._iou = self._score = 0.0
        self._boxes_kept = 0

    def add(self, want: Dict[str, np.ndarray], got: Dict[str, np.ndarray], row: int) -> float:
        """Returns the share of this image's objects that are not the same in both: 0 for all the same."""
        left, right = (found_in(outputs, row, self._min_score) for outputs in (want, got))
        pairs = match(left, right, self._min_iou)
        same = sum(left.classes[one] == right.classes[other] for one, other, _ in pairs)
        self._reference += len(left.scores)
        self._candidate += len(right.scores)
        self._matched += len(pairs)
        self._same_class += int(same)
        self._iou += sum(iou for _, _, iou in pairs)
        self._score += sum(abs(float(left.scores[one]) - float(right.scores[other])) for one, other, _ in pairs)
        if len(left.scores) and not len(right.scores):
            # Are the boxes still there, only without a score?
            self._boxes_kept += len(match(left, found_in(got, row, 0.0), self._min_iou))
        largest = max(len(left.scores), len(right.scores))
        return 1 - float(same) / largest if largest else 0.0

    def result(self) -> Dict[str, Any]:
        """`matched`: share of the objects of both that the other has too; `classes`: share of the matched with the same class."""
        either = self._reference + self._candidate - self._matched
        return {
            "reference": self._reference,
            "candidate": self._candidate,
            "matched": self._matched / either if either else 1.0,
            "classes": self._same_class / self._matched if self._matched else None,
            "iou": self._iou / self._matched if self._matched else None,
            "score_error": self._score / self._matched if self._matched else None,
            "min_score": self._min_score,
            "min_iou": self._min_iou,
            "background": self._reference > 0 and self._candidate <= _GONE * self._reference and self._boxes_kept >= 0.5 * self._reference,
        }


class Foreground(object):
    """The scores of classes for each anchor, [rows, anchors, classes]: how many anchors show something, in both builds."""

    def __init__(self, alias: str, min_score: float) -> None:
        self.alias = alias
        self._min_score = min_score
        self._reference = self._candidate = 0
        self._softmax: Optional[bool] = None

    def add(self, want: np.ndarray, got: np.ndarray) -> None:
        """Takes a batch in."""
        if want.shape != got.shape or not want.size:
            return
        if self._softmax is None:
            self._softmax = _has_background(want)
        self._reference += self._count(want)
        self._candidate += self._count(got)

    def _count(self, scores: np.ndarray) -> int:
        shown = np.nan_to_num(scores[..., 1:] if self._softmax else scores)
        if self._softmax and not _shares(scores):  # logits: something is shown where background is not the largest
            return int((shown.max(axis=-1) > np.nan_to_num(scores[..., 0])).sum())
        return int((shown.max(axis=-1) >= self._min_score).sum())

    def gone(self) -> Optional[Tuple[int, int]]:
        """(anchors of the reference, anchors of the candidate that are left), if nearly all have gone to background."""
        if self._reference and self._candidate <= _GONE * self._reference:
            return self._reference, self._candidate
        return None


def is_anchor_scores(alias: str, array: np.ndarray) -> bool:
    """Whether an output is the scores of classes for each anchor of a detector: [rows, anchors, classes]. With four classes only the name tells."""
    if array.ndim != 3 or array.dtype.kind != "f" or not 1 < array.shape[2] < array.shape[1]:
        return False
    return array.shape[2] != 4 or re.search("score|class|prob|logit", alias.lower()) is not None


def boxes_agree(errors: Dict[str, Dict[str, Any]], outputs: Dict[str, np.ndarray]) -> Optional[str]:
    """The output with boxes [rows, anchors, 4] in which both builds agree, if there is one."""
    for alias in sorted(outputs):
        array = outputs[alias]
        boxes = array.ndim == 3 and array.shape[2] == 4 and array.dtype.kind == "f" and not is_anchor_scores(alias, array)
        if boxes and errors[alias]["mean_rel"] <= _BOXES_AGREE:
            return alias
    return None


def precision(truths: List[Truth], found: List[Found], min_iou: float) -> Dict[str, Any]:
    """{"map", "per_class": {class: average precision}} as PASCAL VOC has it since 2010: the area under the whole curve.

    A labelled object is found once, by the best-scored box on it; a box on a difficult one counts for nothing.
    """
    classes = sorted({int(label) for truth in truths for label in truth.classes[~truth.difficult]})
    per_class = {label: _average_precision(truths, found, label, min_iou) for label in classes}
    return {"map": float(np.mean(list(per_class.values()))) if per_class else None, "per_class": per_class}


def _average_precision(truths: List[Truth], found: List[Found], label: int, min_iou: float) -> float:
    hits: List[bool] = []
    scores: List[float] = []
    total = 0
    for truth, detected in zip(truths, found):
        mine = truth.classes == label
        boxes, difficult = truth.boxes[mine], truth.difficult[mine]
        total += int((~difficult).sum())
        chosen = np.flatnonzero(detected.classes == label)
        table = overlaps(detected.boxes[chosen], boxes)
        taken = np.zeros(len(boxes), dtype=bool)
        for place, number in enumerate(chosen):
            best = int(table[place].argmax()) if len(boxes) else -1
            covers = best >= 0 and bool(table[place, best] >= min_iou)
            if covers and difficult[best]:
                continue
            hits.append(covers and not taken[best])
            scores.append(float(detected.scores[number]))
            if covers:
                taken[best] = True
    if not total:
        return 0.0
    hit = np.array(hits, dtype=bool)[np.argsort(-np.array(scores), kind="stable")] if hits else np.zeros(0, dtype=bool)
    recall = np.cumsum(hit) / total
    precise = np.cumsum(hit) / np.arange(1, len(hit) + 1)
    envelope = np.maximum.accumulate(precise[::-1])[::-1]
    return float(np.sum(np.diff(np.concatenate([[0.0], recall])) * envelope))


def truth_of(objects: Any) -> Truth:
    """The Truth of an examples.Objects."""
    return Truth(np.asarray(objects.boxes, np.float32).reshape(-1, 4), np.asarray(objects.classes, np.int64), np.asarray(objects.difficult, bool))


def is_detector(outputs: Dict[str, np.ndarray]) -> bool:
    """Whether these are the Object Detection API's outputs with a batch dimension."""
    return results.is_detector(outputs)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)


def _shares(scores: np.ndarray) -> bool:
    return bool(scores.min() >= 0 and np.allclose(scores.sum(axis=-1), 1, atol=0.02))


def _has_background(scores: np.ndarray) -> bool:
    """Whether class 0 is the background of a softmax: the largest of nearly all anchors, in shares or in logits."""
    if scores.min() >= 0 and scores.max() <= 1 and not _shares(scores):
        return False  # sigmoids: each class by itself
    return bool((scores.argmax(axis=-1) == 0).mean() > 0.5)
