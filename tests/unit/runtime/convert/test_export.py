"""tfleet export, on real graphs: what comes out answers as what went in, and every mistake gets a sentence and no folder."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tfleet.convert.export import export
from tfleet.errors import TfleetError

from .conftest import DETECTOR, LINEAR, append, read, refused, tree

# What comes out


def test_a_tf1_frozen_graph_answers_the_same(linear, dest, run_saved_model):
    result = export(linear, dest, declared=LINEAR)
    assert result["changed"] and result["kind"] == "frozen_graph" and result["files"] == 1
    assert result["signatures"]["serving_default"] == {
        "inputs": {"x": {"name": "x:0", "dtype": "float32", "shape": [-1, 3]}},
        "outputs": {"y": {"name": "y:0", "dtype": "float32", "shape": [-1, 2]}},
        "method_name": "tensorflow/serving/predict",
    }
    np.testing.assert_allclose(run_saved_model(dest, x=[[1, 2, 3]])["y"], [[7, 7]])


def test_a_tf2_frozen_function_answers_the_same(function_graph, dest, run_saved_model):
    declared = {
        "serving_default": {"inputs": {"x": "features:0"}, "outputs": {"p": "Identity:0", "best": "Identity_1:0"}},
        "best": {"inputs": {"x": "features:0"}, "outputs": {"best": "Identity_1:0"}},
    }
    result = export(function_graph, dest, declared=declared)
    assert result["signatures"]["best"]["outputs"]["best"] == {"name": "Identity_1:0", "dtype": "int64", "shape": [-1]}
    answer = run_saved_model(dest, x=[[1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(answer["p"], [[0.26894142, 0.73105858]] * 2, rtol=1e-5)
    assert list(run_saved_model(dest, "best", x=[[1, 0, 0]])["best"]) == [1]


def test_a_detector_keeps_its_free_sizes(detector, dest, run_saved_model):
    result = export(detector, dest, declared=DETECTOR)
    assert result["signatures"]["serving_default"]["inputs"]["inputs"] == {"name": "image_tensor:0", "dtype": "uint8", "shape": [1, -1, -1, 3]}
    for height, width in ((20, 30), (7, 5)):
        answer = run_saved_model(dest, inputs=np.full((1, height, width, 3), 255, np.uint8))
        assert answer["num_detections"] == [2]
        np.testing.assert_allclose(answer["detection_scores"], [[0.9, 0.7]])
        np.testing.assert_array_equal(answer["detection_classes"], [[1, 2]])


def test_a_text_graph(tf, linear, dest, tmp_path, run_saved_model):
    from google.protobuf import text_format

    graph_def = tf.compat.v1.GraphDef.FromString(read(linear))
    (tmp_path / "linear.pbtxt").write_text(text_format.MessageToString(graph_def))
    export(str(tmp_path / "linear.pbtxt"), dest, declared=LINEAR)
    np.testing.assert_allclose(run_saved_model(dest, x=[[1, 2, 3]])["y"], [[7, 7]])


def test_an_inner_tensor_can_be_fed(linear, dest, run_saved_model):
    export(linear, dest, declared={"serving_default": {"inputs": {"y": "y:0"}, "outputs": {"s": "head/scores:0"}}})
    np.testing.assert_allclose(run_saved_model(dest, y=[[4, 5]])["s"], [[4, 5]])


def test_a_saved_model_keeps_signatures_variables_and_assets(tf, tf2_saved_model, dest, run_saved_model):
    result = export(tf2_saved_model, dest)
    assert sorted(result["signatures"]) == ["serving_default", "word"]
    assert {"saved_model.pb", "assets/words.txt", "variables/variables.index"} <= set(tree(dest))
    np.testing.assert_allclose(run_saved_model(dest, x=[[1, 0, 0]])["score"], [[2]])
    assert list(run_saved_model(dest, "word", x=[[1, 0, 0], [0, 0, 0]])["word"]) == [b"yes", b"no"]
    assert float(tf.saved_model.load(dest).signatures["serving_default"](x=tf.constant([[1.0, 0, 0]]))["score"]) == 2


def test_a_saved_model_with_other_signatures_tells_every_loader_the_same(tf, tf2_saved_model, dest, run_saved_model):
    from tfleet.convert.inspect import inspect

    own = inspect(tf2_saved_model)["meta_graphs"][0]["signatures"]["word"]
    declared = {"ask": {"inputs": {"features": own["inputs"]["x"]["name"]}, "outputs": {"text": own["outputs"]["word"]["name"]}}}
    result = export(tf2_saved_model, dest, declared=declared)
    assert sorted(result["signatures"]) == ["ask"]
    assert list(run_saved_model(dest, "ask", features=[[1, 0, 0]])["text"]) == [b"yes"]
    loaded = tf.saved_model.load(dest)
    assert list(loaded.signatures) == ["ask"]
    assert loaded.signatures["ask"](features=tf.constant([[0.0, 0, 0]]))["text"].numpy()[0] == b"no"


def test_of_several_graphs_the_tagged_one_is_taken(tf, dest, tmp_path, run_saved_model):
    builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "two"))
    for number, tags in enumerate((["serve"], ["serve", "gpu"])):
        with tf.compat.v1.Session(graph=tf.Graph()) as session:
            x = tf.compat.v1.placeholder(tf.float32, [None], "x")
            w = tf.compat.v1.get_variable("w", [], initializer=tf.compat.v1.ones_initializer(), use_resource=False)
            session.run(tf.compat.v1.global_variables_initializer())
            signature = tf.compat.v1.saved_model.predict_signature_def({"x": x}, {"y": w * x + number})
            if number == 0:
                builder.add_meta_graph_and_variables(session, tags, {"serving_default": signature})
            else:
                builder.add_meta_graph(tags, {"serving_default": signature})
    builder.save()
    error = refused(str(tmp_path / "two"), dest, tags=["gpu"])
    assert "no graph tagged {gpu}" in str(error) and "{gpu, serve}" in str(error)
    export(str(tmp_path / "two"), dest)
    assert list(run_saved_model(dest, x=[3])["y"]) == [3]


@pytest.mark.parametrize("form", [1, 2])
def test_a_keras_file_answers_as_the_model(keras_files, dest, form, run_saved_model):
    model = keras_files[0]
    result = export(keras_files[form], dest)
    assert result["kind"] == "keras"
    signature = result["signatures"]["serving_default"]
    assert signature["inputs"] == {"image": {"name": "image:0", "dtype": "float32", "shape": [-1, 8, 8, 1]}}
    assert signature["outputs"] == {"probabilities": {"name": "probabilities:0", "dtype": "float32", "shape": [-1, 3]}}
    images = np.random.RandomState(0).rand(4, 8, 8, 1).astype(np.float32)
    np.testing.assert_allclose(run_saved_model(dest, image=images)["probabilities"], model(images, training=False), rtol=1e-5)


def test_a_keras_file_with_names_of_our_own(keras_files, dest, run_saved_model):
    export(keras_files[1], dest, declared={"serving_default": {"inputs": {"images": "image:0"}, "outputs": {"scores": "probabilities:0"}}})
    assert run_saved_model(dest, images=np.zeros((2, 8, 8, 1)))["scores"].shape == (2, 3)


def test_two_processes_write_the_same_bytes(linear, detector, keras_files, tf2_saved_model, tmp_path):
    sources = {
        "linear": [linear, "--input", "x=x:0", "--output", "y=y:0"],
        "detector": [detector, "--signatures", json.dumps(DETECTOR)],
        "keras": [keras_files[1]],
        "tf2": [tf2_saved_model],
    }
    program = "import json, sys; from tfleet import cli; sys.exit(max(cli.main(line) for line in json.loads(sys.argv[1])))"
    for number in ("1", "2"):
        lines = [["export", str(source[0]), str(tmp_path / number / name), *source[1:]] for name, source in sources.items()]
        env = dict(os.environ, PYTHONPATH=os.path.join(os.path.dirname(__file__), *[os.pardir] * 4, "runtime", "src"), PYTHONHASHSEED=number)
        assert subprocess.run([sys.executable, "-c", program, json.dumps(lines)], env=env, check=False).returncode == 0
    for name in sources:
        assert tree(tmp_path / "1" / name) == tree(tmp_path / "2" / name), name


def test_provenance_tells_where_it_came_from_and_nothing_of_this_machine(linear, dest):
    result = export(linear, dest, declared=LINEAR)
    text = tree(dest)["assets.extra/tfleet_provenance.json"].decode()
    told = json.loads(text)
    assert told["source"] == "linear.pb" and told["source_sha256"] == result["source_sha256"]
    assert told["options"]["signatures"]["serving_default"]["inputs"] == {"x": "x:0"}
    assert os.path.dirname(linear) not in text and os.uname().nodename not in text


# Again


def test_the_same_again_changes_nothing_and_needs_no_tensorflow(linear, dest, tfleet, tmp_path):
    made = tfleet("export", linear, dest, "--input", "x=x:0", "--output", "y=y:0").answer
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "tensorflow.py").write_text("raise ImportError('TensorFlow was imported')")
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "blocked"), os.path.join(os.path.dirname(__file__), *[os.pardir] * 4, "runtime", "src")])}
    again = tfleet("export", linear, dest, "--input", "x=x:0", "--output", "y=y:0", env=env).answer
    assert again == dict(made, changed=False)


def test_a_dry_run_tells_the_same_and_writes_nothing(linear, dest, tmp_path):
    told = export(linear, dest, declared=LINEAR, dry_run=True)
    assert os.listdir(str(tmp_path)) == []
    assert export(linear, dest, declared=LINEAR) == dict(told)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda dest: append(os.path.join(dest, "extra.txt"), b""), "extra.txt was added"),
        (lambda dest: os.unlink(os.path.join(dest, "saved_model.pb")), "saved_model.pb is missing"),
        (lambda dest: append(os.path.join(dest, "saved_model.pb"), b"x"), "saved_model.pb was changed"),
        (lambda dest: os.unlink(os.path.join(dest, "assets.extra", "tfleet_provenance.json")), "was not made by tfleet export"),
    ],
)
def test_a_folder_changed_since_is_not_touched(linear, dest, change, words):
    export(linear, dest, declared=LINEAR)
    change(dest)
    before = tree(dest)
    assert words in str(refused(linear, dest, declared=LINEAR))
    assert tree(dest) == before


def test_another_source_or_signature_is_not_written_over(linear, detector, dest):
    export(linear, dest, declared=LINEAR)
    assert "of linear.pb with SHA-256" in str(refused(detector, dest, declared=DETECTOR))
    other = {"other": LINEAR["serving_default"]}
    assert "other signatures" in str(refused(linear, dest, declared=other))


def test_a_foreign_folder_is_not_touched(linear, dest):
    os.mkdir(dest)
    export(linear, dest, declared=LINEAR)
    shutil.rmtree(dest)
    os.mkdir(dest)
    append(os.path.join(dest, "thesis.txt"), b"")
    assert "thesis.txt" in str(refused(linear, dest, declared=LINEAR))
    assert list(tree(dest)) == ["thesis.txt"]


# The disk, and the end of the process


def test_a_disk_too_small_is_seen_before(tf2_saved_model, dest, tmp_path):
    shutil.copytree(tf2_saved_model, str(tmp_path / "copy"))
    with open(str(tmp_path / "copy" / "variables" / "variables.data-00000-of-00001"), "ab") as stream:
        stream.truncate(8 * 2**40)
    started = time.time()
    error = refused(str(tmp_path / "copy"), dest)
    assert "too full" in str(error) and error.result["needed"] > 16 * 2**40 and time.time() - started < 5


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(tf2_saved_model, dest, tmp_path, tfleet):
    shutil.copytree(tf2_saved_model, str(tmp_path / "copy"))
    with open(str(tmp_path / "copy" / "assets" / "words.txt"), "ab") as stream:
        stream.write(b"more\n" * 10**5)
    # The limit of a file's size makes write() fail in the middle of a copy as a full disk does.
    process = tfleet("export", tmp_path / "copy", dest, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2 * 10**5,) * 2))
    assert process.returncode == 1 and "The disk is full" in process.answer["msg"]
    assert os.listdir(str(tmp_path)) == ["copy"]


def test_a_folder_that_may_not_be_written(linear):
    with pytest.raises(TfleetError, match=r"(Permission denied|Operation not permitted|Read-only).*user id"):
        export(linear, "/sys/tfleet-test/model", declared=LINEAR)


def test_an_export_killed_at_any_time_leaves_no_half_and_the_next_one_cleans_up(linear, tmp_path):
    dest = tmp_path / "model"
    command = [sys.executable, "-m", "tfleet", "export", linear, str(dest), "--input", "x=x:0", "--output", "y=y:0"]
    env = dict(os.environ, PYTHONPATH=os.path.join(os.path.dirname(__file__), *[os.pardir] * 4, "runtime", "src"))
    # Stopped at its first fsync, when the temporary folder is half written, by a real SIGKILL.
    code = "import os, signal, sys; os.fsync = lambda _number: os.kill(os.getpid(), signal.SIGKILL); from tfleet.cli import main; main(sys.argv[1:])"
    killed = subprocess.run([sys.executable, "-c", code] + command[3:], env=env, stderr=subprocess.DEVNULL, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not dest.exists() and len(os.listdir(str(tmp_path))) == 1
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    assert os.listdir(str(tmp_path)) == ["model"]
