"""The module model_parity against real builds of the digits model, in-process and served."""
import subprocess
import types

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.modules import model_parity
from ansible_collections.tfleet.serving.tests.unit.plugins.serving_tools import GOLDEN, deploy, free_port, server, write_config

PARAMS = {
    "reference": "/a", "candidate": "grpc://h:1/m", "signature": None, "golden": None, "tfrecord": None, "images": None, "random": None, "values": "0..1",
    "examples": None, "batch_size": 16, "thresholds": {}, "label_map": None, "top_k": 5, "worst": 4, "picture": None, "timeout": 60.0,
}


@pytest.fixture(scope="module")
def served(tfleet_runtime, tmp_path_factory):
    directory = tmp_path_factory.mktemp("parity")
    deploy(tfleet_runtime, directory / "digits", 1, 2)
    write_config(directory / "model.config", directory / "digits", {"stable": 1})
    with server(tfleet_runtime, directory, directory / "model.config") as address:
        yield types.SimpleNamespace(source="grpc://%s/digits" % address, folder=str(directory / "digits"), runtime=tfleet_runtime)


@pytest.fixture
def parity(run_module, served):
    def run(check=False, **parameters):
        return run_module("model_parity", check=check, **dict({"runtime": served.runtime}, **parameters))
    return run


def test_served_and_in_process_agree_four_times(parity, served):
    for check in (True, False, True, False):
        result = parity(check=check, reference=served.folder + "/2", candidate=served.source + "/2", golden=GOLDEN % 2)
        assert (result["ok"], result["holds"], result["changed"], result["rows"]) == (True, True, False, 72)


def test_another_version_does_not_stand_in_and_all_that_is_known_is_told(parity, served, tmp_path):
    result = parity(reference=served.source + "/2", candidate=served.source + "/stable", golden=GOLDEN % 2, picture=str(tmp_path / "worst.png"))
    assert (result["failed"], result["holds"]) == (True, False)
    assert "are not the same model any more" in result["msg"]
    assert result["outputs"]["scores"]["top1"] < 1 and len(result["worst"]) == 4
    assert (tmp_path / "worst.png").read_bytes().startswith(b"\x89PNG")


def test_thresholds_decide(parity, served):
    result = parity(reference=GOLDEN % 2, candidate=served.source + "/1", thresholds={"outputs": {"scores": {"top1": 0.9}, "classes": {"equal": 0.9}}})
    assert (result["ok"], result["seconds"]["reference"]) == (True, 0)


def test_nothing_is_drawn_in_check_mode(parity, served, tmp_path):
    result = parity(check=True, reference=GOLDEN % 2, candidate=served.source + "/1", picture=str(tmp_path / "worst.png"))
    assert result["failed"] is True and result["picture"] is None and not (tmp_path / "worst.png").exists()


@pytest.mark.parametrize("missing", [
    {"candidate": "grpc://127.0.0.1:%d/digits" % free_port()}, {"runtime": "/nonexistent/tfleet"}, {"golden": "/nonexistent.npz"},
    {"candidate": "/nonexistent"},
])
def test_what_is_not_there_yet_fails_but_not_in_check_mode(parity, served, missing):
    asked = dict({"reference": served.source, "candidate": served.source, "golden": GOLDEN % 2}, **missing)
    assert parity(**asked)["failed"] is True
    check = parity(check=True, **asked)
    assert (check.get("failed", False), check["ok"]) == (False, None)
    assert check["msg"].startswith("Would compare")


def test_a_mistake_is_a_failure_in_check_mode_too(parity, served):
    assert "Say what to ask" in parity(check=True, reference=served.source, candidate=served.source)["msg"]
    assert "mutually exclusive" in parity(reference="a", candidate="b", golden="c", random=3)["msg"]


@pytest.mark.parametrize("changes, word", [({"worst": 0}, "worst 0"), ({"batch_size": -1}, "batch_size -1"), ({"timeout": 0.0}, "timeout 0")])
def test_numbers_that_make_no_sense_are_named(changes, word):
    with pytest.raises(ModuleError, match=word):
        model_parity.arguments(dict(PARAMS, **changes), False)


def test_arguments_are_those_the_command_knows(served):
    params = dict(PARAMS, tfrecord=["/a b"], signature="raw", examples=3, label_map="/map", picture="/p.png", thresholds={"accuracy_drop": 0.1})
    found = model_parity.arguments(params, False)
    assert found[:2] == ["/a", "grpc://h:1/m"] and "--picture=/p.png" in found and '--thresholds={"accuracy_drop": 0.1}' in found
    assert "--picture=/p.png" not in model_parity.arguments(params, True)
    text = subprocess.run([served.runtime, "parity", "--help"], check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout
    assert [option for option in found if option.startswith("--") and option.partition("=")[0] not in text] == []
