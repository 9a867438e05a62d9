"""Writes the SavedModels that the server benchmark serves: `python -m tests.bench.server.models DIRECTORY`.

In a process of its own, so that TensorFlow's threads and memory end with it. Weights are random, from a fixed seed.
"""

import os
import sys

RECURRENT_WIDTH = 4096
RECURRENT_STEPS = 12
IMAGES = [16, 300, 300, 3]


def _save(path, function, spec, *variables):
    import tensorflow as tf

    module = tf.Module()
    module.held = list(variables)
    module.call = tf.function(function, input_signature=[spec])
    tf.saved_model.save(module, path, signatures=module.call)


def cnn(tf, path):
    """A MobileNetV2 at 224x224: about 300 million multiplications for a picture."""
    network = tf.keras.applications.MobileNetV2(weights=None)
    # tf.saved_model.save of a Keras 3 model makes one that no TensorFlow Serving finds the variables of.
    archive = tf.keras.export.ExportArchive()
    archive.track(network)
    spec = tf.TensorSpec([None, 224, 224, 3], tf.float32, "images")
    archive.add_endpoint("serving_default", lambda images: {"scores": network(images, training=False)}, [spec])
    archive.write_out(path, verbose=False)


def half_plus_two(tf, path):
    """y = x / 2 + 2: all of its time is the server's."""
    a, b = tf.Variable(0.5), tf.Variable(2.0)
    _save(path, lambda x: {"y": x * a + b}, tf.TensorSpec([None], tf.float32, "x"), a, b)


def first_pixel(tf, path):
    """Takes big pictures and answers a pixel of each: next to no work beside moving the request."""
    scale = tf.Variable(1.0)
    _save(path, lambda images: {"pixels": images[:, 0, 0, :] * scale}, tf.TensorSpec([None] + IMAGES[1:], tf.float32, "images"), scale)


def brighter(tf, path):
    """A picture in, a picture out."""
    scale = tf.Variable(1.0)
    _save(path, lambda images: {"images": images * scale}, tf.TensorSpec([None, None, None, 3], tf.float32, "images"), scale)


def recurrent(tf, path):
    """A recurrent network of 64 MB of weights: one row at a time waits for memory in every step, rows together share it."""
    width = RECURRENT_WIDTH
    weights = tf.Variable(tf.random.stateless_normal([width, width], [1, 2]) / width**0.5)

    def call(state):
        for _ in range(RECURRENT_STEPS):
            state = tf.tanh(tf.matmul(state, weights))
        return {"state": state}

    _save(path, call, tf.TensorSpec([None, width], tf.float32, "state"), weights)


def heavy(tf, path, megabytes, as_constant=False):
    """A model of that size: y is the sum of the weights that x picks. as_constant: the weights stand in the graph, as in frozen ones."""
    values = tf.random.stateless_uniform([megabytes * 1024, 256], [3, 4])  # rows of one KB
    weights = tf.constant(values) if as_constant else tf.Variable(values)
    held = [] if as_constant else [weights]

    def call(x):
        return {"y": tf.reduce_sum(tf.gather(weights, x), -1)}

    _save(path, call, tf.TensorSpec([None], tf.int32, "x"), *held)


def main(directory):
    import tensorflow as tf

    tf.random.set_seed(1)
    for build in (cnn, half_plus_two, first_pixel, brighter, recurrent):
        build(tf, os.path.join(directory, build.__name__, "1"))
    heavy(tf, os.path.join(directory, "heavy_100", "1"), 100)
    for name, as_constant in (("heavy_variables", False), ("heavy_constants", True)):
        heavy(tf, os.path.join(directory, name, "1"), 200, as_constant)


if __name__ == "__main__":
    main(sys.argv[1])
