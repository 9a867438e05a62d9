"""Non-maximum suppression, held to TensorFlow's own and to plain loops on seeded cases: dense, sparse, tied, degenerate, not finite."""

import numpy as np
import pytest
import tensorflow as tf

from tfleet.client import boxes
from tfleet.errors import TfleetError

KINDS = ("sparse", "dense", "clustered", "tied", "swapped", "degenerate", "same", "far")


def scene(kind, seed, count=None):
    """Boxes [N,4] and scores [N] of one kind."""
    random = np.random.RandomState(seed)
    count = random.randint(1, 400) if count is None else count
    centres, side = random.rand(count, 2), {"sparse": 0.02, "dense": 0.5}.get(kind, 0.15)
    if kind == "clustered":
        centres = random.rand(5, 2)[random.randint(0, 5, count)] + 0.02 * random.randn(count, 2)
    half = 0.5 * side * (0.5 + random.rand(count, 2))
    made, scores = np.concatenate([centres - half, centres + half], axis=1), random.rand(count)
    if kind == "tied":  # whole grids of boxes: equal scores, and overlaps that are exactly the threshold
        made, scores = np.round(made * 16) / 16, np.round(scores * 4) / 4
    if kind == "swapped":
        made[::3] = made[::3, [2, 3, 0, 1]]
    if kind == "degenerate":
        made[::4, 2] = made[::4, 0]
        made[::5] = 0
    if kind == "far":  # so far from zero that float32 has two decimals left
        made = 0.5 * made + 1e5
    if kind == "same":
        made[:] = made[0]
    return made.astype(np.float32), scores.astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("iou", [0.0, 0.3, 0.5, 1.0])
def test_the_same_boxes_in_the_same_order_as_tensorflow(kind, iou):
    for seed in range(12):
        made, scores = scene(kind, seed)
        most, score = [(len(made), -np.inf), (7, 0.25), (0, 0.5)][seed % 3]
        expected = tf.image.non_max_suppression(made, scores, most, iou, score).numpy()
        assert boxes.suppress(made, scores, most, iou, score).tolist() == expected.tolist(), (kind, seed)


def test_thousands_of_boxes_cross_the_blocks():
    for seed, kind in enumerate(("sparse", "dense", "clustered", "tied")):
        made, scores = scene(kind, seed, 3000)
        for most in (64, 65, 500, 3000):
            expected = tf.image.non_max_suppression(made, scores, most, 0.4).numpy()
            assert boxes.suppress(made, scores, most, 0.4).tolist() == expected.tolist()


@pytest.mark.parametrize("kind", ["sparse", "dense", "clustered", "swapped", "degenerate"])
@pytest.mark.parametrize("sigma, iou, score", [(0.5, 0.5, 0.1), (0.2, 0.0, 0.01), (1.5, 1.0, 0.05)])
def test_soft_scores_are_tensorflows(kind, sigma, iou, score):
    for seed in range(6):
        made, scores = scene(kind, seed, 150)
        expected, lowered = tf.image.non_max_suppression_with_scores(made, scores, 60, iou, score, sigma)
        found, theirs = boxes.suppress_softly(made, scores, 60, boxes.GAUSSIAN, sigma, iou, score)
        np.testing.assert_allclose(theirs, lowered.numpy(), rtol=1e-4)
        # Scores that rounding makes equal may change places; the others may not.
        clear = np.abs(np.diff(lowered.numpy())) > 1e-5
        assert found.tolist() == expected.numpy().tolist() or not clear.all()
        assert sorted(found) == sorted(expected.numpy().tolist())


def plain_linear(made, scores, most, iou, score):
    """Soft-NMS as Bodla et al. wrote it, a loop in a loop."""
    left, chosen = {place: float(value) for place, value in enumerate(scores) if value > score}, []
    while left and len(chosen) < most:
        best = max(left, key=lambda place: (left[place], -place))
        chosen.append((best, left.pop(best)))
        for place in list(left):
            shared = plain_overlap(made[best], made[place])
            if shared > iou:
                left[place] *= 1 - shared
            if left[place] <= score:
                del left[place]
    return chosen


def plain_overlap(a, b):
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(height, 0) * max(width, 0)
    areas = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return float(shared / (sum(areas) - shared)) if min(areas) > 0 else 0.0


@pytest.mark.parametrize("kind", ["dense", "clustered", "degenerate"])
def test_linear_scores_are_those_of_a_plain_loop(kind):
    for seed in range(4):
        made, scores = scene(kind, seed, 60)
        expected = plain_linear(made, scores, 40, 0.3, 0.05)
        found, lowered = boxes.suppress_softly(made, scores, 40, boxes.LINEAR, iou=0.3, score=0.05)
        assert found.tolist() == [place for place, _ in expected]
        np.testing.assert_allclose(lowered, [value for _, value in expected], rtol=1e-4)


def test_overlaps_are_those_of_a_plain_loop():
    (first, _), (second, _) = scene("degenerate", 1, 40), scene("dense", 2, 30)
    expected = [[plain_overlap(a, b) for b in second] for a in first]
    np.testing.assert_allclose(boxes.overlaps(first, second), expected, atol=1e-6)


def test_what_is_not_finite_is_never_chosen():
    for seed in range(6):
        made, scores = scene("dense", seed, 100)
        random = np.random.RandomState(seed)
        broken = random.choice(100, 20, replace=False)
        made[broken[:8], random.randint(0, 4, 8)] = np.nan
        made[broken[8:12], 1] = np.inf
        scores[broken[12:]] = np.nan
        healthy = np.setdiff1d(np.arange(100), broken)
        expected = tf.image.non_max_suppression(made[healthy], scores[healthy], 100, 0.5).numpy()
        assert boxes.suppress(made, scores, 100).tolist() == healthy[expected].tolist()
        soft, _ = boxes.suppress_softly(made, scores, 100, score=0.01)
        assert not set(soft) & set(broken)


@pytest.mark.parametrize("shared", [True, False])
def test_objects_of_several_classes_are_those_of_tensorflows_combined_op(shared):
    for seed in range(6):
        random = np.random.RandomState(seed)
        made, _ = scene("clustered", seed, 200)
        by_class = made[:, np.newaxis] if shared else made[:, np.newaxis] + 0.05 * random.rand(200, 6, 1).astype(np.float32)
        scores = random.rand(200, 6).astype(np.float32)
        how = boxes.DEFAULT._replace(iou=0.4, score=0.3, most=40, most_per_class=9)
        expected = tf.image.combined_non_max_suppression(by_class[np.newaxis], scores[np.newaxis], 9, 40, 0.4, 0.3, clip_boxes=False)
        found = boxes.choose(made if shared else by_class, scores, how)
        count = int(expected.valid_detections[0])
        assert len(found.scores) == count
        assert found.classes.tolist() == expected.nmsed_classes[0, :count].numpy().astype(int).tolist()
        np.testing.assert_array_equal(found.scores, expected.nmsed_scores[0, :count])
        np.testing.assert_array_equal(found.boxes, expected.nmsed_boxes[0, :count])


def test_without_classes_one_box_takes_the_place_of_all():
    made = np.float32([[0, 0, 1, 1], [0, 0, 1, 0.9], [2, 2, 3, 3]])
    scores = np.float32([[0.2, 0.9], [0.8, 0.1], [0.4, np.nan]])
    apart = boxes.choose(made, scores, boxes.DEFAULT._replace(score=0.3))
    assert apart.classes.tolist() == [1, 0, 0]
    together = boxes.choose(made, scores, boxes.DEFAULT._replace(score=0.3, classes=boxes.AGNOSTIC))
    assert together.classes.tolist() == [1, 0] and together.boxes.tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]


def test_nothing_in_nothing_out():
    for how in (boxes.DEFAULT, boxes.DEFAULT._replace(classes=boxes.AGNOSTIC), boxes.DEFAULT._replace(method=boxes.GAUSSIAN)):
        for shape in ((0, 3), (4, 0), (0, 0)):
            found = boxes.choose(np.zeros((shape[0], 4)), np.zeros(shape), how)
            assert [array.shape[0] for array in found] == [0, 0, 0]
    assert boxes.suppress(np.zeros((0, 4)), np.zeros(0), 5).tolist() == []
    assert boxes.overlaps(np.zeros((0, 4)), np.zeros((2, 4))).shape == (0, 2)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: boxes.suppress(np.zeros((3, 4)), np.zeros(2), 1), r"Boxes \[N,4\] and scores \[N\] are needed, not \[3, 4\] and \[2\]"),
        (lambda: boxes.suppress(np.zeros((3, 5)), np.zeros(3), 1), r"not \[3, 5\]"),
        (lambda: boxes.suppress(np.zeros((3, 4)), np.zeros(3), 1, iou=45), "between 0 and 1, not 45"),
        (lambda: boxes.suppress_softly(np.zeros((3, 4)), np.zeros(3), 1, sigma=0), "sigma greater than 0"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(TfleetError, match=message):
        call()
