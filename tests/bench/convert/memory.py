"""What a conversion holds in memory: a part of `tests.bench.convert`.

The most that `tfleet convert` held, less what the same conversion of a model of some kilobytes held (that is TensorFlow itself), by the size
of the model. The target is tfleet.convert.variants.resources.MODEL_TIMES, which the memory preflight counts on.
"""

import json
import os
import shutil
import statistics
import sys

from tests.bench import harness

ROUNDS = 2  # what a process holds hardly differs from run to run, and nothing has to become warm
TARGET = 2.5
PYTHON = [sys.executable, "-m"]
ENVIRONMENT = dict(os.environ, PYTHONPATH=os.path.join(harness.ROOT, "runtime", "src"), CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")
VARIANTS = {"grappler": [], "tflite FP32": ["--precision", "FP32"], "tflite FP16": ["--precision", "FP16"]}
# Weights in variables, as TensorFlow 2 saves them, and as constants of one graph.
MAKE = """
import sys, numpy as np, tensorflow as tf
folder, width, layers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
module = tf.Module()
module.weights = [tf.Variable(np.random.RandomState(n).normal(0, width ** -0.5, (width, width)).astype(np.float32)) for n in range(layers)]
def call(x):
    for weights in module.weights:
        x = tf.nn.relu(tf.matmul(x, weights))
    return {"y": x}
tf.saved_model.save(module, folder, {"serving_default": tf.function(call, input_signature=[tf.TensorSpec([None, width], tf.float32, name="x")])})
"""


def rows(folder, rounds):
    """The lines of the result, for models made in the folder."""
    sizes = {"small": (16, 2), "large": (2048, 16)}  # 2 kB; 256 MiB of weights
    for name, (width, layers) in sizes.items():
        harness.run_process([sys.executable, "-c", MAKE, os.path.join(folder, name), str(width), str(layers)], ENVIRONMENT)
    model = sum(os.path.getsize(os.path.join(place, name)) for place, _, names in os.walk(os.path.join(folder, "large")) for name in names)
    for variant, options in VARIANTS.items():
        found = {name: [peak(folder, name, variant, options) for _ in range(min(rounds, ROUNDS))] for name in sizes}
        base = statistics.median(found["small"])
        yield harness.row("%s: memory by the model's size" % variant, "times", [(value - base) / model for value in found["large"]], target=TARGET)
        yield harness.row("%s: TensorFlow itself" % variant, "MiB", [value / 2**20 for value in found["small"]])


def peak(folder, name, variant, options):
    """Bytes that the conversion held at most."""
    dest = os.path.join(folder, "variant")
    shutil.rmtree(dest, ignore_errors=True)
    command = [*PYTHON, "tfleet", "convert", os.path.join(folder, name), dest, "--variant", variant.split()[0], *options, "--json"]
    return json.loads(harness.run_process(command, ENVIRONMENT)[3])["peak_bytes"]

