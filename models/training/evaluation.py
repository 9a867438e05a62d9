"""Average precision of detections, as PASCAL VOC defines it since 2010 (area under the whole curve)."""
from typing import Dict, List, NamedTuple

import numpy as np

from .scenes import Scene, iou


class Detections(NamedTuple):
    """One image's detections: `boxes` [N,4] in pixels (ymin, xmin, ymax, xmax), `scores` [N], `labels` [N], 0..9."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def average_precision(scenes: List[Scene], found: List[Detections], label: int, min_iou: float) -> float:
    """Return the average precision of one class: a digit is found once, by the best-scored box that covers it."""
    hits, scores, total = [], [], 0
    for scene, detections in zip(scenes, found):
        truth = scene.boxes[scene.labels == label]
        total += len(truth)
        taken = np.zeros(len(truth), bool)
        mine = np.flatnonzero(detections.labels == label)
        for i in mine[np.argsort(-detections.scores[mine], kind="stable")]:
            overlap = iou(detections.boxes[i], truth)
            best = int(np.argmax(overlap)) if len(truth) else -1
            hit = best >= 0 and overlap[best] >= min_iou and not taken[best]
            if hit:
                taken[best] = True
            hits.append(hit)
            scores.append(detections.scores[i])
    order = np.argsort(-np.array(scores), kind="stable")
    hit = np.array(hits, bool)[order]
    recall = np.cumsum(hit) / total
    precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0) * envelope))


def mean_average_precision(scenes: List[Scene], found: List[Detections], min_iou: float = 0.5) -> Dict[str, object]:
    """Return {"map": mean over the ten digits, "per_class": {digit: average precision}}."""
    per_class = {str(label): average_precision(scenes, found, label, min_iou) for label in range(10)}
    return {"map": float(np.mean(list(per_class.values()))), "per_class": per_class}
