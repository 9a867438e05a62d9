"""Matching of boxes and average precision, against the evaluation that the demo detector was trained with."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tfleet.measure import detections
from tfleet.measure.detections import Found, Truth

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "models"))

from training import evaluation, scenes


def boxes_near(random, boxes, spread):
    return np.clip(boxes + random.normal(0, spread, boxes.shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize("min_iou", [0.3, 0.5, 0.75])
def test_average_precision_is_that_of_the_training(min_iou):
    random = np.random.RandomState(3)
    truths, founds, pictures, theirs = [], [], [], []
    for _ in range(40):
        corners = random.rand(6, 2) * 0.7
        boxes = np.concatenate([corners, corners + 0.1 + 0.2 * random.rand(6, 2)], axis=1).astype(np.float32)
        labels = random.randint(0, 10, 6)
        guess = np.concatenate([boxes_near(random, boxes, 0.03), boxes_near(random, boxes[:2], 0.2)])
        guessed = np.where(random.rand(8) < 0.8, np.concatenate([labels, labels[:2]]), random.randint(0, 10, 8))
        scores = np.sort(random.rand(8).astype(np.float32))[::-1]
        truths.append(Truth(boxes, labels, np.zeros(6, bool)))
        founds.append(Found(guess, guessed, scores))
        pictures.append(scenes.Scene(np.zeros((1, 1, 3), np.uint8), boxes, labels))
        theirs.append(evaluation.Detections(guess, scores, guessed))
    expected = evaluation.mean_average_precision(pictures, theirs, min_iou)
    found = detections.precision(truths, founds, min_iou)
    assert found["map"] == pytest.approx(expected["map"], abs=1e-9)
    assert 0.01 < found["map"] < 0.99


def test_nobody_is_blamed_for_difficult_objects():
    box = np.float32([[0, 0, 0.5, 0.5]])
    truth = Truth(np.concatenate([box, box + 0.5]), np.int64([1, 1]), np.array([False, True]))
    both = Found(np.concatenate([box + 0.5, box]), np.int64([1, 1]), np.float32([0.9, 0.8]))
    assert detections.precision([truth], [both], 0.5)["map"] == 1.0


def outputs(boxes, scores, classes, count=None):
    return {
        "detection_boxes": np.float32([boxes]),
        "detection_scores": np.float32([scores]),
        "detection_classes": np.float32([classes]),
        "num_detections": np.float32([len(boxes) if count is None else count]),
    }


ONE, TWO = [0.0, 0.0, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9]


def agreement(want, got):
    found = detections.Agreement(0.5, 0.5)
    severity = found.add(want, got, 0)
    return dict(found.result(), severity=severity)


def test_another_order_is_the_same_detection():
    found = agreement(outputs([ONE, TWO], [0.9, 0.8], [1, 2]), outputs([TWO, ONE], [0.85, 0.8], [2, 1]))
    assert (found["matched"], found["classes"], found["severity"]) == (1.0, 1.0, 0.0)


def test_another_class_on_the_same_box_is_told_apart_from_a_missing_box():
    found = agreement(outputs([ONE, TWO], [0.9, 0.8], [1, 2]), outputs([ONE, TWO], [0.9, 0.8], [1, 3]))
    assert (found["matched"], found["classes"], found["severity"]) == (1.0, 0.5, 0.5)
    missing = agreement(outputs([ONE, TWO], [0.9, 0.8], [1, 2]), outputs([ONE], [0.9], [1]))
    assert (missing["matched"], missing["classes"]) == (0.5, 1.0)


def test_equal_boxes_are_matched_by_their_class():
    found = agreement(outputs([ONE, ONE], [0.9, 0.8], [1, 2]), outputs([ONE, ONE], [0.9, 0.8], [2, 1]))
    assert (found["matched"], found["classes"]) == (1.0, 1.0)


def test_boxes_without_scores_are_background():
    found = agreement(outputs([ONE, TWO], [0.9, 0.8], [1, 2]), outputs([ONE, TWO], [0.01, 0.01], [1, 1]))
    assert found["background"] is True
    assert agreement(outputs([ONE], [0.9], [1]), outputs([TWO], [0.01], [1]))["background"] is False


def test_nothing_in_both_agrees():
    found = agreement(outputs([ONE], [0.1], [1]), outputs([TWO], [0.2], [1]))
    assert (found["matched"], found["classes"], found["severity"]) == (1.0, None, 0.0)


@pytest.mark.parametrize("softmax", [True, False])
def test_anchors_that_all_show_background(softmax):
    random = np.random.RandomState(4)
    scores = random.rand(2, 50, 5).astype(np.float32) * 0.1
    scores[:, ::10, 3] = 0.9
    if softmax:
        scores[..., 0] = 0.5
        scores[:, ::10, 0] = 0.0
        scores /= scores.sum(axis=-1, keepdims=True)
    gone = scores * np.float32([1, 0, 0, 0, 0]) if softmax else scores * 0.01
    foreground = detections.Foreground("raw_scores", 0.5)
    foreground.add(scores, gone)
    assert foreground.gone() == (10, 0)
    same = detections.Foreground("raw_scores", 0.5)
    same.add(scores, scores)
    assert same.gone() is None
