"""What people get wrong: each gets a sentence, and no folder."""

import os
import shutil

import numpy as np
import pytest

from tfleet.convert.export import export
from tfleet.errors import TfleetError

from .conftest import DETECTOR, LINEAR, append, read, refused


@pytest.mark.parametrize(
    "tensor, words, candidates",
    [
        ("y", ["names an operation, not a tensor", "Write `y:0`"], ["y:0"]),
        ("y:1", ["there is no tensor `y:1`", "has 1 output"], ["y:0"]),
        ("import/y:0", ["there is no tensor `import/y:0`", "`y:0`"], ["y:0"]),
        ("scores:0", ["The nearest are `head/scores:0`"], ["head/scores:0"]),
        ("Head/Scroes:0", ["`head/scores:0`"], ["head/scores:0"]),
        ("zzz:0", ["tfleet inspect"], []),
        ("y:x", ["there is no tensor `y:x`"], ["y:0"]),
        ("", ["there is no tensor ``"], []),
    ],
)
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


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is empty"),
        (b"\x0a\xff\xff\xff\xff\xff\xff", "is not a graph"),
        (b"\x00" * 100, "is not a graph"),
        (bytes(bytearray(range(256))) * 50, "is not a graph"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>Sign in</html>", "web page"),
        (b"\x1c\x00\x00\x00TFL3" + b"\0" * 50, "TensorFlow Lite"),
        (b'node {\n  name: "x"\n}\n', "does not end in .pbtxt"),
        (b"\x0a\x04" + b"\x0a\x02\x0a\x00" * 1000, "is not a graph"),
    ],
)
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
    for change, words in (
        (lambda graph_def, y: setattr(y, "op", "MyCompanyOp"), ["operations", "`MyCompanyOp`", tf.__version__]),
        (lambda graph_def, y: setattr(y.attr["T"], "type", 99), ["cannot import", "99"]),
        (lambda graph_def, y: setattr(graph_def.versions, "min_consumer", 10**6), ["newer TensorFlow"]),
    ):
        graph_def = tf.compat.v1.GraphDef.FromString(read(linear))
        change(graph_def, next(node for node in graph_def.node if node.name == "y"))
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
