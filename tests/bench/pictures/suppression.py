"""Prints, as JSON, the seconds that non-maximum suppression takes in tfleet.client.boxes, in TensorFlow and in plain loops.

In a process of its own, because TensorFlow's memory would count as that of every process measured later.
"""

import json
import time

import numpy as np
import tensorflow as tf

from tests.bench.harness import interleaved
from tfleet.client import boxes

COUNT = 10000
DENSITIES = {"sparse": 0.005, "medium": 0.03, "dense": 0.2}
"""Mean side of a box, in shares of the picture's."""
ROUNDS = 5


def scene(side):
    random = np.random.RandomState(1)
    centres, half = random.rand(COUNT, 2), 0.5 * side * (0.5 + random.rand(COUNT, 2))
    return np.concatenate([centres - half, centres + half], axis=1).astype(np.float32), random.rand(COUNT).astype(np.float32)


def textbook(made, scores, most, iou):
    """The loop of every implementation that is not vectorised: each box that is still there, best first, takes away those after it."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    rows = [(*row, (row[2] - row[0]) * (row[3] - row[1])) for row in (made[index] for index in order)]
    gone, kept = [False] * len(rows), []
    for place, (ymin, xmin, ymax, xmax, area) in enumerate(rows):
        if gone[place]:
            continue
        kept.append(order[place])
        if len(kept) == most:
            break
        for later in range(place + 1, len(rows)):
            if gone[later]:
                continue
            top, left, bottom, right, his = rows[later]
            height, width = min(ymax, bottom) - max(ymin, top), min(xmax, right) - max(xmin, left)
            if height > 0 and width > 0 and height * width / (area + his - height * width) > iou:
                gone[later] = True
    return kept


def lazy(made, scores, most, iou):
    """A loop that compares each box with those that were kept before it: quick where few are wanted."""
    kept = []
    for place in sorted(range(len(made)), key=lambda index: -scores[index]):
        ymin, xmin, ymax, xmax = made[place]
        area = (ymax - ymin) * (xmax - xmin)
        for _, (top, left, bottom, right, his) in kept:
            height, width = min(ymax, bottom) - max(ymin, top), min(xmax, right) - max(xmin, left)
            if height > 0 and width > 0 and height * width / (area + his - height * width) > iou:
                break
        else:
            kept.append((place, (ymin, xmin, ymax, xmax, area)))
            if len(kept) == most:
                break
    return [place for place, _ in kept]


def seconds(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def main():
    results = {}
    for density, side in DENSITIES.items():
        made, scores = scene(side)
        for most in (100, COUNT):
            found = boxes.suppress(made, scores, most, 0.5).tolist()
            if found != tf.image.non_max_suppression(made, scores, most, 0.5).numpy().tolist():
                raise RuntimeError("not the boxes that TensorFlow chooses")
            runs = {
                "ours": lambda: seconds(lambda: boxes.suppress(made, scores, most, 0.5)),  # noqa: B023
                "theirs": lambda: seconds(lambda: tf.image.non_max_suppression(made, scores, most, 0.5).numpy()),  # noqa: B023
            }
            line = interleaved(ROUNDS, runs)
            listed = made.tolist(), scores.tolist(), most, 0.5
            line["textbook"] = [seconds(lambda: textbook(*listed))]  # noqa: B023 # once: up to half a minute
            line["lazy"] = [seconds(lambda: lazy(*listed))]  # noqa: B023
            line["kept"] = len(found)
            results["%s, %d at most" % (density, most)] = line
    print(json.dumps(results))


if __name__ == "__main__":
    main()
