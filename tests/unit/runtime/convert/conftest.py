"""Real graphs, made by TensorFlow as their authors make them: TF 1 style, TF 2 frozen functions, the Object Detection API's form."""

import json
import os
import subprocess
import sys

import pytest

from tfleet.convert.export import export
from tfleet.errors import TfleetError

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 4))


LINEAR = {"serving_default": {"inputs": {"x": "x:0"}, "outputs": {"y": "y:0"}}}
DETECTOR = {
    "serving_default": {
        "inputs": {"inputs": "image_tensor:0"},
        "outputs": {name: name + ":0" for name in ("detection_boxes", "detection_scores", "detection_classes", "num_detections")},
    }
}


def read(path):
    with open(str(path), "rb") as stream:
        return stream.read()


def append(path, content):
    with open(path, "ab") as stream:
        stream.write(content)


def tree(path):
    return {
        os.path.relpath(os.path.join(folder, name), path): read(os.path.join(folder, name)) for folder, _folders, names in os.walk(str(path)) for name in names
    }


def refused(*args, **options):
    """The TfleetError of an export that must fail and leave nothing beside its destination."""
    dest = args[1]
    before = sorted(os.listdir(os.path.dirname(dest)))
    with pytest.raises(TfleetError) as caught:
        export(*args, **options)
    assert sorted(os.listdir(os.path.dirname(dest))) == before
    return caught.value


@pytest.fixture
def dest(tmp_path):
    return str(tmp_path / "model")


@pytest.fixture(scope="session")
def tf():
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow

    return tensorflow


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


def _frozen_tf1(tf, build, outputs):
    """What TF 1 authors do: a graph with variables, a session, convert_variables_to_constants."""
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        build()
        session.run(tf.compat.v1.global_variables_initializer())
        return tf.compat.v1.graph_util.convert_variables_to_constants(session, session.graph_def, outputs)


def _write(path, graph_def):
    path.write_bytes(graph_def.SerializeToString())
    return str(path)


@pytest.fixture(scope="session")
def linear(tf, folder):
    """y = x @ ones(3, 2) + 1, TF 1 style, with a `keep_prob` placeholder that only `dropped` needs, and two kinds of helper nodes."""

    def build():
        x = tf.compat.v1.placeholder(tf.float32, [None, 3], "x")
        keep = tf.compat.v1.placeholder(tf.float32, [], "keep_prob")
        w = tf.compat.v1.get_variable("w", [3, 2], initializer=tf.compat.v1.ones_initializer(), use_resource=False)
        y = tf.add(tf.matmul(x, w), 1.0, name="y")
        tf.multiply(y, keep, name="dropped")
        tf.raw_ops.Assert(condition=tf.less(tf.reduce_sum(x), 1e9), data=[x], name="check")
        tf.identity(y, name="head/scores")

    return _write(folder / "linear.pb", _frozen_tf1(tf, build, ["y", "dropped", "head/scores", "check"]))


@pytest.fixture(scope="session")
def unfrozen(tf, folder):
    """The same as a graph with its variables, not frozen."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 3], "x")
        w = tf.compat.v1.get_variable("w", [3, 2], use_resource=True)
        tf.matmul(x, w, name="y")
        return _write(folder / "unfrozen.pb", graph.as_graph_def())


@pytest.fixture(scope="session")
def function_graph(tf, folder):
    """A TF 2 function, frozen by convert_variables_to_constants_v2: two outputs, one of them an argmax."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    w = tf.Variable([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="features")])
    def model(features):
        logits = tf.matmul(features, w)
        return tf.nn.softmax(logits), tf.argmax(logits, 1)

    return _write(folder / "function.pb", convert_variables_to_constants_v2(model.get_concrete_function()).graph.as_graph_def())


@pytest.fixture(scope="session")
def detector(tf, folder):
    """A graph of the Object Detection API's form: image_tensor uint8 [1, ?, ?, 3] to boxes, scores, classes and their number, after NMS."""

    def build():
        image = tf.compat.v1.placeholder(tf.uint8, [1, None, None, 3], "image_tensor")
        size = tf.cast(tf.shape(image)[1:3], tf.float32)
        brightness = tf.reduce_mean(tf.cast(image, tf.float32)) / 255.0 + 0.0 * tf.reduce_sum(size)
        boxes = tf.constant([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.51], [0.5, 0.5, 1.0, 1.0]])
        scores = brightness * tf.constant([0.9, 0.8, 0.7])
        keep = tf.image.non_max_suppression(boxes, scores, 10, iou_threshold=0.5)
        tf.expand_dims(tf.gather(boxes, keep), 0, name="detection_boxes")
        tf.expand_dims(tf.gather(scores, keep), 0, name="detection_scores")
        tf.expand_dims(tf.gather(tf.constant([1.0, 1.0, 2.0]), keep), 0, name="detection_classes")
        tf.cast(tf.reshape(tf.size(keep), [1]), tf.float32, name="num_detections")

    names = ["detection_boxes", "detection_scores", "detection_classes", "num_detections"]
    return _write(folder / "frozen_inference_graph.pb", _frozen_tf1(tf, build, names))


@pytest.fixture(scope="session")
def tf2_saved_model(tf, folder):
    """A TF 2 SavedModel with a variable, a vocabulary as an asset, and two signatures."""
    vocabulary = folder / "words.txt"
    vocabulary.write_text("no\nyes\n")

    class Model(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable([[2.0], [0.0], [1.0]])
            self.table = tf.lookup.StaticHashTable(
                tf.lookup.TextFileInitializer(
                    tf.saved_model.Asset(str(vocabulary)) if hasattr(tf.saved_model, "Asset") else str(vocabulary),
                    tf.int64,
                    tf.lookup.TextFileIndex.LINE_NUMBER,
                    tf.string,
                    tf.lookup.TextFileIndex.WHOLE_LINE,
                ),
                "?",
            )

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
        def score(self, x):
            return {"score": tf.matmul(x, self.w)}

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
        def word(self, x):
            return {"word": self.table.lookup(tf.cast(tf.matmul(x, self.w)[:, 0] > 1.0, tf.int64))}

    model = Model()
    tf.saved_model.save(model, str(folder / "tf2"), signatures={"serving_default": model.score, "word": model.word})
    return str(folder / "tf2")


@pytest.fixture(scope="session")
def keras_files(tf, folder):
    """A small Keras model, saved as .keras and as .h5: input `image`, output layer `probabilities`, with dropout and batch norm."""
    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(7)
    model = tf.keras.Sequential(
        [
            layers.Input((8, 8, 1), name="image"),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax", name="probabilities"),
        ]
    )
    model.save(str(folder / "classifier.keras"))
    model.save(str(folder / "classifier.h5"))
    return model, str(folder / "classifier.keras"), str(folder / "classifier.h5")


@pytest.fixture(scope="session")
def run_saved_model(tf):
    """``run_saved_model(path, signature, **arrays)`` answers as a model server does: loads by tags, feeds and fetches by tensor names."""

    def run(path, signature="serving_default", **arrays):
        with tf.compat.v1.Session(graph=tf.Graph()) as session:
            meta = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
            chosen = meta.signature_def[signature]
            return session.run(
                {alias: info.name for alias, info in chosen.outputs.items()}, {chosen.inputs[alias].name: value for alias, value in arrays.items()}
            )

    return run


@pytest.fixture
def tfleet():
    """``tfleet("export", …)`` runs the command in its own process; returns the finished process with its answer as ``.answer``."""

    def run(*args, **options):
        env = dict(dict(os.environ, PYTHONPATH=os.path.join(ROOT, "runtime", "src")), **options.pop("env", {}))
        process = subprocess.run(
            [sys.executable, "-m", "tfleet"] + [str(arg) for arg in args] + ["--json"],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            check=False,
            **options,
        )
        process.answer = json.loads(process.stdout) if process.stdout else None
        return process

    return run
