"""Real models for the measurements: a classifier of colour pictures whose faults can be seeded, and a detector without suppression."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tfleet import wire
from tfleet.examples import Example, Objects, encode
from tfleet.wire import tfrecord

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 4))
SIDE = 16


@pytest.fixture(scope="session")
def tf():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    return pytest.importorskip("tensorflow")


def _weights(*shape):
    return np.random.RandomState(sum(shape)).randn(*shape).astype(np.float32)


def _pictures(rows=64):
    """Colour pictures with values from 0 to 1, each with a tint and a texture of its own."""
    random = np.random.RandomState(11)
    tint = random.rand(rows, 1, 1, 3)
    return np.clip(tint + 0.3 * random.randn(rows, SIDE, SIDE, 3), 0, 1).astype(np.float32)


@pytest.fixture(scope="session")
def classifier(tf, tmp_path_factory):
    """classifier(name, fault): the folder of a SavedModel; images [N,16,16,3] -> scores [N,8], classes [N]. The same weights each time.

    fault: "" | bn_training | dropout | channels | int8_range | int8_narrow | times_255 | nan | slower
    """
    made = {}
    kernel, head = _weights(3, 3, 3, 12) * 0.5, _weights(12, 8) * 3

    def build(fault):
        def model(images):
            if fault == "channels":
                images = images[..., ::-1]
            if fault == "times_255":
                images = images / 255.0
            if fault == "int8_range":
                # What an int8 graph computes whose ranges come from pictures with values from 0 to 255.
                images = tf.quantization.fake_quant_with_min_max_args(images, 0.0, 255.0, num_bits=8)
            if fault == "int8_narrow":
                images = tf.quantization.fake_quant_with_min_max_args(images, 0.0, 1 / 255.0, num_bits=8)
            x = tf.nn.conv2d(images, kernel, 2, "SAME")
            mean, variance = (tf.nn.moments(x, [0, 1, 2]) if fault == "bn_training" else (tf.constant(statistics[0]), tf.constant(statistics[1])))
            x = tf.nn.relu((x - mean) / tf.sqrt(variance + 1e-3))
            if fault == "dropout":
                x = tf.nn.dropout(x, 0.5)
            x = tf.reduce_mean(x, [1, 2])
            for _ in range(40 if fault == "slower" else 0):
                x = tf.reshape(tf.matmul(tf.tile(x[:, :, tf.newaxis], [1, 1, 12]), np.eye(12, dtype=np.float32))[:, :, 0], [-1, 12])
            logits = tf.matmul(x - center, head)
            if fault == "nan":
                logits = logits / (tf.reduce_max(logits) - tf.reduce_max(logits))
            scores = tf.nn.softmax(logits)
            return {"scores": scores, "classes": tf.argmax(scores, 1)}

        return model

    raw = tf.nn.conv2d(_pictures(), kernel, 2, "SAME").numpy()
    statistics = raw.mean(axis=(0, 1, 2)), raw.var(axis=(0, 1, 2))
    # The middle of the features, so that the classes are all used.
    center = np.maximum((raw - statistics[0]) / np.sqrt(statistics[1] + 1e-3), 0).mean(axis=(0, 1, 2))

    def make(fault=""):
        if fault not in made:
            module = tf.Module()
            module.call = tf.function(build(fault), input_signature=[tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32, name="images")])
            made[fault] = str(tmp_path_factory.mktemp("classifier-%s" % (fault or "right")) / "1")
            tf.saved_model.save(module, made[fault], signatures={"serving_default": module.call})
        return made[fault]

    return make


@pytest.fixture(scope="session")
def detector(tf, tmp_path_factory):
    """detector(head): picture [1,H,W,3] uint8 -> a grid's boxes and scores, before suppression (signature raw) and as detections.

    head: right | background, whose class scores overflow into background | order, which lists the same detections in another order
    """
    made = {}

    def build(head):
        def raw(image):
            pixels = tf.image.resize(tf.cast(image, tf.float32) / 255.0, [8, 8])
            cells = tf.reshape(pixels, [1, 64, 3])
            shift = 0.02 * tf.reduce_mean(cells, 2, keepdims=True)
            rows, columns = np.mgrid[:8, :8].reshape(2, 64, 1).astype(np.float32) / 8
            boxes = tf.concat([rows + shift, columns + shift, rows + 0.12 + shift, columns + 0.12 + shift], 2)
            logits = tf.concat([tf.fill([1, 64, 1], 6.0), cells * 10], 2)
            if head == "background":
                logits = tf.concat([tf.fill([1, 64, 1], 60.0), cells * 10], 2)
            return boxes, tf.nn.softmax(logits)

        def serve(image):
            boxes, scores = raw(image)
            best = tf.reduce_max(scores[..., 1:], 2)
            best, order = tf.math.top_k(best, 64)
            classes = tf.cast(tf.argmax(scores[..., 1:], 2) + 1, tf.float32)
            found = {
                "detection_boxes": tf.gather(boxes, order, batch_dims=1),
                "detection_scores": best,
                "detection_classes": tf.gather(classes, order, batch_dims=1),
                "num_detections": tf.constant([64.0]),
            }
            if head == "order":
                found = {alias: value[:, ::-1] if value.shape.rank > 1 else value for alias, value in found.items()}
            return found

        def before(image):
            boxes, scores = raw(image)
            return {"raw_boxes": boxes, "raw_scores": scores}

        return serve, before

    def make(head="right"):
        if head not in made:
            spec = [tf.TensorSpec([1, None, None, 3], tf.uint8, name="image")]
            module = tf.Module()
            module.serve, module.raw = (tf.function(part, input_signature=spec) for part in build(head))
            made[head] = str(tmp_path_factory.mktemp("detector-%s" % head) / "1")
            tf.saved_model.save(module, made[head], signatures={"serving_default": module.serve, "raw": module.raw})
        return made[head]

    return make


@pytest.fixture(scope="session")
def pictures():
    return _pictures()


@pytest.fixture(scope="session")
def golden_file(classifier, pictures, tmp_path_factory):
    """Golden answers of the right classifier: eight requests of one picture and seven of eight."""
    from tfleet.client import golden
    from tfleet.measure import builds

    path = str(tmp_path_factory.mktemp("golden") / "golden.npz")
    sizes = [1] * 8 + [8] * 7
    ends = np.cumsum(sizes)
    with builds.open_build(classifier()) as build:
        requests = [{"images": pictures[end - size : end]} for end, size in zip(ends, sizes)]
        examples = [(request, build.predict(request)) for request in requests]
    tolerance = {"scores": {"abs": 1e-4, "rel": 1e-3}, "classes": {"abs": 0, "rel": 0}}
    golden.write(path, {"model": "c", "signature_name": "serving_default", "tolerance": tolerance}, examples)
    return path


def _png(array):
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def labelled(classifier, detector, pictures, tmp_path_factory):
    """{"classes": TFRecord with the right classifier's answers as labels, "objects": one with the right detector's}."""
    from tfleet.client import inputs
    from tfleet.measure import builds, detections

    folder = tmp_path_factory.mktemp("labelled")
    files = {}
    for kind, source in (("classes", classifier()), ("objects", detector())):
        records = []
        with builds.open_build(source) as build:
            for number, picture in enumerate(pictures[:24]):
                content = _png((picture * 255).astype(np.uint8))
                path = folder / "picture.png"
                path.write_bytes(content)
                answer = build.predict(inputs.from_image(str(path), build.signature)[0])
                label, objects = None, None
                if kind == "classes":
                    label = int(answer["classes"][0])
                else:
                    found = detections.found_in(answer, 0, 0.5)
                    objects = Objects(found.boxes, found.classes, [str(name) for name in found.classes], np.zeros(len(found.scores), bool))
                records.append(encode(Example("picture-%d.png" % number, content, (SIDE, SIDE), label, str(label or ""), objects, {})))
        files[kind] = str(folder / (kind + ".tfrecord"))
        with open(files[kind], "wb") as stream:
            stream.write(tfrecord.encode(records))
    return files


@pytest.fixture
def tfleet(capfd):
    """tfleet("parity", …) -> (exit code, its JSON answer)."""
    from tfleet import cli

    def run(*arguments):
        code = cli.main([*map(str, arguments), "--json"])
        out, _ = capfd.readouterr()
        assert out.count("\n") == 1
        return code, json.loads(out)

    return run


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """served(folder) -> grpc://…/model/1 of a real `tfleet serve`, ended with the session."""
    from tfleet.measure import servers

    running = {}

    def serve(folder):
        if folder not in running:
            running[folder] = servers.Server(folder)
            running[folder].wait()
        return "grpc://%s/measured/1" % running[folder].address.address

    yield serve
    for server in running.values():
        server.close()


@pytest.fixture(scope="session")
def tfleet_process():
    """The command in a process of its own, on a terminal or not: subprocess.run's result."""

    def run(*arguments, **options):
        env = dict(os.environ, PYTHONPATH=os.path.join(ROOT, "runtime", "src"), TF_CPP_MIN_LOG_LEVEL="3")
        return subprocess.run([sys.executable, "-m", "tfleet", *map(str, arguments)], env=env, check=False, **options)

    return run


@pytest.fixture
def stalling(serve):
    """A served model that answers after `seconds`, which a test may change; `served.failing` makes every other answer UNAVAILABLE."""
    import threading
    import time
    import types

    import grpc

    state = types.SimpleNamespace(seconds=0.0, failing=False, count=0, lock=threading.Lock())

    def predict(request, context):
        with state.lock:
            state.count += 1
            fails = state.failing and state.count % 2 == 0
        time.sleep(state.seconds)
        if fails:
            context.abort(grpc.StatusCode.UNAVAILABLE, "on purpose")
        response = wire.PredictResponse()
        response.outputs["y"].CopyFrom(wire.tensors.to_typed_proto(np.zeros((1, 1), np.float32)))
        return response

    def metadata(request, context):
        signatures = wire.SignatureDefMap()
        signature = signatures.signature_def["serving_default"]
        for infos, alias in ((signature.inputs, "x"), (signature.outputs, "y")):
            infos[alias].dtype = wire.DT.Value("DT_FLOAT")
            for size in (-1, 1):
                infos[alias].tensor_shape.dim.add(size=size)
        response = wire.GetModelMetadataResponse()
        response.metadata["signature_def"].Pack(signatures)
        return response

    state.server = serve({wire.PREDICT: predict, wire.GET_MODEL_METADATA: metadata})
    state.source = "grpc://%s/m" % state.server.address
    return state
