"""The module model_server_reload against a real server."""
import types

import pytest
from ansible_collections.tfleet.serving.tests.unit.plugins.serving_tools import deploy, free_port, server, write_config


@pytest.fixture(scope="module")
def served(tfleet_runtime, tmp_path_factory):
    directory = tmp_path_factory.mktemp("reload")
    deploy(tfleet_runtime, directory / "digits", 1, 2)
    write_config(directory / "model.config", directory / "digits", {"stable": 1})
    with server(tfleet_runtime, directory, directory / "model.config") as address:
        yield types.SimpleNamespace(address=address, runtime=tfleet_runtime, directory=directory)


@pytest.fixture
def reload(run_module, served):
    def run(check=False, **parameters):
        return run_module("model_server_reload", check=check, **dict({"address": served.address, "runtime": served.runtime}, **parameters))
    return run


@pytest.fixture
def version_of(run_module, served):
    """The version that a label stands for now, by the server's own answer."""
    def ask(label):
        return run_module("grpc_predict", address=served.address, runtime=served.runtime, model="digits", label=label,
                          inputs={"images": [[[[0.0]] * 8] * 8]}).get("version")
    return ask


def test_the_server_takes_the_file_and_check_mode_sends_nothing(reload, served, version_of, tmp_path):
    new = tmp_path / "model.config"
    write_config(new, served.directory / "digits", {"stable": 2})
    check = reload(check=True, config_file=str(new))
    assert (check["changed"], check["models"]) == (True, ["digits"])
    assert "Would send %s to %s." % (new, served.address) == check["msg"]
    assert version_of("stable") == 1
    for _again in range(2):
        result = reload(config_file=str(new))
        assert (result["changed"], result["models"], result["address"]) == (True, ["digits"], served.address)
    assert version_of("stable") == 2


def test_a_new_model_is_loaded_when_the_module_returns(reload, run_module, served, tmp_path):
    new = tmp_path / "model.config"
    write_config(new, served.directory / "digits", name="figures")
    assert reload(config_file=str(new))["models"] == ["figures"]
    states = run_module("model_server_info", address=served.address, runtime=served.runtime, models=["figures"])["models"]["figures"]["versions"]
    assert "AVAILABLE" in {row["state"] for row in states}


def test_what_the_server_refuses_is_told_in_its_words(reload, served, tmp_path):
    new = tmp_path / "model.config"
    write_config(new, served.directory / "digits", {"nightly": 1})
    text = new.read_text()
    new.write_text(text.replace('model_platform: "tensorflow"', 'model_platform: "pytorch"'))
    result = reload(config_file=str(new))
    assert result["failed"] is True
    assert "pytorch" in result["msg"]


@pytest.mark.parametrize("check", [False, True])
def test_a_file_with_a_mistake_is_refused_with_its_place(reload, tmp_path, check):
    wrong = tmp_path / "model.config"
    wrong.write_text('model_config_list { config { name: "digits" base_paht: "/x" } }')
    result = reload(check=check, config_file=str(wrong))
    assert result["failed"] is True
    assert "base_paht" in result["msg"]


def test_without_a_server_it_fails_but_check_mode_says_what_it_would_do(reload, served):
    address = "127.0.0.1:%d" % free_port()
    config = str(served.directory / "model.config")
    result = reload(address=address, config_file=config)
    assert (result["failed"], result["code"]) == (True, "UNAVAILABLE")
    assert address in result["msg"]
    assert reload(check=True, address=address, config_file=config)["changed"] is True


def test_check_mode_before_the_file_or_the_runtime_exists(reload, served):
    assert reload(check=True, config_file="/nonexistent/model.config")["changed"] is True
    result = reload(check=True, runtime="/nonexistent/tfleet", config_file=str(served.directory / "model.config"))
    assert (result.get("failed", False), result["changed"]) == (False, True)
    assert "could not be checked" in result["msg"]
    assert reload(runtime="/nonexistent/tfleet", config_file=str(served.directory / "model.config"))["failed"] is True


def test_a_time_that_makes_no_sense_is_named(reload):
    assert "timeout 0" in reload(config_file="/x", timeout=0)["msg"]
