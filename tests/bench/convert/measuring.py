"""Prints, as JSON, what parity, golden and the benchmark's loop take, and the same runs without them: a part of `tests.bench.convert`.

All in one process, in turns, on a MobileNetV2 (64 pictures of 224x224 in batches of 16) and on a network of about a millisecond.
"""

import contextlib
import json
import os
import sys
import time

import numpy as np

from tests.bench.harness import interleaved
from tests.bench.server import models
from tfleet.measure import asking, builds, parity, recording, requests, thresholds, worker

ROWS, BATCH = 64, 16
LAYERS, WIDTH = 60, 256


def millisecond(tf, path):
    """Sixty small layers: about a millisecond on one core."""
    weights = tf.constant(np.random.RandomState(1).randn(WIDTH, WIDTH).astype(np.float32) / WIDTH**0.5)

    def call(x):
        for _ in range(LAYERS):
            x = tf.tanh(tf.matmul(x, weights))
        return {"y": x}

    module = tf.Module()
    module.call = tf.function(call, input_signature=[tf.TensorSpec([None, WIDTH], tf.float32, "x")])
    tf.saved_model.save(module, path, signatures=module.call)


def pictures():
    """Smooth pictures with a little noise in eight bits, as cameras make them, in shares."""
    random = np.random.RandomState(2)
    coarse = random.rand(ROWS, 8, 8, 3)
    smooth = np.repeat(np.repeat(coarse, 28, axis=1), 28, axis=2)
    return (np.round(np.clip(smooth + 0.02 * random.randn(*smooth.shape), 0, 1) * 255) / 255).astype(np.float32)


@contextlib.contextmanager
def kept(build):
    """A build that stays open: loading is the same with and without a comparison."""
    yield build


def timed(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def mobilenet(tf, directory):
    path = os.path.join(directory, "cnn", "1")
    models.cnn(tf, path)
    build = builds.open_build(path)
    made = requests.of_arrays([("picture %d" % number, {"images": picture[np.newaxis]}) for number, picture in enumerate(pictures())], True, BATCH)
    batches = list(made.batches())
    feeds = [build.feeds(batch.arrays) for batch in batches]
    limits = thresholds.check({})

    def bare():
        for feed in feeds:
            build.run(feed)

    def compare():
        found = parity.compare(lambda: kept(build), lambda: kept(build), lambda signature: made, limits)
        assert found.result["holds"] and found.result["rows"] == ROWS

    def record():
        path = os.path.join(directory, "golden.npz")
        if os.path.exists(path):
            os.unlink(path)  # an equal file would not be written again
        recording.record(build, made, path, {"model": "cnn"}, {})

    assert asking.Asker(build)(batches[0])["scores"].shape == (BATCH, 1000)
    return {
        "parity, MobileNetV2": ({"ours": lambda: timed(compare), "bare": lambda: timed(bare) + timed(bare)}, "s"),
        "golden, MobileNetV2": ({"ours": lambda: timed(record), "bare": lambda: timed(bare)}, "s"),
    }


def loop(tf, directory):
    path = os.path.join(directory, "millisecond", "1")
    millisecond(tf, path)
    build = builds.open_build(path)
    feeds = build.feeds({"x": np.ones((1, WIDTH), np.float32)})
    runs = 100  # short turns: what disturbs the machine disturbs both
    servable, fetches = build._servable, build._fetches  # the run itself, without a build around it

    def bare():
        for _ in range(runs):
            servable.run(feeds, fetches)

    def ours():
        """What the benchmark reports: the mean of the runs it timed."""
        return 1e3 * sum(worker.repeat(build.run, [feeds], 60.0, runs)) / runs

    return {"benchmark loop, model of 1 ms": ({"ours": ours, "bare": lambda: 1e3 * timed(bare) / runs}, "ms a run")}


def main(directory, rounds):
    import tensorflow as tf

    tf.random.set_seed(1)
    found = {}
    for make in (loop, mobilenet):
        for measure, (turns, unit) in make(tf, directory).items():
            found[measure] = dict(interleaved(rounds * (6 if make is loop else 1), turns), unit=unit)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
