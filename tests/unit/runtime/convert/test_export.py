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

LINEAR = {"serving_default": {"inputs": {"x": "x:0"}, "outputs": {"y": "y:0"}}}
DETECTOR = {"serving_default": {"inputs": {"inputs": "image_tensor:0"}, "outputs": {
    name: name + ":0" for name in ("detection_boxes", "detection_scores", "detection_classes", "num_detections")}}}


def read(path):
    with open(str(path), "rb") as stream:
        return stream.read()


def append(path, content):
    with open(path, "ab") as stream:
        stream.write(content)


def tree(path):
    return {os.path.relpath(os.path.join(folder, name), path): read(os.path.join(folder, name))
            for folder, _folders, names in os.walk(str(path)) for name in names}


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


# What comes out

def test_a_tf1_frozen_graph_answers_the_same(linear, dest, run_saved_model):
    result = export(linear, dest, declared=LINEAR)
    assert result["changed"] and result["kind"] == "frozen_graph" and result["files"] == 1
    assert result["signatures"]["serving_default"] == {
        "inputs": {"x": {"name": "x:0", "dtype": "float32", "shape": [-1, 3]}},
        "outputs": {"y": {"name": "y:0", "dtype": "float32", "shape": [-1, 2]}}, "method_name": "tensorflow/serving/predict"}
    np.testing.assert_allclose(run_saved_model(dest, x=[[1, 2, 3]])["y"], [[7, 7]])


def test_a_tf2_frozen_function_answers_the_same(function_graph, dest, run_saved_model):
    declared = {"serving_default": {"inputs": {"x": "features:0"}, "outputs": {"p": "Identity:0", "best": "Identity_1:0"}},
                "best": {"inputs": {"x": "features:0"}, "outputs": {"best": "Identity_1:0"}}}
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


@pytest.mark.parametrize("source", ["linear", "detector", "keras", "tf2"])
def test_two_processes_write_the_same_bytes(source, linear, detector, keras_files, tf2_saved_model, tmp_path, tfleet):
    path, options = {"linear": (linear, ["--input", "x=x:0", "--output", "y=y:0"]),
                     "detector": (detector, ["--signatures", json.dumps(DETECTOR)]),
                     "keras": (keras_files[1], []), "tf2": (tf2_saved_model, [])}[source]
    for number in (1, 2):
        assert tfleet("export", path, tmp_path / str(number), *options, env={"PYTHONHASHSEED": str(number)}).returncode == 0
    assert tree(tmp_path / "1") == tree(tmp_path / "2")


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


@pytest.mark.parametrize("change, words", [
    (lambda dest: append(os.path.join(dest, "extra.txt"), b""), "extra.txt was added"),
    (lambda dest: os.unlink(os.path.join(dest, "saved_model.pb")), "saved_model.pb is missing"),
    (lambda dest: append(os.path.join(dest, "saved_model.pb"), b"x"), "saved_model.pb was changed"),
    (lambda dest: os.unlink(os.path.join(dest, "assets.extra", "tfleet_provenance.json")), "was not made by tfleet export"),
])
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


# Mistakes

@pytest.mark.parametrize("tensor, words, candidates", [
    ("y", ["names an operation, not a tensor", "Write `y:0`"], ["y:0"]),
    ("y:1", ["there is no tensor `y:1`", "has 1 output"], ["y:0"]),
    ("import/y:0", ["there is no tensor `import/y:0`", "`y:0`"], ["y:0"]),
    ("scores:0", ["The nearest are `head/scores:0`"], ["head/scores:0"]),
    ("Head/Scroes:0", ["`head/scores:0`"], ["head/scores:0"]),
    ("zzz:0", ["tfleet inspect"], []),
    ("y:x", ["there is no tensor `y:x`"], ["y:0"]),
    ("", ["there is no tensor ``"], []),
])
def test_tensor_names(linear, dest, tensor, words, candidates):
    error = refused(linear, dest, declared={"s": {"inputs": {"x": "x:0"}, "outputs": {"out": tensor}}})
    for word in words + ["Signature `s`, output `out`"]:
        assert word in str(error)
    assert error.result["candidates"] == candidates


def test_a_placeholder_that_is_not_fed_is_named(linear, dest):
    error = refused(linear, dest, declared={"s": {"inputs": {"x": "x:0"}, "outputs": {"d": "dropped:0"}}})
    assert "placeholder `keep_prob`" in str(error) and 'keep_prob: "keep_prob:0"' in str(error)


def test_a_graph_without_signatures_gets_a_proposal(detector, dest, tfleet, run_saved_model):
    error = refused(detector, dest)
    assert error.result["proposal"]["serving_default"]["inputs"] == {"image_tensor": "image_tensor:0"}
    assert set(error.result["proposal"]["serving_default"]["outputs"]) == set(DETECTOR["serving_default"]["outputs"])
    assert "image_tensor:0 (uint8 [1, ?, ?, 3])" in str(error)
    command = str(error).rpartition("tfleet export ")[2].replace("DEST", dest).split()
    assert tfleet("export", *command).returncode == 0
    assert run_saved_model(dest, image_tensor=np.zeros((1, 4, 4, 3)))["num_detections"] == [2]


def test_a_graph_that_is_not_frozen(unfrozen, dest):
    error = refused(unfrozen, dest, declared=LINEAR)
    assert "is not frozen" in str(error) and "`w`" in str(error)


@pytest.mark.parametrize("content, words", [
    (b"", "is empty"),
    (b"\x0a\xff\xff\xff\xff\xff\xff", "is not a graph"),
    (b"\x00" * 100, "is not a graph"),
    (bytes(bytearray(range(256))) * 50, "is not a graph"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
    (b"<!DOCTYPE html><html>Sign in</html>", "web page"),
    (b"\x1c\x00\x00\x00TFL3" + b"\0" * 50, "TensorFlow Lite"),
    (b'node {\n  name: "x"\n}\n', "does not end in .pbtxt"),
    (b"\x0a\x04" + b"\x0a\x02\x0a\x00" * 1000, "is not a graph"),
])
def test_files_that_are_no_graph(dest, tmp_path, content, words):
    (tmp_path / "graph.pb").write_bytes(content)
    assert words in str(refused(str(tmp_path / "graph.pb"), dest, declared=LINEAR))


def test_every_truncation_of_a_graph_is_refused(linear, dest, tmp_path):
    content = read(linear)
    for length in range(1, len(content) - 1, max(1, len(content) // 40)):
        (tmp_path / "graph.pb").write_bytes(content[:length])
        error = refused(str(tmp_path / "graph.pb"), dest, declared={"s": {"inputs": {"x": "x:0"}, "outputs": {"s": "head/scores:0"}}})
        assert "is not a graph" in str(error) or "truncated" in str(error), (length, str(error))


def test_bits_flipped_anywhere_never_raise_anything_else(detector, tmp_path):
    content = bytearray(read(detector))
    random = np.random.RandomState(1)
    for number in range(60):
        damaged = bytearray(content)
        for position in random.randint(0, len(content), 1 + number % 5):
            damaged[position] ^= 1 << random.randint(8)
        (tmp_path / "graph.pb").write_bytes(bytes(damaged))
        try:
            export(str(tmp_path / "graph.pb"), str(tmp_path / str(number)), declared=DETECTOR, dry_run=True)
        except TfleetError as error:
            assert str(error).endswith((".", ")", "original.", "candidates."))


def test_deep_nesting_is_refused(dest, tmp_path):
    text = 'node { name: "x" op: "Const" attr { key: "f" value ' + '{ func { name: "g" attr { key: "h" value ' * 2000 + "{ i: 1 }" + " } } }" * 2000 + " } }"
    (tmp_path / "deep.pbtxt").write_text(text)
    assert "is not a graph" in str(refused(str(tmp_path / "deep.pbtxt"), dest, declared=LINEAR))


def test_operations_and_dtypes_this_tensorflow_does_not_have(tf, linear, dest, tmp_path):
    for change, words in ((lambda graph_def, y: setattr(y, "op", "MyCompanyOp"), ["operations", "`MyCompanyOp`", tf.__version__]),
                          (lambda graph_def, y: setattr(y.attr["T"], "type", 99), ["cannot import", "99"]),
                          (lambda graph_def, y: setattr(graph_def.versions, "min_consumer", 10 ** 6), ["newer TensorFlow"])):
        graph_def = tf.compat.v1.GraphDef.FromString(read(linear))
        change(graph_def, [node for node in graph_def.node if node.name == "y"][0])
        (tmp_path / "graph.pb").write_bytes(graph_def.SerializeToString())
        error = refused(str(tmp_path / "graph.pb"), dest, declared=LINEAR)
        for word in words:
            assert word in str(error)


def test_kinds_that_do_not_fit(linear, tf2_saved_model, keras_files, dest, tmp_path):
    assert "say kind saved_model" in str(refused(tf2_saved_model, dest, kind="frozen_graph", declared=LINEAR))
    assert "kind is keras" in str(refused(tf2_saved_model, dest, kind="keras"))
    assert "a SavedModel is the folder" in str(refused(linear, dest, kind="saved_model"))
    assert "give the folder" in str(refused(os.path.join(tf2_saved_model, "saved_model.pb"), dest, declared=LINEAR))
    shutil.copy(os.path.join(tf2_saved_model, "saved_model.pb"), str(tmp_path / "graph.pb"))
    assert "saved_model.pb of a SavedModel" in str(refused(str(tmp_path / "graph.pb"), dest, declared=LINEAR))
    assert "is a Keras file" in str(refused(keras_files[1], dest, kind="frozen_graph", declared=LINEAR))
    (tmp_path / "base").mkdir()
    shutil.copytree(tf2_saved_model, str(tmp_path / "base" / "3"))
    assert str(tmp_path / "base" / "3") in str(refused(str(tmp_path / "base"), dest))
    (tmp_path / "folder").mkdir()
    shutil.copy(linear, str(tmp_path / "folder"))
    assert "It holds the file linear.pb" in str(refused(str(tmp_path / "folder"), dest))


def test_damaged_keras_files(keras_files, dest, tmp_path):
    for path in keras_files[1:]:
        damaged = str(tmp_path / os.path.basename(path))
        append(damaged, read(path)[:3000])
        text = str(refused(damaged, dest))
        assert "damaged" in text


def test_a_keras_model_with_a_lookup_table(tf, dest, tmp_path):
    words = tf.keras.Input((1,), dtype="string", name="word")
    model = tf.keras.Model(words, tf.keras.layers.StringLookup(vocabulary=["a", "b"])(words))
    model.save(str(tmp_path / "words.keras"))
    assert "lookup tables" in str(refused(str(tmp_path / "words.keras"), dest))


@pytest.mark.parametrize("lost", ["variables/variables.index", "variables/variables.data-00000-of-00001", "assets/words.txt"])
def test_a_saved_model_copied_in_part(tf2_saved_model, dest, tmp_path, lost):
    shutil.copytree(tf2_saved_model, str(tmp_path / "copy"))
    os.unlink(str(tmp_path / "copy" / lost))
    error = refused(str(tmp_path / "copy"), dest)
    assert "incomplete" in str(error) and lost.split("/")[1] in str(error)


def test_paths_that_are_not_there(linear, dest, tmp_path):
    near = refused(linear.replace("linear.pb", "liner.pb"), dest, declared=LINEAR)
    assert "`linear.pb`" in str(near) and near.result["missing"]
    assert "does not exist either" in str(refused("/nowhere/model.pb", dest, declared=LINEAR))
    (tmp_path / "file").write_text("")
    assert "is a file" in str(refused(linear, str(tmp_path / "file"), declared=LINEAR))
    with pytest.raises(TfleetError, match="is not a folder"):
        export(linear, str(tmp_path / "file" / "model"), declared=LINEAR)


def test_a_destination_inside_the_source(tf2_saved_model, tmp_path):
    shutil.copytree(tf2_saved_model, str(tmp_path / "copy"))
    assert "lies inside the source" in str(refused(str(tmp_path / "copy"), str(tmp_path / "copy" / "out")))


# The disk, and the end of the process

def test_a_disk_too_small_is_seen_before(tf2_saved_model, dest, tmp_path):
    shutil.copytree(tf2_saved_model, str(tmp_path / "copy"))
    with open(str(tmp_path / "copy" / "variables" / "variables.data-00000-of-00001"), "ab") as stream:
        stream.truncate(8 * 2 ** 40)
    started = time.time()
    error = refused(str(tmp_path / "copy"), dest)
    assert "too full" in str(error) and error.result["needed"] > 16 * 2 ** 40 and time.time() - started < 5


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(tf2_saved_model, dest, tmp_path, tfleet):
    shutil.copytree(tf2_saved_model, str(tmp_path / "copy"))
    with open(str(tmp_path / "copy" / "assets" / "words.txt"), "ab") as stream:
        stream.write(b"more\n" * 10 ** 5)
    # The limit of a file's size makes write() fail in the middle of a copy as a full disk does.
    process = tfleet("export", tmp_path / "copy", dest, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2 * 10 ** 5,) * 2))
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
    code = ("import os, signal, sys; os.fsync = lambda _number: os.kill(os.getpid(), signal.SIGKILL); "
            "from tfleet.cli import main; main(sys.argv[1:])")
    killed = subprocess.run([sys.executable, "-c", code] + command[3:], env=env, stderr=subprocess.DEVNULL)
    assert killed.returncode == -signal.SIGKILL
    assert not dest.exists() and len(os.listdir(str(tmp_path))) == 1
    assert subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    assert os.listdir(str(tmp_path)) == ["model"]
