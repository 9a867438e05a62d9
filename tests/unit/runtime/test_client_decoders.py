"""Raw outputs of detectors, held to references of their own: TensorFlow's combined op, and the papers' formulas one number at a time."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfleet.client import boxes, decoders
from tfleet.errors import TfleetError

RANDOM = np.random.RandomState
LOOSE = boxes.DEFAULT._replace(iou=0.45, score=0.2, most=20, most_per_class=20)


def offset_by_hand(offset, anchor, factors=(10, 10, 5, 5)):
    """One box (ymin, xmin, ymax, xmax) from ty, tx, th, tw and an anchor's centre and size."""
    ty, tx, th, tw = (value / factor for value, factor in zip(offset, factors))
    cy, cx, height, width = anchor
    cy, cx, height, width = ty * height + cy, tx * width + cx, math.exp(th) * height, math.exp(tw) * width
    return [cy - height / 2, cx - width / 2, cy + height / 2, cx + width / 2]


def anchors_by_hand(sizes):
    """The anchors of pipeline.config's defaults, one after the other."""
    scales = [0.2 + 0.75 * layer / (len(sizes) - 1) for layer in range(len(sizes))] + [1.0]
    made = []
    for layer, side in enumerate(sizes):
        for row in range(side):
            for column in range(side):
                if layer == 0:
                    shapes = [(0.1, 1), (0.2, 2), (0.2, 0.5)]
                else:
                    shapes = [(scales[layer], ratio) for ratio in (1, 2, 0.5, 3, 1 / 3)]
                    shapes.append(((scales[layer] * scales[layer + 1]) ** 0.5, 1))
                for scale, ratio in shapes:
                    made.append([(row + 0.5) / side, (column + 0.5) / side, scale / ratio**0.5, scale * ratio**0.5])
    return made


def test_ssd_anchors_of_ssd_mobilenet():
    sizes = (19, 10, 5, 3, 2, 1)
    found = decoders.ssd_anchors([[side, side] for side in sizes])
    assert found.shape == (1917, 4)  # as every ssd_mobilenet of 300x300 has
    np.testing.assert_allclose(found, anchors_by_hand(sizes), atol=1e-6)
    whole = decoders.ssd_anchors([[2, 3]], aspect_ratios=[1.0], interpolated=False, reduce_lowest=False)
    np.testing.assert_allclose(whole[:2], [[0.25, 1 / 6, 0.2, 0.2], [0.25, 0.5, 0.2, 0.2]], atol=1e-6)


def ssd_outputs(seed, classes=4, batch=2):
    anchors = decoders.ssd_anchors([[3, 3], [2, 2], [1, 1]])
    random = RANDOM(seed)
    return anchors, {
        "raw_boxes": random.randn(batch, len(anchors), 4).astype(np.float32),
        "raw_scores": (2 * random.randn(batch, len(anchors), classes + 1)).astype(np.float32),
    }


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "none"])
def test_ssd_answers_what_tensorflow_makes_of_the_same_formulas(activation):
    for seed in range(5):
        anchors, outputs = ssd_outputs(seed)
        decoder = decoders.DEFAULTS[decoders.SSD]._replace(anchors=anchors, activation=activation)
        by_hand = np.float32([[offset_by_hand(box, anchor) for box, anchor in zip(row, anchors)] for row in outputs["raw_boxes"]])
        logits = outputs["raw_scores"]
        scores = {"sigmoid": tf.sigmoid, "softmax": tf.nn.softmax, "none": tf.identity}[activation](logits).numpy()[:, :, 1:]
        corners, found_scores = decoders.candidates(outputs, decoder, (300, 300))
        np.testing.assert_allclose(corners, by_hand, atol=1e-5)
        np.testing.assert_allclose(found_scores, scores, atol=1e-6)
        expected = tf.image.combined_non_max_suppression(by_hand[:, :, np.newaxis], scores, 20, 20, 0.45, 0.2, clip_boxes=False)
        found = decoders.decode(outputs, decoder, (300, 300), LOOSE)
        assert found["num_detections"].tolist() == expected.valid_detections.numpy().tolist()
        for row, count in enumerate(expected.valid_detections.numpy()):
            np.testing.assert_allclose(found["detection_scores"][row, :count], expected.nmsed_scores[row, :count], atol=1e-6)
            np.testing.assert_allclose(found["detection_boxes"][row, :count], expected.nmsed_boxes[row, :count], atol=1e-5)
            np.testing.assert_array_equal(found["detection_classes"][row, :count], expected.nmsed_classes[row, :count] + 1)


def test_variances_order_and_corners_of_other_frameworks():
    anchors, outputs = ssd_outputs(1)
    plain = decoders.DEFAULTS[decoders.SSD]._replace(anchors=anchors)
    swap = [1, 0, 3, 2]
    corners = np.concatenate([anchors[:, :2] - anchors[:, 2:] / 2, anchors[:, :2] + anchors[:, 2:] / 2], axis=1)
    other = plain._replace(anchors=corners[:, swap], order="xyxy", form="corners")
    swapped = dict(outputs, raw_boxes=outputs["raw_boxes"][:, :, swap])
    expected = decoders.candidates(outputs, plain, (1, 1))[0]
    np.testing.assert_allclose(decoders.candidates(swapped, other, (1, 1))[0], expected, atol=1e-5)
    pixels = plain._replace(anchors=anchors * [200, 400, 200, 400], units="pixels")
    np.testing.assert_allclose(decoders.candidates(outputs, pixels, (200, 400))[0], expected, atol=1e-5)
    as_output = plain._replace(anchors="anchors")
    np.testing.assert_allclose(decoders.candidates(dict(outputs, anchors=anchors), as_output, (1, 1))[0], expected, atol=1e-6)


def faster_rcnn_by_hand(rois, deltas, one):
    """[R,C,4] in pixels, as py-faster-rcnn's bbox_transform_inv has it: x before y, and a width that counts both ends."""
    made = []
    for (left, top, right, bottom), row in zip(rois, deltas):
        width, height = right - left + one, bottom - top + one
        cx, cy = left + 0.5 * width, top + 0.5 * height
        made.append([])
        for dx, dy, dw, dh in row.reshape(-1, 4):
            x, y = dx / 10 * width + cx, dy / 10 * height + cy
            w, h = math.exp(dw / 5) * width, math.exp(dh / 5) * height
            made[-1].append([y - h / 2, x - w / 2, y + h / 2, x + w / 2])
    return np.float32(made)


@pytest.mark.parametrize("one", [0, 1])
@pytest.mark.parametrize("leading", [True, False])
def test_faster_rcnn(one, leading):
    size, regions, classes = (600, 800), 50, 5
    for seed in range(4):
        random = RANDOM(seed)
        low = random.rand(regions, 2) * [600, 400]
        rois = np.concatenate([low, low + 20 + random.rand(regions, 2) * 150], axis=1).astype(np.float32)
        deltas = random.randn(regions, 4 * (classes + 1)).astype(np.float32)
        scores = tf.nn.softmax(3 * random.randn(regions, classes + 1)).numpy().astype(np.float32)
        by_hand = faster_rcnn_by_hand(rois, deltas, one) / np.float32([600, 800, 600, 800])
        outputs = {"rois": np.concatenate([np.zeros((regions, 1), np.float32), rois], 1) if leading else rois[np.newaxis]}
        outputs.update(bbox_pred=deltas if leading else deltas[np.newaxis], cls_prob=scores if leading else scores[np.newaxis])
        decoder = decoders.DEFAULTS[decoders.FASTER_RCNN]._replace(plus_one=bool(one))
        expected = tf.image.combined_non_max_suppression(by_hand[np.newaxis, :, 1:], scores[np.newaxis, :, 1:], 20, 20, 0.45, 0.2, clip_boxes=False)
        found = decoders.decode(outputs, decoder, size, LOOSE)
        count = int(expected.valid_detections[0])
        assert found["num_detections"].tolist() == [count] and count > 3
        np.testing.assert_allclose(found["detection_scores"][0], expected.nmsed_scores[0, :count], atol=1e-6)
        np.testing.assert_allclose(found["detection_boxes"][0], expected.nmsed_boxes[0, :count], atol=1e-4)
        np.testing.assert_array_equal(found["detection_classes"][0], expected.nmsed_classes[0, :count] + 1)
        # Boxes for all classes at once, and without those of the background.
        shared = dict(outputs, bbox_pred=outputs["bbox_pred"][..., 4:8])
        np.testing.assert_allclose(decoders.candidates(shared, decoder, size)[0][0], by_hand[:, 1], atol=1e-4)
        without = dict(outputs, bbox_pred=outputs["bbox_pred"][..., 4:])
        np.testing.assert_allclose(decoders.candidates(without, decoder, size)[0][0], by_hand[:, 1:], atol=1e-4)


def test_boxes_as_they_are():
    centre = {"raw_boxes": np.float32([[[50, 100, 20, 40]]]), "raw_scores": np.float32([[[0.9, 0.1]]])}
    decoder = decoders.DEFAULTS[decoders.BOXES]._replace(form="centre", order="xyxy", units="pixels", first_class=0)
    found = decoders.decode(centre, decoder, (200, 100), boxes.DEFAULT)
    np.testing.assert_allclose(found["detection_boxes"], [[[0.4, 0.4, 0.6, 0.6], [0.4, 0.4, 0.6, 0.6]]])
    assert found["detection_classes"].tolist() == [[0, 1]]


def test_wild_offsets_do_not_become_infinite():
    anchors, outputs = ssd_outputs(0)
    outputs["raw_boxes"][:] = 1e6
    found = decoders.candidates(outputs, decoders.DEFAULTS[decoders.SSD]._replace(anchors=anchors), (1, 1))[0]
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    "kind, change, outputs, message",
    [
        ("boxes", {}, {"x": (1, 2)}, "The model has no output 'raw_scores', which its declaration names. Its outputs are: x"),
        ("boxes", {}, {"raw_boxes": (1, 3, 4), "raw_scores": (1, 2, 5)}, r"is \[1, 3, 4\], but boxes are \[N, boxes, 4\], as many as output"),
        ("boxes", {}, {"raw_boxes": (1, 3, 4), "raw_scores": (5,)}, r"is \[5\], but scores are \[N, boxes, classes\]"),
        ("boxes", {}, {"raw_boxes": (1, 3, 2, 4), "raw_scores": (1, 3, 5)}, "has boxes of 2 classes, output 'raw_scores' has scores of 5"),
        ("ssd", {}, {"raw_boxes": (1, 3, 4), "raw_scores": (1, 3, 5)}, 'An SSD decoder needs "anchors"'),
        ("ssd", {"anchors": np.zeros((2, 4))}, {"raw_boxes": (1, 3, 4), "raw_scores": (1, 3, 5)}, "has 3 boxes, but there are 2 anchors"),
        ("faster_rcnn", {}, {"rois": (3, 5), "bbox_pred": (2, 8), "cls_prob": (2, 2)}, "do not belong to the same regions"),
    ],
)
def test_outputs_that_do_not_fit(kind, change, outputs, message):
    made = {alias: np.zeros(shape, np.float32) for alias, shape in outputs.items()}
    with pytest.raises(TfleetError, match=message):
        decoders.decode(made, decoders.DEFAULTS[kind]._replace(**change), (1, 1), boxes.DEFAULT)
