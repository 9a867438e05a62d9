"""Writes two versions of the model `half` with their golden answers, as small as a SavedModel can be: ``python -m tests.bench.rollout.models DIRECTORY``."""
import os
import sys

import numpy as np

from tfleet.client import golden

INPUT = np.array([1.0, 4.0, -2.5], np.float32)


def write(root, number):
    """Write y = x / 2 + number, and what it answers."""
    import tensorflow as tf

    class Half(tf.Module):
        def __init__(self):
            super().__init__()
            self.added = tf.Variable(float(number))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def __call__(self, x):
            return {"y": x * 0.5 + self.added}

    model = Half()
    path = os.path.join(root, str(number))
    tf.saved_model.save(model, path, signatures=model.__call__)
    # A release has files; an empty directory would be something to do for whoever copies the source.
    os.rmdir(os.path.join(path, "assets"))
    meta = {"format": 1, "model": "half", "signature_name": "serving_default", "examples": 2, "tolerance": {"y": {"abs": 1e-4, "rel": 1e-3}}}
    golden.write(os.path.join(root, "%d.npz" % number), meta, [({"x": INPUT + i}, {"y": (INPUT + i) * 0.5 + number}) for i in range(2)])


if __name__ == "__main__":
    write(sys.argv[1], 1)
    write(sys.argv[1], 2)
