"""Raw boxes and folders of pictures in the client: `make bench SUITE=pictures`, about four minutes.

Non-maximum suppression beside TensorFlow's op and a plain loop; and `tfleet predict` on a folder of JPEG files, from its start to its
end, beside the same server asked with batches that are ready to be sent. Writes build/bench/pictures.json and .png.
"""

import json
import os
import statistics
import sys
import tempfile

from tests.bench import harness
from tests.bench.client import tfleet

COUNT, SIZE = 1000, (640, 480)
BATCH, IN_FLIGHT = 8, 2
ROUNDS = 2
FASTER_THAN_PLAIN, OF_TENSORFLOW, OF_THE_SERVER = 20, 3, 0.9
MODELS = """
import sys, tensorflow as tf
from tests.bench.server import models
tf.random.set_seed(1)
models.cnn(tf, sys.argv[1] + "/cnn/1")
"""


def suppression():
    """Rows in ms: beside TensorFlow (at most three times as long for 10 000 objects), and beside a plain loop."""
    *_, out = harness.run_process([sys.executable, "-m", "tests.bench.pictures.suppression"], dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"))
    rows = []
    for measure, line in json.loads(out).items():
        ours, theirs, plain = ([1000 * value for value in line[name]] for name in ("ours", "theirs", "plain"))
        few = measure.endswith(" 100 at most")
        name = "NMS of 10 000 boxes, %s (%d kept), beside TensorFlow" % (measure, line["kept"])
        beside = harness.row(name, "ms", ours, theirs, None if few else OF_TENSORFLOW * statistics.median(theirs))
        loop = harness.row("the same, beside a plain loop", "ms", ours, plain, plain[0] / FASTER_THAN_PLAIN)
        rows += [beside, loop]
    return rows


def folder(directory):
    """Rows in pictures a second: a folder as a user asks it, without and with drawing, beside batches that are ready."""
    import numpy as np
    from PIL import Image

    from tests.bench.server.processes import Server

    pictures = os.path.join(directory, "pictures")
    os.makedirs(pictures)
    random = np.random.RandomState(1)
    for number in range(COUNT):
        # Smooth with some noise: what a photograph takes to decode.
        coarse = Image.fromarray(random.randint(0, 255, (12, 16, 3)).astype(np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
        noisy = np.clip(np.asarray(coarse) + random.normal(0, 6, (SIZE[1], SIZE[0], 1)), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(os.path.join(pictures, "%04d.jpg" % number), quality=90)
    harness.run_process([sys.executable, "-c", MODELS, directory], dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"))
    with Server(os.path.join(directory, "server"), {"cnn": os.path.join(directory, "cnn")}) as server:
        server.wait()
        numbers = [server.address, "cnn", pictures, str(BATCH), str(IN_FLIGHT)]
        command = tfleet("predict", "--address", server.address, "--model", "cnn", "--image", pictures, "--timeout", "60", "--json")
        command += ["--batch-size", str(BATCH), "--in-flight", str(IN_FLIGHT)]

        def asked(*options):
            lines = os.path.join(directory, "lines.jsonl")
            if os.path.exists(lines):
                os.remove(lines)
            seconds, *_, out = harness.run_process(command + ["--output", lines] + list(options))
            assert json.loads(out)["images"]["done"] == COUNT
            return COUNT / seconds

        runs = {
            "ready": lambda: float(harness.run_process([sys.executable, "-m", "tests.bench.pictures.ready"] + numbers)[-1]),
            "plain": asked,
            "drawn": lambda: asked("--annotate", os.path.join(directory, "drawn")),
        }
        results = harness.interleaved(ROUNDS, runs)
    target = OF_THE_SERVER * statistics.median(results["ready"])
    return [
        harness.row("folder of 1 000 JPEG files of 640x480, MobileNetV2", "pictures/s", results["plain"], results["ready"], target, True),
        harness.row("the same, every picture drawn", "pictures/s", results["drawn"], results["ready"], None, True),
    ]


def main():
    harness.warn_if_busy()
    with tempfile.TemporaryDirectory(prefix="tfleet-bench-") as directory:
        rows = folder(directory) + suppression()
    return harness.report("pictures", rows, ("tfleet", "beside"))


if __name__ == "__main__":
    sys.exit(main())
