"""From the raw answers of detectors to the outputs of the Object Detection API: boxes, SSD's offsets to anchors, Faster R-CNN's to its regions.

A graph that was cut before its post-processing (as TF-TRT and TensorFlow Lite like them) answers one box and one row of scores for each anchor or region.
"""

import math
from typing import Any, Dict, NamedTuple, Sequence, Tuple

import numpy as np

from tfleet.client import boxes as nms
from tfleet.errors import TfleetError

Arrays = Dict[str, np.ndarray]

BOXES, SSD, FASTER_RCNN = "boxes", "ssd", "faster_rcnn"

Decoder = NamedTuple(
    "Decoder",
    [
        ("kind", str),
        ("boxes", str),  # outputs by their aliases
        ("scores", str),
        ("rois", str),  # of FASTER_RCNN
        ("anchors", Any),  # of SSD: array [A,4] or the alias of an output
        ("order", str),  # yxyx or xyxy: which axis comes first, in boxes, offsets, anchors and regions alike
        ("form", str),  # of boxes and anchors: corners, or centre (centre and size)
        ("units", str),  # shares of the input's sides, or pixels
        ("activation", str),  # what the scores still need: none, sigmoid or softmax
        ("background", bool),  # the first column of the scores is no class
        ("first_class", int),  # number of the first class after it
        ("scale_factors", Tuple[float, ...]),  # the box coder's; the variances of other frameworks are their inverse
        ("plus_one", bool),  # py-faster-rcnn's pixels: a region from 3 to 5 is 3 wide
    ],
)

_COMMON = Decoder(BOXES, "raw_boxes", "raw_scores", "rois", None, "yxyx", "corners", "shares", "none", False, 1, (10.0, 10.0, 5.0, 5.0), False)
DEFAULTS = {
    BOXES: _COMMON,
    SSD: _COMMON._replace(kind=SSD, form="centre", activation="sigmoid", background=True),
    FASTER_RCNN: _COMMON._replace(
        kind=FASTER_RCNN, boxes="bbox_pred", scores="cls_prob", order="xyxy", units="pixels", background=True, plus_one=True
    ),
}

_LARGEST = math.log(1000.0 / 16)
"""Limit of an offset of sizes, as in Detectron: a wild one must not become infinity."""


def decode(outputs: Arrays, decoder: Decoder, size: Tuple[int, int], suppression: nms.Suppression) -> Arrays:
    """detection_boxes [N,K,4], detection_scores [N,K], detection_classes [N,K] and num_detections [N], from a model's raw outputs.

    `size` is the height and width of the input, for boxes in pixels. Raises TfleetError for outputs that are not what the decoder says.
    """
    boxes, scores = candidates(outputs, decoder, size)
    found = [nms.choose(one, his, suppression) for one, his in zip(boxes, scores)]
    most = max([len(chosen.scores) for chosen in found] + [1])
    return {
        "detection_boxes": np.stack([_padded(chosen.boxes, most) for chosen in found]),
        "detection_scores": np.stack([_padded(chosen.scores, most) for chosen in found]),
        "detection_classes": np.stack([_padded(chosen.classes + decoder.first_class, most) for chosen in found]).astype(np.float32),
        "num_detections": np.array([len(chosen.scores) for chosen in found], np.float32),
    }


def candidates(outputs: Arrays, decoder: Decoder, size: Tuple[int, int]) -> Tuple[np.ndarray, np.ndarray]:
    """Corner boxes [N,M,4] or [N,M,C,4] in shares of the input's sides, and scores [N,M,C] without the background."""
    raw = _output(outputs, decoder.scores)
    scores = _activated(raw[np.newaxis] if raw.ndim == 2 else raw, decoder)
    if scores.ndim != 3:
        raise TfleetError("Output '%s' is %s, but scores are [N, boxes, classes]." % (decoder.scores, list(raw.shape)))
    boxes = _output(outputs, decoder.boxes)
    if decoder.kind == FASTER_RCNN:
        corners = _regions(outputs, boxes, raw, decoder)
    else:
        boxes = boxes[np.newaxis] if boxes.ndim == 2 else boxes
        boxes = boxes[:, :, 0] if boxes.ndim == 4 and boxes.shape[2] == 1 else boxes
        _check(boxes, raw, decoder)
        given = _yx(boxes, decoder.order)
        corners = _offsets(given, _anchors(outputs, decoder), decoder) if decoder.kind == SSD else _corners(given, decoder.form)
    if decoder.units == "pixels":
        corners = corners / np.array([size[0], size[1]] * 2, np.float32)
    scores = scores[:, :, 1:] if decoder.background else scores
    if corners.ndim == 4 and corners.shape[2] == scores.shape[2] + 1 and decoder.background:
        corners = corners[:, :, 1:]
    if corners.ndim == 4 and corners.shape[2] == 1:
        corners = corners[:, :, 0]
    if corners.ndim == 4 and corners.shape[2] != scores.shape[2]:
        raise TfleetError("Output '%s' has boxes of %d classes, output '%s' has scores of %d." % (
            decoder.boxes, corners.shape[2], decoder.scores, scores.shape[2]))
    return corners, scores


def ssd_anchors(
    feature_maps: Sequence[Sequence[int]],
    min_scale: float = 0.2,
    max_scale: float = 0.95,
    aspect_ratios: Sequence[float] = (1.0, 2.0, 0.5, 3.0, 1.0 / 3),
    interpolated: bool = True,
    reduce_lowest: bool = True,
) -> np.ndarray:
    """Anchors [A,4] (y and x of the centre, height, width, in shares) of the Object Detection API's ssd_anchor_generator.

    feature_maps: height and width of each, such as [[19, 19], [10, 10], …]; the other names are those of pipeline.config, where `interpolated` is
    interpolated_scale_aspect_ratio > 0 and `reduce_lowest` is reduce_boxes_in_lowest_layer. For square inputs, which that generator assumes.
    """
    layers = len(feature_maps)
    scales = [min_scale + (max_scale - min_scale) * layer / max(1, layers - 1) for layer in range(layers)] + [1.0]
    made = []
    for layer, (rows, columns) in enumerate(feature_maps):
        if layer == 0 and reduce_lowest:
            shapes = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        else:
            shapes = [(scales[layer], ratio) for ratio in aspect_ratios]
            if interpolated:
                shapes.append((math.sqrt(scales[layer] * scales[layer + 1]), 1.0))
        sizes = np.array([(scale / math.sqrt(ratio), scale * math.sqrt(ratio)) for scale, ratio in shapes])
        y, x = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
        centres = np.stack([y, x], axis=-1).reshape(-1, 1, 2)
        made.append(np.concatenate(np.broadcast_arrays(centres, sizes[np.newaxis]), axis=2).reshape(-1, 4))
    return np.concatenate(made).astype(np.float32)


def _regions(outputs: Arrays, deltas: np.ndarray, scores: np.ndarray, decoder: Decoder) -> np.ndarray:
    """Boxes [N,R,C,4] in the regions' unit."""
    rois = _output(outputs, decoder.rois)
    rois = rois.reshape((-1,) + rois.shape[-2:])[:, :, -4:]  # the first of five numbers is the image in the batch
    if deltas.size % (4 * rois.shape[0] * rois.shape[1] or 1) or scores.size % (rois.shape[0] * rois.shape[1] or 1):
        raise TfleetError("Outputs '%s' %s, '%s' %s and '%s' %s do not belong to the same regions." % (
            decoder.rois, list(rois.shape), decoder.boxes, list(deltas.shape), decoder.scores, list(scores.shape)))
    deltas = deltas.reshape(rois.shape[0], rois.shape[1], -1, 4)
    one = np.float32(1 if decoder.plus_one else 0)
    corners = _yx(rois, decoder.order)
    low, high = corners[..., :2], corners[..., 2:]
    sizes = high - low + one
    reference = np.concatenate([low + 0.5 * sizes, sizes], axis=-1)[:, :, np.newaxis]
    return _offsets(_yx(deltas, decoder.order), reference, decoder)


def _offsets(given: np.ndarray, reference: np.ndarray, decoder: Decoder) -> np.ndarray:
    """Corners from offsets to references given by centre and size. The scale factors are those of centre y, centre x, height and width."""
    scaled = given / np.array(decoder.scale_factors, np.float32)
    centres = scaled[..., :2] * reference[..., 2:] + reference[..., :2]
    sizes = np.exp(np.minimum(scaled[..., 2:], _LARGEST)) * reference[..., 2:]
    return _corners(np.concatenate([centres, sizes], axis=-1), "centre")


def _anchors(outputs: Arrays, decoder: Decoder) -> np.ndarray:
    if decoder.anchors is None:
        raise TfleetError('An SSD decoder needs "anchors": a file, the name of an output, or {"feature_maps": [[19, 19], …]}.')
    anchors = _output(outputs, decoder.anchors) if isinstance(decoder.anchors, str) else decoder.anchors
    anchors = _yx(np.asarray(anchors, np.float32), decoder.order)
    if decoder.form == "corners":
        low, high = anchors[..., :2], anchors[..., 2:]
        anchors = np.concatenate([(low + high) / 2, high - low], axis=-1)
    count = _output(outputs, decoder.boxes).shape[-2 if _output(outputs, decoder.boxes).ndim < 4 else 1]
    if anchors.shape[-2:] != (count, 4):
        raise TfleetError("Output '%s' has %d boxes, but there are %d anchors." % (decoder.boxes, count, anchors.shape[-2]))
    return anchors


def _corners(boxes: np.ndarray, form: str) -> np.ndarray:
    if form == "corners":
        return boxes
    half = boxes[..., 2:] / 2
    return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=-1)


def _yx(boxes: np.ndarray, order: str) -> np.ndarray:
    boxes = np.asarray(boxes, np.float32)
    return boxes if order == "yxyx" else boxes[..., [1, 0, 3, 2]]


def _activated(scores: np.ndarray, decoder: Decoder) -> np.ndarray:
    scores = np.asarray(scores, np.float32)
    if decoder.activation == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-np.clip(scores, -80, 80))))
    if decoder.activation == "softmax":
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
    return scores


def _check(boxes: np.ndarray, scores: np.ndarray, decoder: Decoder) -> None:
    if boxes.ndim not in (3, 4) or boxes.shape[-1] != 4 or boxes.shape[1] != scores.shape[-2]:
        raise TfleetError("Output '%s' is %s, but boxes are [N, boxes, 4], as many as output '%s' %s has scores for." % (
            decoder.boxes, list(boxes.shape), decoder.scores, list(scores.shape)))


def _output(outputs: Arrays, alias: str) -> np.ndarray:
    if alias not in outputs:
        raise TfleetError("The model has no output '%s', which its declaration names. Its outputs are: %s." % (alias, ", ".join(sorted(outputs))))
    return np.asarray(outputs[alias])


def _padded(array: np.ndarray, length: int) -> np.ndarray:
    return np.concatenate([array, np.zeros((length - len(array),) + array.shape[1:], array.dtype)])
