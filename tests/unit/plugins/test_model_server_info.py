"""The module model_server_info against a real server: one good version, one that cannot be loaded, one that comes late."""
import os
import types

import pytest
from ansible_collections.tfleet.serving.tests.unit.plugins.serving_tools import deploy, free_port, server, write_config


@pytest.fixture(scope="module")
def served(tfleet_runtime, tmp_path_factory):
    directory = tmp_path_factory.mktemp("info")
    deploy(tfleet_runtime, directory / "digits", 1)
    write_config(directory / "model.config", directory / "digits", {"stable": 1})
    with server(tfleet_runtime, directory, directory / "model.config") as address:
        yield types.SimpleNamespace(address=address, runtime=tfleet_runtime, base=directory / "digits", config=str(directory / "model.config"))


@pytest.fixture
def info(run_module, served):
    def run(check=False, **parameters):
        return run_module("model_server_info", check=check, **dict({"address": served.address, "runtime": served.runtime}, **parameters))
    return run


def test_it_tells_versions_labels_and_configuration_four_times(info, served):
    for check in (True, False, True, False):
        result = info(check=check, config_file=served.config)
        assert (result["changed"], result["reachable"], result["address"]) == (False, True, served.address)
        assert result["models"] == {"digits": {
            "versions": [{"version": 1, "state": "AVAILABLE", "error_code": "OK", "error_message": ""}], "labels": {"stable": 1}}}
        assert result["config"]["models"] == [
            {"name": "digits", "base_path": str(served.base), "policy": {"all": {}}, "labels": {"stable": 1}}]


def test_a_model_that_the_server_does_not_know_has_no_versions(info, served):
    result = info(config_file=served.config, models=["letters", "digits", "figures"])
    assert [(name, len(result["models"][name]["versions"])) for name in ("digits", "letters", "figures")] == [("digits", 1), ("letters", 0), ("figures", 0)]
    assert info()["reachable"] is True


def test_no_server_is_a_state_not_a_failure(info, served):
    address = "127.0.0.1:%d" % free_port()
    result = info(address=address, config_file=served.config)
    assert (result.get("failed", False), result["reachable"], result["models"]) == (False, False, {})
    assert result["config"]["models"][0]["labels"] == {"stable": 1}
    assert address in result["msg"]


def test_no_server_is_a_failure_for_who_waits(info):
    wait = [{"name": "digits", "version": 1}]
    address = "127.0.0.1:%d" % free_port()
    result = info(address=address, wait=wait, timeout=1)
    assert result["failed"] is True
    assert "digits=1" in result["msg"]
    assert info(address=address, wait=wait, timeout=1, check=True).get("failed", False) is False


def test_a_missing_model_config_lists_no_models(info):
    assert info(config_file="/nonexistent/model.config")["config"] == {"models": [], "warnings": []}


def test_a_wrong_model_config_is_a_failure_with_the_place(info, tmp_path):
    (tmp_path / "model.config").write_text("model_config_list {\n  config { nam: 1 }\n}\n")
    result = info(config_file=str(tmp_path / "model.config"))
    assert (result["failed"], result["line"]) == (True, 2)
    assert "nam" in result["msg"]


def test_without_the_runtime_only_check_mode_goes_on(info):
    assert "tensorflow_runtime" in info(runtime="/nonexistent/tfleet")["msg"]
    result = info(runtime="/nonexistent/tfleet", check=True)
    assert (result.get("failed", False), result["reachable"]) == (False, False)
    assert result["msg"].startswith("Would ask")


def test_waiting_for_what_is_there_and_for_what_comes(info, served):
    assert info(wait=[{"name": "digits", "version": 1}])["models"]["digits"]["versions"][0]["state"] == "AVAILABLE"
    deploy(served.runtime, served.base, 2)
    result = info(wait=[{"name": "digits", "version": 1}, {"name": "digits", "version": 2}], config_file=served.config)
    assert [(row["version"], row["state"]) for row in result["models"]["digits"]["versions"]] == [(2, "AVAILABLE"), (1, "AVAILABLE")]


def test_waiting_in_vain_names_what_did_not_come(info):
    result = info(wait=[{"name": "digits", "version": 8}], timeout=1)
    assert result["failed"] is True
    assert "digits=8" in result["msg"]


def test_a_version_that_cannot_be_loaded_fails_with_the_reason_and_what_serves(info, served):
    incoming = served.base / ".incoming"
    incoming.mkdir()
    (incoming / "saved_model.pb").write_bytes(b"no graph")
    os.rename(str(incoming), str(served.base / "3"))
    result = info(wait=[{"name": "digits", "version": 3}], timeout=60)
    assert result["failed"] is True
    assert "Version 3 of model 'digits' failed to load" in result["msg"]
    assert result["error_message"] in result["msg"]
    assert "Versions 2, 1 keep serving." in result["msg"]
    assert {row["version"]: row["state"] for row in result["models"]["digits"]["versions"]} == {1: "AVAILABLE", 2: "AVAILABLE", 3: "END"}


@pytest.mark.parametrize("parameters, word", [
    ({"timeout": -1}, "timeout -1"), ({"wait": [{"name": "digits", "version": 0}]}, "digits=0"), ({"wait": [{"name": "digits"}]}, "version"),
])
def test_options_that_make_no_sense_are_named(info, parameters, word):
    assert word in info(**parameters)["msg"]
