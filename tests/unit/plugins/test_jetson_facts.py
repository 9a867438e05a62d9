"""The module as Ansible runs it, and the action that turns its readings into facts."""

import json
import os
import subprocess
import sys

import pytest

from .device_tools import DEVICES, parameters, trees


@pytest.mark.parametrize("check", [False, True])
def test_the_module_reads_a_tree_and_changes_nothing(run_module, tmp_path, check):
    place = trees.build(DEVICES["tx2-4.6.1"], tmp_path / "tree")
    before = sorted((str(path), path.stat().st_mtime_ns) for path in place.rglob("*"))
    result = run_module("jetson_facts", check=check, **parameters(place))
    assert (result["changed"], result["observed"]["l4t"], result["observed"]["power"]["mode"]) == (False, "32.7.1", "MAXP_CORE_ARM")
    assert sorted((str(path), path.stat().st_mtime_ns) for path in place.rglob("*")) == before


def test_a_time_limit_of_nothing_is_refused(run_module, tmp_path):
    result = run_module("jetson_facts", **{**parameters(tmp_path), "command_timeout": 0})
    assert result["failed"]
    assert result["msg"] == "command_timeout is 0 seconds. Give it one or more."


@pytest.fixture
def facts(collections_path, tmp_path):
    """``facts(**parameters)`` runs the module by its full name on this machine, through its action."""

    def run(**arguments):
        environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": collections_path, "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_HOME": str(tmp_path / "home"),
                       "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg")}  # fmt: skip
        (tmp_path / "ansible.cfg").touch()
        done = subprocess.run(
            ["ansible", "localhost", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}",
             "-m", "tfleet.serving.jetson_facts", "-a", json.dumps(arguments), "--tree", str(tmp_path / "results")],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert (tmp_path / "results/localhost").exists(), done.stdout + done.stderr
        return json.loads((tmp_path / "results/localhost").read_text())

    return run


def test_facts_of_a_jetson(facts, tmp_path):
    trees.build(DEVICES["orin-nano-super-6.2"], tmp_path / "tree")
    result = facts(**parameters(tmp_path / "tree"))
    assert "observed" not in result
    found = result["ansible_facts"]["tfleet_device"]
    assert (found["module"], found["jetpack"], found["tensorrt"]["expected"], found["power"]["mode"]) == ("orin-nano", "6.2", "10.3.0.30", "MAXN_SUPER")


def test_an_override_reaches_the_facts(facts, tmp_path):
    trees.build(DEVICES["unknown-release"], tmp_path / "tree")
    result = facts(l4t_override="36.4.7", **parameters(tmp_path / "tree"))
    assert result["ansible_facts"]["tfleet_device"]["l4t_known_as"] == "36.4.7"


def test_a_wrong_parameter_fails_as_ever(facts, tmp_path):
    result = facts(procroot="/proc", **parameters(tmp_path))
    assert "procroot" in result["msg"]
    assert "ansible_facts" not in result
