"""Scenes composed of handwritten digits: what the detector learns from and is measured on."""
from typing import List, NamedTuple, Tuple

import numpy as np
from PIL import Image

from .dataset import Digits

SIZES = (16, 64)
COUNTS = (3, 12)
MAX_IOU = 0.2
MIN_CONTRAST = 0.22
PLACEMENT_TRIES = 60


class Scene(NamedTuple):
    """`image` uint8 [H,W,3]; `boxes` float32 [N,4] in pixels (ymin, xmin, ymax, xmax), tight; `labels` int64 [N], 0..9."""

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


def iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the intersection over union of one box [4] with each of `boxes` [N,4]."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return shared / (np.prod(box[2:] - box[:2]) + area - shared)


def stroke(digit: np.ndarray, size: float, random: np.random.Generator) -> np.ndarray:
    """Return the opacity [h,w] of `digit` [8,8] written about `size` pixels high, turned, slanted and cut to its ink."""
    angle, slant, stretch = random.normal(0, 0.1), random.normal(0, 0.12), random.uniform(0.85, 1.2)
    zoom = 8 / size
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1, slant], [0, 1]]) @ np.diag([stretch, 1]) * zoom
    side = int(size * 1.6) + 4
    middle = np.array([6.0, 6.0]) - matrix @ np.full(2, side / 2)
    coefficients = (matrix[0, 0], matrix[0, 1], middle[0], matrix[1, 0], matrix[1, 1], middle[1])
    paper = Image.fromarray(np.pad(digit, 2))
    ink = np.asarray(paper.transform((side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC))
    opacity = np.clip((ink / 16 - random.uniform(0.32, 0.48)) * random.uniform(2, 5), 0, 1)
    rows, columns = (np.flatnonzero((opacity > 0.4).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return opacity[:0, :0]
    return opacity[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]


def written(digit: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return `digit` as an opacity whose longer side is within SIZES; small ones are as frequent as large ones."""
    while True:
        opacity = stroke(digit, np.exp(random.uniform(*np.log(SIZES))), random)
        if opacity.size and SIZES[0] <= max(opacity.shape) <= SIZES[1]:
            return opacity


def background(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """Return paper, gradients, clouds, grain, stripes or a grid, float32 [height,width,3] with values 0..1."""
    colour = np.clip(random.uniform(0.05, 0.95) + random.normal(0, 0.08, 3), 0, 1).astype(np.float32)
    other = np.clip(colour + random.normal(0, 0.15) + random.normal(0, 0.06, 3), 0, 1).astype(np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = random.uniform(0, 2 * np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y
    kind = random.integers(6)
    if kind == 0:
        blend = np.zeros((height, width))
    elif kind == 1:
        blend = (along - along.min()) / np.ptp(along)
    elif kind == 2:
        blend = coarse(random.uniform(0, 1, random.integers(3, 9, 2)), height, width)
    elif kind == 3:
        blend = coarse(random.uniform(0, 1, (height // 3, width // 3)), height, width)
    elif kind == 4:
        blend = 0.5 + 0.5 * np.sin(along * 2 * np.pi / random.uniform(6, 40))
    else:
        step = random.integers(10, 30)
        blend = ((y + random.integers(step)) % step < 1) | ((x + random.integers(step)) % step < random.integers(2))
    return colour + (other - colour) * np.asarray(blend, np.float32)[..., None]


def coarse(cells: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return random `cells` smoothly enlarged to [height,width]."""
    return np.asarray(Image.fromarray(cells.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC))


def ink_colour(paper: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return a colour that differs from the mean of `paper` [h,w,3] by MIN_CONTRAST or more, darker or lighter."""
    mean = paper.mean(axis=(0, 1))
    luma = mean.mean()
    room = {-1: luma, 1: 1 - luma}
    sign = random.choice([side for side in room if room[side] > MIN_CONTRAST + 0.05])
    contrast = random.uniform(MIN_CONTRAST, room[sign])
    return np.clip(mean + sign * contrast + random.normal(0, 0.05, 3), 0, 1)


def place(shape: Tuple[int, int], boxes: List[np.ndarray], height: int, width: int, random: np.random.Generator):
    """Return a free box for ink of `shape`, or None if none was found."""
    for _ in range(PLACEMENT_TRIES):
        top, left = random.integers(0, height - shape[0] + 1), random.integers(0, width - shape[1] + 1)
        box = np.array([top, left, top + shape[0], left + shape[1]], np.float32)
        if not boxes or iou(box, np.array(boxes)).max() <= MAX_IOU:
            return box
    return None


def compose(digits: Digits, height: int, width: int, random: np.random.Generator) -> Scene:
    """Return a scene of COUNTS digits. Larger ones are written first, so that none hides a smaller one completely."""
    chosen = random.integers(0, len(digits.labels), random.integers(COUNTS[0], COUNTS[1] + 1))
    inks = sorted(((written(digits.images[i], random), digits.labels[i]) for i in chosen), key=lambda ink: -ink[0].size)
    canvas = background(height, width, random)
    boxes, labels = [], []
    for opacity, label in inks:
        box = place(opacity.shape, boxes, height, width, random)
        if box is None:
            continue
        top, left, bottom, right = box.astype(int)
        paper = canvas[top:bottom, left:right]
        paper += opacity[..., None] * (ink_colour(paper, random) - paper)
        boxes.append(box)
        labels.append(label)
    if len(boxes) < COUNTS[0]:
        return compose(digits, height, width, random)
    canvas += random.standard_normal(canvas.shape, np.float32) * np.float32(random.uniform(0, 0.06))
    return Scene((np.clip(canvas, 0, 1) * 255).astype(np.uint8), np.array(boxes), np.array(labels))
