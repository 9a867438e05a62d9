"""Writes the SavedModels and the model.config that the conformance table asks for: python served_models.py DIRECTORY.

Serve them with any TensorFlow Serving to run the table against it:
    tensorflow_model_server --port=8500 --rest_api_port=8501 --model_config_file=DIRECTORY/model.config \
        --allow_version_labels_for_unavailable_models=true --rest_api_timeout_in_ms=1500
Written with TF1 graphs, so that every TensorFlow from 1.15 on writes and loads them.
"""

import os
import sys

CONFIG = """model_config_list {
  config { name: "half" base_path: "%(root)s/half" model_platform: "tensorflow" model_version_policy { all {} }
           version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 } version_labels { key: "gone" value: 9 } }
  config { name: "pair" base_path: "%(root)s/pair" model_platform: "tensorflow" }
  config { name: "types" base_path: "%(root)s/types" model_platform: "tensorflow" }
  config { name: "examples" base_path: "%(root)s/examples" model_platform: "tensorflow" }
  config { name: "slow" base_path: "%(root)s/slow" model_platform: "tensorflow" }
}
"""
TYPES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", "string",
         "float16", "complex64")


def _save(path, build):
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        info = v1.saved_model.utils.build_tensor_info
        signatures = {
            name: v1.saved_model.signature_def_utils.build_signature_def(
                {alias: info(tensor) for alias, tensor in inputs.items()},
                {alias: info(tensor) for alias, tensor in outputs.items()}, "tensorflow/serving/predict")
            for name, (inputs, outputs) in build(tf, v1).items()
        }
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.builder.SavedModelBuilder(path)
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()


def half_plus(path, addend):
    """y = x / 2 + addend, the addend being a variable, x of any length."""

    def build(tf, v1):
        x = v1.placeholder(tf.float32, [None], name="x")
        return {"serving_default": ({"x": x}, {"y": tf.add(x * 0.5, v1.get_variable("addend", initializer=float(addend)), name="y")})}

    _save(path, build)


def pair(path):
    """Two inputs a [None,2] and b [None]; outputs total [None,2] and scaled [None]. A second signature with a scalar."""

    def build(tf, v1):
        a = v1.placeholder(tf.float32, [None, 2], name="a")
        b = v1.placeholder(tf.int64, [None], name="b")
        total = tf.add(a, 1.0, name="total")
        scaled = tf.multiply(b, 10, name="scaled")
        return {
            "serving_default": ({"a": a, "b": b}, {"total": total, "scaled": scaled}),
            "mean": ({"a": a}, {"mean": tf.reduce_mean(a, name="mean")}),
            "uneven": ({"b": b}, {"all": tf.identity(b), "some": b[:1]}),
            "product": ({"a": a}, {"product": tf.matmul(a, tf.constant([[1.0], [1.0]]), name="product")}),
            "nothing": ({}, {"one": tf.constant([1.0], name="one")}),
        }

    _save(path, build)


def types(path):
    """One signature for each dtype: y = x; and image_bytes -> text_bytes."""

    def build(tf, v1):
        answer = {}
        for name in TYPES:
            x = v1.placeholder(getattr(tf, name), None, name="x_" + name)
            answer[name] = ({"x": x}, {"y": tf.identity(x, name="y_" + name)})
        x = v1.placeholder(tf.string, [None], name="x_bytes")
        answer["bytes"] = ({"x": x}, {"y_bytes": tf.identity(x, name="out_bytes")})
        return answer

    _save(path, build)


def examples(path):
    """Takes tf.Examples with the float feature x: scores [x, 2x] of the classes a and b, and the value x / 2 + 2."""

    def build(tf, v1):
        serialized = v1.placeholder(tf.string, [None], name="tf_example")
        x = v1.parse_example(serialized, {"x": v1.FixedLenFeature([1], tf.float32, default_value=[0.0])})["x"]
        scores = tf.concat([x, x * 2.0], 1, name="scores")
        classes = tf.tile([["a", "b"]], [tf.shape(x)[0], 1], name="classes")
        value = tf.add(x * 0.5, 2.0, name="value")
        return {
            "serving_default": ({"inputs": serialized}, {"classes": classes, "scores": scores}),
            "only_scores": ({"inputs": serialized}, {"scores": scores}),
            "regress": ({"inputs": serialized}, {"outputs": value}),
            "wide": ({"inputs": serialized}, {"outputs": scores, "scores": value[0]}),
            "wide_regress": ({"inputs": serialized}, {"outputs": scores}),
            "flat": ({"inputs": serialized}, {"scores": x[:, 0]}),
            "three": ({"inputs": serialized}, {"a": x, "b": scores, "c": value}),
            "odd_input": ({"other": serialized}, {"outputs": value}),
            "odd_output": ({"inputs": serialized}, {"other": value}),
            "two_inputs": ({"inputs": serialized, "more": serialized}, {"outputs": value}),
        }

    _save(path, build)


def slow(path):
    """Counts to n (int64 scalar), one loop step at a time: about 100 000 steps a second."""

    def build(tf, v1):
        n = v1.placeholder(tf.int64, [], name="n")
        count = v1.while_loop(lambda i: i < n, lambda i: i + 1, [tf.constant(0, tf.int64)], parallel_iterations=1, back_prop=False)
        return {"serving_default": ({"n": n}, {"count": tf.identity(count, name="count")})}

    _save(path, build)


def write(root):
    """All models under root, and root/model.config."""
    half_plus(os.path.join(root, "half", "1"), 2)
    half_plus(os.path.join(root, "half", "2"), 3)
    pair(os.path.join(root, "pair", "7"))
    types(os.path.join(root, "types", "1"))
    examples(os.path.join(root, "examples", "3"))
    slow(os.path.join(root, "slow", "1"))
    with open(os.path.join(root, "model.config"), "w") as config:
        config.write(CONFIG % {"root": root})


if __name__ == "__main__":
    write(os.path.abspath(sys.argv[1]))
