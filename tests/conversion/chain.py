"""A model of which TensorFlow Lite is certainly the faster form: python chain.py FOLDER writes frozen_graph.pb and golden.npz there.

Three thousand operations on 32 numbers: what they cost is TensorFlow's way of running them, which TensorFlow Lite does not have.
"""

import os
import sys

import numpy as np

from tfleet import cli

OPERATIONS, WIDTH = 1500, 32
SIGNATURES = '{"serving_default": {"inputs": {"x": "x:0"}, "outputs": {"y": "y:0"}}}'


def main(folder):
    import tensorflow as tf

    offsets = np.random.RandomState(5).normal(0, 0.5, (OPERATIONS, WIDTH)).astype(np.float32)
    with tf.Graph().as_default() as graph:
        value = tf.compat.v1.placeholder(tf.float32, [None, WIDTH], "x")
        for offset in offsets:
            value = tf.tanh(value + offset)
        tf.identity(value, "y")
    frozen, saved, golden = (os.path.join(folder, name) for name in ("frozen_graph.pb", "saved", "golden.npz"))
    with open(frozen, "wb") as out:
        out.write(graph.as_graph_def().SerializeToString())
    # The last of so many layers hardly depends on the input, but the tolerance holds for any answer.
    return cli.main(["export", frozen, saved, "--signatures", SIGNATURES]) or cli.main(["golden", saved, golden, "--random", "16", "--model", "chain"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
