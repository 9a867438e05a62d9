"""Raw boxes and folders of pictures in the client: `make bench SUITE=pictures`, about five minutes.

Non-maximum suppression beside TensorFlow's op and plain loops; and `tfleet predict` on a folder of JPEG files, beside the same server asked
with batches that are ready to be sent. Writes build/bench/pictures.json and .png.
"""

import json
import os
import statistics
import sys
import tempfile

from tests.bench import harness
from tests.bench.client import tfleet

COUNT, DIFFERENT, SIZE = 1000, 25, (640, 480)
BATCH, IN_FLIGHT = 8, 2
ROUNDS = 1
FASTER_THAN_PLAIN, OF_TENSORFLOW, OF_THE_SERVER = 20, 3, 0.9
MODELS = """
import sys, tensorflow as tf
from tests.bench.server import models
tf.random.set_seed(1)
models.cnn(tf, sys.argv[1] + "/cnn/1")
"""


def suppression():
    """Rows in ms: beside TensorFlow (at most three times as long for 10 000 objects), and beside two plain loops."""
    *_, out = harness.run_process([sys.executable, "-m", "tests.bench.pictures.suppression"], dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"))
    rows = []
    for measure, line in json.loads(out).items():
        ours, theirs, textbook, lazy = ([1000 * value for value in line[name]] for name in ("ours", "theirs", "textbook", "lazy"))
        name = "NMS, %s (%d kept)" % (measure, line["kept"])
        few = measure.endswith(" 100 at most")
        rows.append(harness.row(name + " | TensorFlow", "ms", ours, theirs, None if few else OF_TENSORFLOW * statistics.median(theirs)))
        rows.append(harness.row(name + " | plain loop", "ms", ours, textbook, textbook[0] / FASTER_THAN_PLAIN))
        rows.append(harness.row(name + " | loop over those kept", "ms", ours, lazy))
    return rows


def write_pictures(folder):
    """JPEG files that are smooth with some noise: what a photograph takes to decode."""
    import numpy as np
    from PIL import Image

    os.makedirs(folder)
    random = np.random.RandomState(1)
    for number in range(COUNT):
        path = os.path.join(folder, "%04d.jpg" % number)
        if number >= DIFFERENT:
            os.link(os.path.join(folder, "%04d.jpg" % (number % DIFFERENT)), path)
            continue
        coarse = Image.fromarray(random.randint(0, 255, (12, 16, 3)).astype(np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
        noisy = np.clip(np.asarray(coarse) + random.normal(0, 6, (SIZE[1], SIZE[0], 1)), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(path, quality=90)


def folder(directory):
    """Rows in pictures a second: a folder as a user asks it, without and with drawing, beside batches that are ready.

    The server has one core and the client the other, as if they were two machines; at last both share all cores.
    """
    from tests.bench.server.processes import Server

    pictures = os.path.join(directory, "pictures")
    write_pictures(pictures)
    harness.run_process([sys.executable, "-c", MODELS, directory], dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"))
    cores = sorted(os.sched_getaffinity(0))

    def measured(rounds, servers, clients):
        os.sched_setaffinity(0, servers)  # what is started inherits it
        try:
            with Server(tempfile.mkdtemp(dir=directory) + "/server", {"cnn": os.path.join(directory, "cnn")}) as server:
                server.wait()
                os.sched_setaffinity(0, clients)
                return harness.interleaved(rounds, runs(server.address, pictures, directory))
        finally:
            os.sched_setaffinity(0, cores)

    apart = measured(ROUNDS, cores[:1], cores[1:])
    shared = measured(1, cores, cores)
    target = OF_THE_SERVER * statistics.median(apart["ready"])
    name = "folder of 1 000 JPEG files of 640x480, MobileNetV2"
    return [
        harness.row(name + ", client on a core of its own", "pictures/s", apart["plain"], apart["ready"], target, True),
        harness.row("the same, every picture drawn", "pictures/s", apart["drawn"], apart["ready"], target, True),
        harness.row(name + ", both on the same cores", "pictures/s", shared["plain"], shared["ready"], None, True),
        harness.row("the same, every picture drawn", "pictures/s", shared["drawn"], shared["ready"], None, True),
    ]


def runs(address, pictures, directory):
    """{name: function}, each giving pictures a second."""
    lines = os.path.join(directory, "lines.jsonl")
    command = tfleet("predict", "--address", address, "--model", "cnn", "--image", pictures, "--timeout", "60", "--json", "--output", lines)
    command += ["--batch-size", str(BATCH), "--in-flight", str(IN_FLIGHT)]

    def asked(*options):
        if os.path.exists(lines):
            os.remove(lines)
        *_, out = harness.run_process(command + list(options))
        result = json.loads(out)
        if result["images"]["done"] != COUNT:
            raise RuntimeError(out)
        return result["images_per_second"]

    ready = [sys.executable, "-m", "tests.bench.pictures.ready", address, "cnn", pictures, str(BATCH), str(IN_FLIGHT)]
    return {
        "ready": lambda: float(harness.run_process(ready)[-1]),
        "plain": asked,
        "drawn": lambda: asked("--annotate", os.path.join(directory, "drawn")),
    }


def main():
    harness.warn_if_busy()
    with tempfile.TemporaryDirectory(prefix="tfleet-bench-") as directory:
        rows = folder(directory) + suppression()
    return harness.report("pictures", rows, ("tfleet", "beside"))


if __name__ == "__main__":
    sys.exit(main())
