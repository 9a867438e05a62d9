"""The runtime on whatever Python and TensorFlow run this file: export, inspect, serve, predict. Prints one JSON object.

Standard library, NumPy and TensorFlow only, Python 3.6: it runs inside L4T containers as it is. `tfleet` must be importable.
Exit status 0 if every step did what it should; the first step that did not is named in the JSON.
"""

import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

TF1 = tf.compat.v1
SIGNATURES = {"serving_default": {"inputs": {"features": "x:0"}, "outputs": {"scores": "scores:0", "best": "best:0"}}}
FEATURES = [[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]]
WEIGHTS = np.arange(6, dtype=np.float32).reshape(3, 2) - 2


class StepError(Exception):
    """A step did not do what it should."""


def expect(condition, *told):
    if not condition:
        raise StepError(" ".join(str(item) for item in told))


def tfleet(*args):
    """The answer of one command, whether it succeeded or not."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tfleet"] + [str(arg) for arg in args] + ["--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    stdout, stderr = process.communicate(timeout=300)
    try:
        answer = json.loads(stdout)
    except ValueError:
        raise StepError("tfleet %s ended with %d and without JSON: %s%s" % (args[0], process.returncode, stdout[-500:], stderr[-2000:]))
    expect(process.returncode == (0 if answer["ok"] else 1), "exit status", process.returncode, "of", args[0])
    return answer


def succeed(*args):
    answer = tfleet(*args)
    expect(answer["ok"], "tfleet", args[0], "said:", answer.get("msg"))
    return answer


def expected_scores():
    logits = np.dot(np.array(FEATURES, np.float32), WEIGHTS)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def frozen_graph(folder):
    """A classifier as TensorFlow 1 authors freeze it."""
    path = os.path.join(folder, "frozen.pb")
    with TF1.Session(graph=tf.Graph()) as session:
        x = TF1.placeholder(tf.float32, [None, 3], "x")
        w = TF1.get_variable("w", initializer=WEIGHTS, use_resource=False)
        scores = tf.nn.softmax(tf.matmul(x, w), name="scores")
        tf.argmax(scores, 1, name="best")
        session.run(TF1.global_variables_initializer())
        graph_def = TF1.graph_util.convert_variables_to_constants(session, session.graph_def, ["scores", "best"])
    with open(path, "wb") as stream:
        stream.write(graph_def.SerializeToString())
    return path


def check_export(folder, report):
    source, dest = frozen_graph(folder), os.path.join(folder, "classifier", "1")
    refusal = tfleet("export", source, dest)
    expect(not refusal["ok"] and refusal["proposal"] == {"serving_default": {"inputs": {"x": "x:0"}, "outputs": {"best": "best:0"}}}, "the proposal:", refusal)
    wrong = tfleet("export", source, dest, "--input", "features=x", "--output", "best=best:0")
    expect(not wrong["ok"] and wrong["candidates"] == ["x:0"], "a tensor without :0:", wrong)
    made = succeed("export", source, dest, "--signatures", json.dumps(SIGNATURES))
    expect(
        made["changed"] and made["signatures"]["serving_default"]["inputs"]["features"] == {"name": "x:0", "dtype": "float32", "shape": [-1, 3]},
        "signature:",
        made,
    )
    again = succeed("export", source, dest, "--signatures", json.dumps(SIGNATURES))
    expect(again == dict(made, changed=False), "the second export:", again)
    other = os.path.join(folder, "other")
    succeed("export", source, other, "--signatures", json.dumps(SIGNATURES))
    with open(os.path.join(dest, "saved_model.pb"), "rb") as one, open(os.path.join(other, "saved_model.pb"), "rb") as two:
        expect(one.read() == two.read(), "two exports have different bytes")
    with TF1.Session(graph=tf.Graph()) as session:
        TF1.saved_model.load(session, ["serve"], dest)
        found = session.run("scores:0", {"x:0": FEATURES})
    expect(np.allclose(found, expected_scores(), atol=1e-6), "scores of the exported model:", found.tolist())
    report["export"] = {"fingerprint": made["fingerprint"], "bytes": made["bytes"]}
    return source, dest


def check_inspect(source, dest, report):
    candidates = succeed("inspect", source)["candidates"]
    expect([entry["name"] for entry in candidates["inputs"]] == ["x:0"] and candidates["inputs"][0]["shape"] == [-1, 3], "candidates:", candidates)
    told = succeed("inspect", dest)["meta_graphs"][0]
    expect(told["tags"] == ["serve"] and sorted(told["signatures"]["serving_default"]["outputs"]) == ["best", "scores"], "inspect:", told)
    report["inspect"] = {"tensorflow_version": told["tensorflow_version"], "ops": told["ops"]}


def check_other_sources(folder, report):
    """A SavedModel with a variable and other signatures; a Keras file where this TensorFlow can have one, a sentence where not."""
    saved = os.path.join(folder, "saved")
    with TF1.Session(graph=tf.Graph()) as session:
        x = TF1.placeholder(tf.float32, [None, 3], "x")
        y = tf.matmul(x, TF1.get_variable("w", initializer=WEIGHTS, use_resource=False), name="y")
        session.run(TF1.global_variables_initializer())
        builder = TF1.saved_model.Builder(saved)
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": TF1.saved_model.predict_signature_def({"x": x}, {"y": y})})
        builder.save()
    dest = os.path.join(folder, "declared")
    made = succeed("export", saved, dest, "--input", "features=x:0", "--output", "logits=y:0", "--signature-name", "raw")
    expect(list(made["signatures"]) == ["raw"], "declared signatures:", made)
    with TF1.Session(graph=tf.Graph()) as session:
        TF1.saved_model.load(session, ["serve"], dest)
        expect(np.allclose(session.run("y:0", {"x:0": FEATURES}), np.dot(FEATURES, WEIGHTS)), "variables were lost")
    keras = os.path.join(folder, "model.h5")
    tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,), name="scores")]).save(keras)
    answer = tfleet("export", keras, os.path.join(folder, "keras"))
    if tf.__version__.startswith("1."):
        expect(not answer["ok"] and "needs TensorFlow 2" in answer["msg"], "a Keras file on TensorFlow 1:", answer)
    else:
        expect(answer["ok"] and list(answer["signatures"]["serving_default"]["outputs"]) == ["scores"], "a Keras file:", answer)
    report["other_sources"] = ["saved_model", "keras: " + ("made" if answer["ok"] else "refused with a sentence")]


def check_variants(folder, source, report):
    """Variants for the CPU, really made and asked; and TF-TRT's constructor, which takes the arguments that we would give it."""
    report["variants"] = {}
    for kind, name in (("grappler", "grappler"), ("tflite", "tflite-float32")):
        dest = os.path.join(folder, kind)
        made = succeed("convert", source, dest, "--variant", kind)
        expect(made["changed"] and made["variant"] == name, "the variant", kind, ":", made)
        expect(not succeed("convert", source, dest, "--variant", kind)["changed"], "the second conversion to", kind, "changes something")
        report["variants"][name] = made["summary"]
    with TF1.Session(graph=tf.Graph()) as session:
        TF1.saved_model.load(session, ["serve"], os.path.join(folder, "grappler"))
        found = session.run("scores:0", {"x:0": FEATURES})
    expect(np.allclose(found, expected_scores(), atol=1e-6), "scores of the folded graph:", found.tolist())
    interpreter = tf.lite.Interpreter(model_path=os.path.join(folder, "tflite", "model.tflite"))
    place = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(place, [2, 3])
    interpreter.allocate_tensors()
    interpreter.set_tensor(place, np.array(FEATURES, np.float32))
    interpreter.invoke()
    scores = [detail["index"] for detail in interpreter.get_output_details() if detail["dtype"] == np.float32]
    expect(np.allclose(interpreter.get_tensor(scores[0]), expected_scores(), atol=1e-5), "scores of TensorFlow Lite")
    refusal = tfleet("convert", source, os.path.join(folder, "tftrt"), "--variant", "tftrt", "--hardware-class", "here")
    expect(not refusal["ok"] and "was made without TF-TRT" in refusal["msg"], "TF-TRT in a build without it:", refusal)
    check_constructor(report)


def check_constructor(report):
    from tensorflow.python.compiler.tensorrt import trt_convert

    from tfleet.convert.variants import forms, request

    kind = forms.converter_class(trt_convert)
    asked = request.new("tftrt", "FP16", hardware_class="here", batch_sizes=[1, 8], workspace_bytes=2 ** 25)
    form = forms.form_of(kind, getattr(trt_convert, "DEFAULT_TRT_CONVERSION_PARAMS", None), asked, "/model")
    inspect.signature(kind.__init__).bind(None, **form.arguments)
    expect(form.left_out == [] and form.version == (1 if tf.__version__.startswith("1.") else 2), "the constructor's form:", form)
    report["constructor"] = {"class": kind.__name__, "arguments": sorted(form.arguments)}


def check_fitting(folder, report):
    """A checkpoint as training leaves it becomes a SavedModel whose loop takes files; a seeded fault is told with its node."""
    prefix = os.path.join(folder, "training")
    with TF1.Session(graph=tf.Graph()) as session:
        pixels = TF1.placeholder(tf.uint8, [1, None, None, 3], "pixels")
        weight = TF1.get_variable("weight", [3], initializer=TF1.ones_initializer(), use_resource=True)
        mean = tf.reduce_mean(tf.cast(pixels, tf.float32), [1, 2]) * weight
        tf.identity(mean, name="average")
        tf.identity(TF1.nn.dropout(mean, rate=0.5, name="left_on"), name="worse")
        session.run(TF1.global_variables_initializer())
        TF1.train.Saver().save(session, prefix)
        pictures = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
        files = [session.run(tf.image.encode_png(picture)) for picture in pictures]
    dest = os.path.join(folder, "fitted")
    made = succeed("export", prefix, dest, "--input=pixels=pixels:0", "--output=mean=average:0", "--batch=loop", "--image-bytes=pixels", "--device=clear")
    expect(made["kind"] == "checkpoint" and made["warnings"] == [], made["kind"], made["warnings"])
    with TF1.Session(graph=tf.Graph()) as session:
        signature = TF1.saved_model.load(session, ["serve"], dest).signature_def["serving_default"]
        answer = session.run(signature.outputs["mean"].name, {signature.inputs["image_bytes"].name: files})
    expect(np.allclose(answer, pictures.mean(axis=(1, 2))), "the loop over files answered", answer.tolist())
    spoiled = succeed("export", prefix, os.path.join(folder, "spoiled"), "--input=pixels=pixels:0", "--output=worse=worse:0")
    told = {warning["code"]: warning["nodes"][0] for warning in spoiled["warnings"]}
    expect(sorted(told) == ["dropout_training", "fixed_batch"] and told["dropout_training"].startswith("left_on/"), told)
    report["fitted"] = True


def check_client(folder, report):
    """What the client does with numpy and Pillow alone: suppression, decoders, preprocessing, resumable lines."""
    from PIL import Image

    from tfleet.client import boxes, decoders, lines, preprocessing

    random = np.random.RandomState(3)
    corners = random.rand(500, 2)
    corners = np.concatenate([corners, corners + 0.1], axis=1).astype(np.float32)
    scores = random.rand(500).astype(np.float32)
    found = boxes.suppress(corners, scores, 500, 0.4)
    shared = boxes.overlaps(corners[found], corners[found])
    expect((shared[np.triu_indices(len(found), 1)] <= 0.4).all(), "boxes that overlap were chosen")
    left = np.setdiff1d(np.arange(500), found)
    expect((boxes.overlaps(corners[left], corners[found]).max(axis=1) > 0.4).all(), "boxes were left out for no reason")
    soft, lowered = boxes.suppress_softly(corners, scores, 20)
    expect(len(soft) == 20 and (np.diff(lowered) <= 0).all(), "soft suppression:", lowered)
    anchors = decoders.ssd_anchors([[4, 4], [2, 2]])
    raw = {"raw_boxes": np.zeros((1, len(anchors), 4), np.float32), "raw_scores": random.randn(1, len(anchors), 3).astype(np.float32)}
    decoded = decoders.decode(raw, decoders.DEFAULTS["ssd"]._replace(anchors=anchors), (9, 9), boxes.DEFAULT)
    expect(int(decoded["num_detections"][0]) > 0, "an SSD decoder found nothing")
    how = preprocessing.DEFAULT._replace(size=(20, 30), fit="letterbox", colours="BGR")
    array, placement = preprocessing.pixels(Image.new("RGB", (10, 10), "red"), [-1, -1, 3], np.dtype(np.float32), how, "x")
    expect(array.shape == (20, 30, 3) and array[10, 15].tolist() == [0, 0, 1] and placement.width < 1, "a letterbox:", array.shape, placement)
    path = os.path.join(folder, "lines.jsonl")
    with lines.Lines(path, "jsonl", "m") as output:
        output.write([{"image": "a", "model": "m"}])
    with open(path, "a") as stream:
        stream.write('{"image": "to')
    with lines.Lines(path, "jsonl", "m") as output:
        expect(output.done == {"a"}, "done:", output.done)
    report["client"] = {"chosen": len(found), "pillow": Image.__version__, "numpy": np.__version__}


def free_port():
    listener = socket.socket()
    try:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
    finally:
        listener.close()


def check_server(folder, dest, report):
    """Serve the exported model and ask it over gRPC and REST, as tfleet's own client does."""
    port, rest_port = free_port(), free_port()
    with open(os.path.join(folder, "server.log"), "w+") as log:
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tfleet",
                "serve",
                "--port=%d" % port,
                "--rest_api_port=%d" % rest_port,
                "--model_name=classifier",
                "--model_base_path=%s" % os.path.dirname(dest),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            succeed("status", "--address", "127.0.0.1:%d" % port, "--wait", "classifier=1", "--timeout", 120)
            report["served"] = {}
            for protocol, number in (("grpc", port), ("rest", rest_port)):
                answer = succeed(
                    "predict",
                    "--address",
                    "127.0.0.1:%d" % number,
                    "--protocol",
                    protocol,
                    "--model",
                    "classifier",
                    "--version",
                    1,
                    "--input",
                    "features=" + json.dumps(FEATURES),
                )
                scores = answer["outputs"]["scores"]["values"]
                expect(np.allclose(scores, expected_scores().ravel(), atol=1e-6), "scores over", protocol, ":", answer)
                report["served"][protocol] = {"outputs": answer["outputs"], "latency_ms": answer["latency_ms"]}
            server.send_signal(signal.SIGTERM)
            report["served"]["exit_status"] = server.wait(60)
            expect(report["served"]["exit_status"] in (0, -signal.SIGTERM), "the server ended with", report["served"]["exit_status"])
        except (StepError, subprocess.TimeoutExpired) as error:
            log.seek(0)
            raise StepError("%s\nThe server's log ends:\n%s" % (error, log.read()[-3000:]))
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()


def main():
    """Run all steps; return the exit status."""
    report = {"ok": True, "python": sys.version.split()[0], "tensorflow": tf.__version__}
    with tempfile.TemporaryDirectory() as folder:
        try:
            source, dest = check_export(folder, report)
            check_inspect(source, dest, report)
            check_other_sources(folder, report)
            check_variants(folder, dest, report)
            check_fitting(folder, report)
            check_client(folder, report)
            check_server(folder, dest, report)
        except StepError as error:
            report.update(ok=False, msg=str(error))
    print(json.dumps(report, sort_keys=True))
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
