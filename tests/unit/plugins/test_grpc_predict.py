"""The module grpc_predict against a real server with the digits model."""
import json
import os
import types

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.modules import grpc_predict
from ansible_collections.tfleet.serving.tests.unit.plugins.serving_tools import GOLDEN, deploy, free_port, server, write_config

ZEROS = [[[[0.0]] * 8] * 8]
PARAMS = {"address": "127.0.0.1:8500", "model": "digits", "version": None, "label": None, "signature": None, "golden": None, "images": None,
          "inputs": None, "latency_budget_ms": None, "annotate": None, "label_map": None, "timeout": 10.0}


@pytest.fixture(scope="module")
def served(tfleet_runtime, tmp_path_factory):
    directory = tmp_path_factory.mktemp("predict")
    deploy(tfleet_runtime, directory / "digits", 1, 2)
    write_config(directory / "model.config", directory / "digits", {"stable": 1, "canary": 2})
    with server(tfleet_runtime, directory, directory / "model.config") as address:
        yield types.SimpleNamespace(address=address, runtime=tfleet_runtime)


@pytest.fixture
def predict(run_module, served):
    def run(check=False, **parameters):
        return run_module("grpc_predict", check=check, **dict({"address": served.address, "runtime": served.runtime, "model": "digits"}, **parameters))
    return run


def test_golden_answers_by_number_four_times(predict):
    for check in (True, False, True, False):
        result = predict(check=check, version=2, golden=GOLDEN % 2, latency_budget_ms=5000)
        assert (result["ok"], result["changed"], result["version"], result["model"]) == (True, False, 2, "digits")
        assert set(result["latency_ms"]) == {"first", "p50", "p90", "max"}
        assert result["worst_error"]["abs"] < 1e-4


@pytest.mark.parametrize("label, version", [("stable", 1), ("canary", 2)])
def test_golden_answers_by_label(predict, label, version):
    result = predict(label=label, golden=GOLDEN % version)
    assert (result["ok"], result["version"], result["label"]) == (True, version, label)


def test_answers_of_another_version_are_a_failure_with_all_that_is_known(predict):
    result = predict(version=1, golden=GOLDEN % 2)
    assert (result["failed"], result["ok"], result["version"]) == (True, False, 1)
    assert "differ from" in result["msg"]
    assert result["worst_error"]["abs"] > 0


def test_a_wrong_answer_is_a_failure_in_check_mode_too(predict):
    assert predict(check=True, version=1, golden=GOLDEN % 2)["failed"] is True


def test_an_answer_over_the_budget_is_a_failure(predict):
    result = predict(golden=GOLDEN % 2, latency_budget_ms=0.001)
    assert result["failed"] is True
    assert "more than the budget of 0.001 ms" in result["msg"]


def test_values_are_sent_as_they_stand_in_the_playbook(predict):
    result = predict(inputs={"images": ZEROS})
    assert (result["ok"], result["version"], len(result["predictions"])) == (True, 2, 1)


def test_long_values_are_sent_too(predict):
    assert len(json.dumps(ZEROS * 500)) > grpc_predict.MAX_INLINE
    assert len(predict(inputs={"images": ZEROS * 500})["predictions"]) == 500


def test_values_from_a_file(predict, tmp_path):
    (tmp_path / "zeros.json").write_text(json.dumps(ZEROS))
    assert predict(inputs={"images": str(tmp_path / "zeros.json")})["ok"] is True


def test_a_picture_is_drawn_but_not_in_check_mode(predict, tmp_path):
    out = tmp_path / "seen.png"
    assert predict(check=True, golden=GOLDEN % 2, version=2, annotate=str(out))["picture"] is None
    assert not out.exists()
    assert predict(golden=GOLDEN % 2, version=2, annotate=str(out))["picture"] == str(out)
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("asked, word", [
    ({"version": 9}, "9"), ({"label": "nightly"}, "nightly"), ({"model": "letters"}, "letters"),
])
def test_what_is_not_served_fails_but_not_in_check_mode(predict, asked, word):
    result = predict(golden=GOLDEN % 2, **asked)
    assert result["failed"] is True
    assert word in result["msg"]
    check = predict(check=True, golden=GOLDEN % 2, **asked)
    assert (check.get("failed", False), check["ok"], check["changed"]) == (False, None, False)
    assert "Would ask" in check["msg"]


@pytest.mark.parametrize("missing", [{"address": "127.0.0.1:%d" % free_port()}, {"runtime": "/nonexistent/tfleet"}, {"golden": "/nonexistent.npz"}])
def test_without_server_runtime_or_file_check_mode_says_what_it_would_do(predict, missing):
    asked = dict({"golden": GOLDEN % 2, "version": 2}, **missing)
    assert predict(**asked)["failed"] is True
    check = predict(check=True, **asked)
    assert (check.get("failed", False), check["ok"]) == (False, None)
    assert check["msg"].startswith("Would ask version 2 of model digits at ")


def test_an_input_the_model_does_not_have_is_a_failure_in_check_mode_too(predict):
    assert "images" in predict(check=True, inputs={"pictures": [1]})["msg"]


@pytest.mark.parametrize("changes, word", [
    ({"version": -1}, "version -1"), ({"timeout": 0.0}, "timeout 0"), ({"latency_budget_ms": -5.0}, "latency_budget_ms -5"),
])
def test_numbers_that_make_no_sense_are_named(changes, word):
    with pytest.raises(ModuleError, match=word):
        grpc_predict.arguments(dict(PARAMS, **changes), False, "/nonexistent")


@pytest.mark.parametrize("asked, word", [
    ({}, "one of the following is required"), ({"golden": "a", "inputs": {"x": 1}}, "mutually exclusive"),
    ({"golden": "a", "version": 1, "label": "stable"}, "mutually exclusive"),
])
def test_one_question_at_a_time(run_module, asked, word):
    assert word in run_module("grpc_predict", model="digits", **asked)["msg"]


def test_arguments_are_a_list_without_a_shell():
    params = dict(PARAMS, model="--strange; rm", label="a b", images=["/a b.png"], label_map="/map", annotate="/out.png", latency_budget_ms=1.5)
    expected = ["--address", "127.0.0.1:8500", "--model=--strange; rm", "--timeout", "10", "--label=a b", "--latency-budget-ms=1.5", "--label-map=/map"]
    assert grpc_predict.arguments(params, False, "") == [*expected, "--annotate=/out.png", "--image", "/a b.png"]
    assert grpc_predict.arguments(params, True, "") == [*expected, "--image", "/a b.png"]
    assert not os.path.exists("/out.png")
