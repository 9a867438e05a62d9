"""Module saved_model_info with the real runtime, on the demo model's graph."""

import os

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))
GRAPH = os.path.join(ROOT, "models", "digits", "1", "frozen_graph.pb")
SIGNATURES = {"serving_default": {"inputs": {"images": "images:0"}, "outputs": {"scores": "scores:0"}}}


def test_candidates_of_a_frozen_graph(run_module, tfleet_runtime):
    results = [run_module("saved_model_info", check=check, path=GRAPH, runtime=tfleet_runtime) for check in (True, False)]
    assert results[0] == results[1] and results[0]["changed"] is False
    assert results[0]["kind"] == "frozen_graph" and results[0]["bytes"] == os.path.getsize(GRAPH)
    assert results[0]["candidates"]["inputs"] == [{"name": "images:0", "dtype": "float32", "shape": [-1, 8, 8, 1], "op": "Placeholder"}]
    assert [tensor["name"] for tensor in results[0]["candidates"]["outputs"]] == ["scores:0", "classes:0"]


def test_signatures_of_what_was_exported(run_module, tfleet_runtime, tmp_path):
    made = run_module("saved_model", src=GRAPH, dest=str(tmp_path / "model"), signatures=SIGNATURES, runtime=tfleet_runtime)
    told = run_module("saved_model_info", path=str(tmp_path / "model"), runtime=tfleet_runtime)
    assert told["kind"] == "saved_model" and told["meta_graphs"][0]["tags"] == ["serve"]
    assert told["meta_graphs"][0]["signatures"] == made["signatures"]
    assert told["meta_graphs"][0]["ops"]["Softmax"] == 1


def test_a_model_that_does_not_exist_yet(run_module, tfleet_runtime, tmp_path):
    check = run_module("saved_model_info", check=True, path=str(tmp_path / "later"), runtime=tfleet_runtime)
    assert check["changed"] is False and check["kind"] is None and "not yet" in check["msg"]
    result = run_module("saved_model_info", path=str(tmp_path / "later"), runtime=tfleet_runtime)
    assert result["failed"] and "There is no" in result["msg"]


def test_a_runtime_that_does_not_exist_yet(run_module, tmp_path):
    assert run_module("saved_model_info", check=True, path=GRAPH, runtime=str(tmp_path / "tfleet"))["meta_graphs"] == []
    result = run_module("saved_model_info", path=GRAPH, runtime=str(tmp_path / "tfleet"))
    assert result["failed"] and "tensorflow_runtime" in result["msg"]
