"""Writes the SavedModels of the fault tests: python fault_models.py DIRECTORY. Those of served_models.py, and

deadly/1  whoever loads it dies: its initialiser is TensorFlow's op Abort (loading it anywhere else kills that process too)
big/1     y = x / 2 + 2 with 200 MB of variables, so that loading takes a while
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "conformance"))

import served_models

PARTS, PART_MEGABYTES = 4, 50


def deadly(path):
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        info = v1.saved_model.utils.build_tensor_info
        signature = v1.saved_model.signature_def_utils.build_signature_def({"x": info(x)}, {"y": info(x * 2.0)}, "tensorflow/serving/predict")
        builder = v1.saved_model.builder.SavedModelBuilder(path)
        end = tf.raw_ops.Abort(error_msg="this model kills its server", exit_without_error=False, name="end")
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, main_op=end)
        builder.save()


def big(path):
    def build(tf, v1):
        x = v1.placeholder(tf.float32, [None], name="x")
        # Parts so large that each is fresh memory for every allocator.
        parts = [v1.get_variable("part_%d" % i, initializer=tf.fill([PART_MEGABYTES * 250000], 0.5)) for i in range(PARTS)]
        addend = tf.add_n([part[0] for part in parts])
        return {"serving_default": ({"x": x}, {"y": tf.add(x * 0.5, addend, name="y")})}

    served_models._save(path, build)


def write(root):
    served_models.write(root)
    deadly(os.path.join(root, "deadly", "1"))
    big(os.path.join(root, "big", "1"))


if __name__ == "__main__":
    write(sys.argv[1])
