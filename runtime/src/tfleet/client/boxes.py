"""Boxes: overlap and non-maximum suppression in numpy, for models that answer raw boxes. Equal to TensorFlow's own on finite boxes.

A box is ymin, xmin, ymax, xmax in any unit; its corners may come in any order. Overlaps are computed in float32 by the operations that
TensorFlow uses, so that the same boxes lie over a threshold. Boxes and scores that are not finite are never chosen (TensorFlow chooses some).
"""

from typing import Any, List, NamedTuple, Tuple

import numpy as np

from tfleet.errors import TfleetError

PER_CLASS, AGNOSTIC = "per-class", "agnostic"
HARD, LINEAR, GAUSSIAN = "hard", "linear", "gaussian"

Suppression = NamedTuple(
    "Suppression",
    [
        ("classes", str),  # PER_CLASS, or AGNOSTIC: each box counts for its best class, and for nothing beside it
        ("method", str),  # HARD drops what overlaps by more than `iou`; LINEAR and GAUSSIAN lower its score instead
        ("iou", float),  # without a meaning for GAUSSIAN
        ("score", float),  # objects below it are left out
        ("sigma", float),  # of GAUSSIAN
        ("most", int),  # objects of an image
        ("most_per_class", int),
    ],
)

DEFAULT = Suppression(PER_CLASS, HARD, 0.5, 0.05, 0.5, 100, 100)

Chosen = NamedTuple(
    "Chosen",
    [
        ("boxes", np.ndarray),  # [K,4] float32, best first
        ("scores", np.ndarray),  # [K] float32
        ("classes", np.ndarray),  # [K] int64, the columns of the scores
    ],
)

_BLOCK = 64
"""Least number of candidates that are compared at once with what was chosen before them."""
_AT_ONCE = 1 << 18
"""Comparisons at once: their results stay in a processor's cache."""


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union, [N,M] float32, of boxes [N,4] and [M,4]; 0 where a box has no area."""
    a, b = _sides(first), _sides(second)
    return _overlap(tuple(side[:, np.newaxis] for side in a), tuple(side[np.newaxis] for side in b))


def suppress(
    boxes: np.ndarray, scores: np.ndarray, most: int, iou: float = 0.5, score: float = -np.inf
) -> np.ndarray:
    """The indices [K] of the boxes that no better one overlaps by more than `iou`, best first: tf.image.non_max_suppression.

    boxes [N,4], scores [N]; of equal scores the earlier box counts as the better one. At most `most` are chosen, with scores over `score`.
    """
    candidates, sides, _ = _candidates(boxes, scores, iou, score)
    total = len(candidates)
    kept = np.empty(min(most, total), np.int64)
    kept_sides = tuple(np.empty(len(kept), np.float32) for _ in sides)
    count = start = 0
    while start < total and count < len(kept):
        end = min(total, start + max(_BLOCK, min(4 * _BLOCK, _AT_ONCE // (count + 1))))
        block = tuple(side[start:end] for side in sides)
        alive = ~_overlapped(block, tuple(side[:count] for side in kept_sides), iou)
        survivors = start + np.flatnonzero(alive)
        survivors = survivors[_among_themselves(tuple(side[survivors] for side in sides), iou)][: len(kept) - count]
        for side, kept_side in zip(sides, kept_sides):
            kept_side[count : count + len(survivors)] = side[survivors]
        kept[count : count + len(survivors)] = survivors
        count += len(survivors)
        start = end
    return candidates[kept[:count]]


def suppress_softly(
    boxes: np.ndarray,
    scores: np.ndarray,
    most: int,
    method: str = GAUSSIAN,
    sigma: float = 0.5,
    iou: float = 0.5,
    score: float = -np.inf,
) -> Tuple[np.ndarray, np.ndarray]:
    """Soft suppression: indices [K] and their lowered scores [K], best first.

    GAUSSIAN multiplies a score by exp(-overlap^2 / (2 sigma)) for each better box, however much it overlaps, as
    tf.image.non_max_suppression_with_scores does. LINEAR multiplies by 1 - overlap where that is more than `iou`.
    """
    if method == GAUSSIAN and not sigma > 0:
        raise TfleetError("Soft suppression needs a sigma greater than 0, not %s." % sigma)
    candidates, sides, left = _candidates(boxes, scores, iou, score)
    scale = np.float32(-0.5 / sigma) if method == GAUSSIAN else np.float32(0)
    kept: List[int] = []
    kept_scores: List[np.float32] = []
    while len(candidates) and len(kept) < most:
        best = int(np.argmax(left))  # the first one of equals
        kept.append(candidates[best])
        kept_scores.append(left[best])
        shared = _overlap(tuple(side[best : best + 1] for side in sides), sides)
        left = left * (np.where(shared > np.float32(iou), 1 - shared, np.float32(1)) if method == LINEAR else np.exp(scale * shared * shared))
        remain = left > score
        remain[best] = False
        if not remain.all():
            candidates, left, sides = candidates[remain], left[remain], tuple(side[remain] for side in sides)
    return np.array(kept, np.int64), np.array(kept_scores, np.float32)


def choose(boxes: np.ndarray, scores: np.ndarray, how: Suppression = DEFAULT) -> Chosen:
    """The objects of one image, best first, from boxes [M,4] or, by class, [M,C,4], and scores [M,C]."""
    boxes, scores = np.asarray(boxes, np.float32), np.asarray(scores, np.float32)
    shared = boxes.ndim == 2
    if how.classes == AGNOSTIC and scores.size:
        classes = np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1)
        rows = np.arange(len(scores))
        flat = boxes if shared else boxes[rows, classes]
        found, their = _by(how, flat, scores[rows, classes], how.most)
        return Chosen(flat[found], their, classes[found])
    parts = []
    with np.errstate(invalid="ignore"):
        present = np.flatnonzero((scores > how.score).any(axis=0)) if scores.size else ()
    for number in present:
        flat = boxes if shared else boxes[:, number]
        found, their = _by(how, flat, scores[:, number], min(how.most, how.most_per_class))
        parts.append((flat[found], their, np.full(len(found), number, np.int64)))
    if not parts:
        return Chosen(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    all_boxes, all_scores, all_classes = (np.concatenate(part) for part in zip(*parts))
    best = np.argsort(-all_scores, kind="stable")[: how.most]
    return Chosen(all_boxes[best], all_scores[best], all_classes[best])


def _by(how: Suppression, boxes: np.ndarray, scores: np.ndarray, most: int) -> Tuple[np.ndarray, np.ndarray]:
    if how.method != HARD:
        return suppress_softly(boxes, scores, most, how.method, how.sigma, how.iou, how.score)
    found = suppress(boxes, scores, most, how.iou, how.score)
    return found, scores[found]


def _candidates(boxes: np.ndarray, scores: np.ndarray, iou: float, score: float) -> Tuple[np.ndarray, Any, np.ndarray]:
    """Indices of what may be chosen, best first, with their sides and scores."""
    boxes, scores = np.asarray(boxes, np.float32), np.asarray(scores, np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise TfleetError("Boxes [N,4] and scores [N] are needed, not %s and %s." % (list(boxes.shape), list(scores.shape)))
    if not 0 <= iou <= 1:
        raise TfleetError("An overlap (IoU) is between 0 and 1, not %s." % iou)
    with np.errstate(invalid="ignore"):
        usable = np.flatnonzero((scores > score) & np.isfinite(scores) & np.isfinite(boxes).all(axis=1))
    order = usable[np.argsort(-scores[usable], kind="stable")]
    return order, _sides(boxes[order]), scores[order]


def _sides(boxes: np.ndarray) -> Tuple[np.ndarray, ...]:
    """ymin, xmin, ymax, xmax and area, each an array of its own."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    ymin, ymax = np.minimum(boxes[:, 0], boxes[:, 2]), np.maximum(boxes[:, 0], boxes[:, 2])
    xmin, xmax = np.minimum(boxes[:, 1], boxes[:, 3]), np.maximum(boxes[:, 1], boxes[:, 3])
    return ymin, xmin, ymax, xmax, (ymax - ymin) * (xmax - xmin)


def _overlap(a: Any, b: Any) -> np.ndarray:
    zero = np.float32(0)
    shared = np.maximum(np.minimum(a[2], b[2]) - np.maximum(a[0], b[0]), zero)
    shared = shared * np.maximum(np.minimum(a[3], b[3]) - np.maximum(a[1], b[1]), zero)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((a[4] > 0) & (b[4] > 0), shared / (a[4] + b[4] - shared), zero)


def _pairs(a: Any, b: Any, iou: float) -> Tuple[np.ndarray, np.ndarray]:
    """Indices into a and b of the pairs that overlap by more than `iou`.

    Four comparisons tell most of the pairs that do not: of two boxes that overlap by more than x, each shares more than x of its width and of its
    height with the other. Only for the rest is the overlap computed.
    """
    ymin, ymax = _shrunk(a[0], a[2], iou)
    xmin, xmax = _shrunk(a[1], a[3], iou)
    near = np.less(ymin[:, np.newaxis], b[2])
    other = np.empty_like(near)
    for compare, side, his in ((np.less, xmin, b[3]), (np.greater, ymax, b[0]), (np.greater, xmax, b[1])):
        compare(side[:, np.newaxis], his, out=other)
        near &= other
    rows, columns = np.divmod(np.flatnonzero(near), max(1, len(b[0])))
    over = _overlap(tuple(side[rows] for side in a), tuple(side[columns] for side in b)) > np.float32(iou)
    return rows[over], columns[over]


def _shrunk(low: np.ndarray, high: np.ndarray, iou: float) -> Tuple[np.ndarray, np.ndarray]:
    """What another interval must reach beyond to share more than `iou` of this one, rounded to the safe side."""
    rounding = np.float32(4 * np.finfo(np.float32).eps) * np.maximum(np.abs(low), np.abs(high))
    shrink = np.maximum(np.float32(max(0.0, iou - 0.01)) * (high - low) - rounding, np.float32(0))
    return low + shrink, high - shrink


def _overlapped(block: Any, kept: Any, iou: float) -> np.ndarray:
    """Which of the block lie under one that was kept. The first ones kept take most of a crowd away, so they come first."""
    result = np.zeros(len(block[0]), bool)
    alive = np.arange(len(result))
    start, size = 0, _BLOCK
    while start < len(kept[0]) and len(alive):
        rows, _ = _pairs(tuple(side[alive] for side in block), tuple(side[start : start + size] for side in kept), iou)
        result[alive[rows]] = True
        alive = np.flatnonzero(~result)
        start, size = start + size, 4 * size
    return result


def _among_themselves(block: Any, iou: float) -> np.ndarray:
    """Which of the block, in order of their scores, remain if each takes away those after it that it overlaps."""
    alive = np.ones(len(block[0]), bool)
    rows, columns = _pairs(block, block, iou)
    later = columns > rows
    rows, columns = rows[later], columns[later]
    starts = np.flatnonzero(np.diff(rows, prepend=-1)) if len(rows) else rows
    for start, end in zip(starts, list(starts[1:]) + [len(rows)]):
        if alive[rows[start]]:
            alive[columns[start:end]] = False
    return alive
