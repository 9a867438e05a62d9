"""Writes the versions of the model `half` for the faults of rollouts: python rollout_models.py DIRECTORY.

1 and 2        y = x / 2 + 1 and y = x / 2 + 2
wrong          y = x / 2 + 9
sometimes      y = x / 2 + 2, and one time in four something else
slow           y = x / 2 + 2, after most of a second of work
deadly         whoever loads it dies: its initialiser is TensorFlow's op Abort
<n>.npz        golden answers of y = x / 2 + n, which every version that comes after 1 is released with
"""

import os
import sys

import numpy as np

from tfleet.client import golden

EXAMPLES = 6
INPUT = np.array([1.0, 4.0, -2.5], np.float32)


def save(path, build, end=None):
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        info = v1.saved_model.utils.build_tensor_info
        y = build(tf, x)
        signature = v1.saved_model.signature_def_utils.build_signature_def({"x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict")
        builder = v1.saved_model.builder.SavedModelBuilder(path)
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, main_op=end(tf) if end else None)
        builder.save()


def plus(number):
    return lambda tf, x: tf.add(x * 0.5, number)


def sometimes(tf, x):
    return tf.add(x * 0.5, tf.where(tf.random.uniform([]) < 0.25, 5.0, 2.0))


def slow(tf, x):
    # Something that no optimiser can leave out: it depends on the input, and the answer on it.
    start = tf.zeros([512, 512]) + x[0]
    work = tf.while_loop(lambda step, _m: step < 150, lambda step, m: (step + 1, tf.tanh(tf.matmul(m, m))), [0, start])[1]
    return tf.add(x * 0.5, 2.0 + 0.0 * tf.reduce_max(work))


def write(root):
    for number in (1, 2):
        save(os.path.join(root, str(number)), plus(float(number)))
        meta = {"format": 1, "model": "half", "signature_name": "serving_default", "examples": EXAMPLES, "tolerance": {"y": {"abs": 1e-4, "rel": 1e-3}}}
        golden.write(os.path.join(root, "%d.npz" % number), meta, [({"x": INPUT + i}, {"y": (INPUT + i) * 0.5 + number}) for i in range(EXAMPLES)])
    save(os.path.join(root, "wrong"), plus(9.0))
    save(os.path.join(root, "sometimes"), sometimes)
    save(os.path.join(root, "slow"), slow)
    save(os.path.join(root, "deadly"), plus(2.0), lambda tf: tf.raw_ops.Abort(error_msg="this model kills its server", exit_without_error=False, name="end"))


if __name__ == "__main__":
    write(sys.argv[1])
