"""tfleet inspect: the truth about a model, as TensorFlow's own tool tells it, and a table for people."""

import os
import subprocess
import sys

import pytest

from tfleet.convert.export import export
from tfleet.convert.inspect import inspect, render
from tfleet.errors import TfleetError


def test_a_saved_model_as_saved_model_cli_tells_it(tf2_saved_model):
    told = inspect(tf2_saved_model)
    assert told["kind"] == "saved_model" and told["bytes"] > 1000
    (meta,) = told["meta_graphs"]
    assert meta["tags"] == ["serve"] and meta["ops"]["MatMul"] == 2 and meta["ops"]["LookupTableFindV2"] == 1
    cli = subprocess.run(
        [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "show", "--dir", tf2_saved_model, "--all"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        universal_newlines=True,
        check=True,
    ).stdout
    for name, signature in meta["signatures"].items():
        section = cli.partition("signature_def['%s']" % name)[2].partition("signature_def[")[0]
        assert "Method name is: %s" % signature["method_name"] in section
        for info in list(signature["inputs"].values()) + list(signature["outputs"].values()):
            assert "name: %s" % info["name"] in section
            assert "shape: (%s" % ", ".join(str(size) for size in info["shape"]) in section


def test_candidates_of_the_object_detection_api(detector):
    candidates = inspect(detector)["candidates"]
    assert candidates["inputs"] == [{"name": "image_tensor:0", "dtype": "uint8", "shape": [1, -1, -1, 3], "op": "Placeholder"}]
    assert {info["name"]: info["shape"] for info in candidates["outputs"]} == {
        "detection_boxes:0": [1, -1, 4],
        "detection_scores:0": [1, -1],
        "detection_classes:0": [1, -1],
        "num_detections:0": [1],
    }


def test_candidates_leave_out_what_helps_only(linear):
    told = inspect(linear)
    assert [info["name"] for info in told["candidates"]["inputs"]] == ["x:0", "keep_prob:0"]
    assert sorted(info["name"] for info in told["candidates"]["outputs"]) == ["dropped:0", "head/scores:0"]
    assert told["meta_graphs"][0]["ops"]["Assert"] == 1


def test_candidates_of_a_tf2_function(function_graph):
    candidates = inspect(function_graph)["candidates"]
    assert [info["name"] for info in candidates["inputs"]] == ["features:0"]
    assert [(info["name"], info["dtype"], info["shape"]) for info in candidates["outputs"]] == [
        ("Identity:0", "float32", [-1, 2]),
        ("Identity_1:0", "int64", [-1]),
    ]


def test_an_unknown_rank_is_told_as_such(tf, tmp_path):
    with tf.Graph().as_default() as graph:
        tf.identity(tf.compat.v1.placeholder(tf.string, None, "text"), "same")
    (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
    told = inspect(str(tmp_path / "graph.pb"))
    assert told["candidates"]["inputs"][0] == {"name": "text:0", "dtype": "string", "shape": None, "op": "Placeholder"}
    assert "any shape" in render(told)


def test_the_table_for_people(linear, tf2_saved_model, tmp_path):
    export(linear, str(tmp_path / "model"), declared={"serving_default": {"inputs": {"features": "x:0"}, "outputs": {"y": "y:0"}}})
    lines = render(inspect(str(tmp_path / "model"))).splitlines()
    assert "  Signature serving_default  (tensorflow/serving/predict)" in lines
    assert "    input   features  float32  [?, 3]  x:0" in lines
    assert "    output  y         float32  [?, 2]  y:0" in lines
    text = render(inspect(linear))
    assert "output  head/scores:0  float32  [?, 2]  Identity" in text
    assert max(len(line) for line in text.splitlines()[2:]) <= 115
    assert render(inspect(tf2_saved_model)).count("Signature ") == 2


def test_the_command_prints_the_table_or_json(linear, tfleet):
    answer = tfleet("inspect", linear).answer
    assert answer["ok"] is True and answer["path"] == linear and answer["kind"] == "frozen_graph"
    failed = tfleet("inspect", linear + "x")
    assert failed.returncode == 1 and failed.answer["ok"] is False and "`linear.pb`" in failed.answer["msg"]


def test_without_tensorflow_a_sentence(linear, tfleet, tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('No module named tensorflow')")
    root = os.path.join(os.path.dirname(__file__), *[os.pardir] * 4)
    process = tfleet("inspect", linear, env={"PYTHONPATH": os.pathsep.join([str(tmp_path), os.path.join(root, "runtime", "src")])})
    assert process.returncode == 1 and sys.executable in process.answer["msg"] and "tensorflow_runtime" in process.answer["msg"]


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda path: path.mkdir(), "It is empty"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + b"\0" * 40), "is an archive or a Keras file"),
        (lambda path: path.mkdir() or (path / "saved_model.pb").write_bytes(b"\x08\x01\x12\xff\xff"), "damaged or truncated"),
        (lambda path: path.mkdir() or (path / "saved_model.pb").write_bytes(b""), "is empty"),
        (lambda path: path.mkdir() or (path / "saved_model.pbtxt").write_text("nonsense {"), "damaged or truncated"),
        (lambda path: path.mkdir() or (path / "model.ckpt-1.index").write_text("x"), "checkpoint"),
        (lambda path: path.write_bytes(b"") or os.truncate(str(path), 2**31), "ends at 2 GiB"),
    ],
)
def test_what_is_no_model(tmp_path, make, words):
    make(tmp_path / "model")
    with pytest.raises(TfleetError) as caught:
        inspect(str(tmp_path / "model"))
    assert words in str(caught.value)
