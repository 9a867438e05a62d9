"""`tfleet probe`: the child process that may die of TensorRT, and what is told of it."""

import json
import signal
import sys

import pytest

from tfleet import cli
from tfleet.cli import probe


@pytest.fixture
def child(monkeypatch, tmp_path):
    """``child(text, ending)`` replaces the child's program; the program that looks at TensorFlow is tried as it is below."""

    def replace(*parts, ending=""):
        text = "import os, sys\n" + "".join("print('tfleet ' + %r, flush=True)\n" % json.dumps(part) for part in parts)
        monkeypatch.setattr(probe, "_CHILD", text + ending)

    return replace


def answer(capsys):
    code = cli.main(["probe", "--json"])
    return code, json.loads(capsys.readouterr().out)


TF = {"tensorflow": "2.11.0", "gpus": ["/physical_device:GPU:0"], "cuda": "11.4", "tensorrt_built": True}


def test_the_real_tensorflow(capsys):
    tensorflow = pytest.importorskip("tensorflow")
    code, result = answer(capsys)
    assert code == 0 and result["tensorflow"] == tensorflow.__version__
    assert result["python"] == "%d.%d.%d" % sys.version_info[:3]
    assert result["tensorrt"]["usable"] is False and result["tensorrt"]["reason"]
    assert cli.main(["probe"]) == 0
    assert "TensorFlow %s" % tensorflow.__version__ in capsys.readouterr().out


@pytest.mark.parametrize("linked, loaded, usable", [
    ("8.5.2", "8.5.2", True), ("8.5.2", "8.6.1", True), ("8.5.2", "8.4.0", False), ("8.5.2", "10.3.0", False), ("8.2.1", "7.1.3", False),
])
def test_tensorrt_must_be_of_the_same_major_version_and_not_older(child, capsys, linked, loaded, usable):
    child(TF, {"enabled": True, "linked": linked}, {"loaded": loaded})
    tensorrt = answer(capsys)[1]["tensorrt"]
    assert tensorrt["usable"] is usable and tensorrt["loaded"] == loaded
    assert ("built for TensorRT %s and finds %s" % (linked, loaded) in tensorrt["reason"]) is not usable


def test_an_abort_while_asking_for_tensorrt_is_a_reason_and_no_failure(child, capsys):
    child(TF, {"enabled": True, "linked": "8.5.2"}, ending="print('getInferLibVersion symbol not found.', file=sys.stderr, flush=True)\nos.abort()")
    code, result = answer(capsys)
    assert code == 0 and result["tensorflow"] == "2.11.0" and result["gpus"] == TF["gpus"]
    assert "signal %d" % signal.SIGABRT in result["tensorrt"]["reason"] and "symbol not found" in result["tensorrt"]["reason"]


@pytest.mark.parametrize("parts, words", [
    ([TF, {"enabled": False, "linked": "8.6.1"}, {"loaded": None}], "libnvinfer cannot be loaded"),
    ([dict(TF, tensorrt_built=False), {"enabled": False, "linked": None}, {"loaded": None}], "built without it"),
    ([dict(TF, tensorrt_built=None), {"enabled": False, "linked": None}, {"loaded": None}], "built without it"),
    ([TF, {"enabled": True, "linked": "8.6.1"}, {"loaded": None}], "does not tell its version"),
])
def test_why_tensorrt_cannot_be_used(child, capsys, parts, words):
    child(*parts)
    assert words in answer(capsys)[1]["tensorrt"]["reason"]


def test_a_tensorflow_that_cannot_be_imported(child, capsys):
    child(ending="sys.exit('libcudart.so.10.2: cannot open shared object file')")
    code, result = answer(capsys)
    assert code == 1 and "libcudart.so.10.2" in result["msg"] and "NVIDIA runtime" in result["msg"] and sys.executable in result["msg"]
