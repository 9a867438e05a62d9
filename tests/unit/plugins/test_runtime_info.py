"""The module that looks into a runtime, with the checkout's real one; that of a Jetson is played by what it would answer."""

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import RuntimeFailure
from ansible_collections.tfleet.serving.plugins.modules import runtime_info


def test_the_runtime_of_this_checkout(run_module, tfleet_runtime):
    results = [run_module("runtime_info", check=check, runtime=tfleet_runtime) for check in (True, False)]
    assert results[0] == results[1]
    assert results[0]["changed"] is False and results[0]["tensorflow"].startswith("2.") and results[0]["gpus"] == []
    assert results[0]["tensorrt"]["usable"] is False and "without it" in results[0]["tensorrt"]["reason"]


def test_a_gpu_that_must_be_there(run_module, tfleet_runtime):
    result = run_module("runtime_info", runtime=tfleet_runtime, gpu_required=True)
    assert result["failed"] and "sees no GPU" in result["msg"] and "build for the CPU" in result["msg"]
    assert result["tensorflow"].startswith("2.")


def test_a_runtime_that_comes_later(run_module):
    result = run_module("runtime_info", check=True, runtime="/nowhere/tfleet")
    assert not result.get("failed") and result["tensorflow"] is None and "/nowhere/tfleet" in result["msg"]
    assert run_module("runtime_info", runtime="/nowhere/tfleet")["failed"]


class Answering:
    """A runtime that gives one answer."""

    def __init__(self, **answer):
        self.answer = dict({"ok": True, "tensorflow": "2.7.0", "cuda": "10.2", "gpus": []}, **answer)

    def run(self, name):
        assert name == "probe"
        return self.answer

    def where(self):
        return "host nano"


@pytest.mark.parametrize("image, gpu, words", [("i:1", "", "set `runtime_gpu`"), ("i:1", "nvidia", "CUDA 10.2"), ("", "", "CUDA 10.2")])
def test_what_to_do_about_a_gpu_that_is_not_seen(image, gpu, words):
    with pytest.raises(RuntimeFailure, match=words):
        runtime_info.info({"gpu_required": True, "runtime_image": image, "runtime_gpu": gpu}, Answering(), False)


def test_a_gpu_that_is_seen():
    gpus = ["/physical_device:GPU:0"]
    assert runtime_info.info({"gpu_required": True}, Answering(gpus=gpus), False)["gpus"] == gpus
