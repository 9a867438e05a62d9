"""The step stage by its action, as a playbook does it: a link that stands still is no fault of the version, and one that is slow is no fault at all."""
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile

import pytest
from ansible_collections.tfleet.serving.plugins.action.rollout_host import ActionModule
from ansible_collections.tfleet.serving.plugins.module_utils import release_index
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_ledger import Ledger
from ansible_collections.tfleet.serving.tests.unit.plugins import serving_tools
from ansible_collections.tfleet.serving.tests.unit.plugins.range_server import Mirror
from ansible_collections.tfleet.serving.tests.unit.plugins.release_tools import make_release

BLOCK = release_index.SMALLEST_BLOCK
SIZE = 12 * BLOCK
PLAN = {"rollout": "digits-2-x", "model": "digits", "waves": [], "targets": {}}


@pytest.fixture(scope="module")
def address(tfleet_runtime, tmp_path_factory):
    """A real model server, which serves version 1."""
    root = tmp_path_factory.mktemp("served")
    serving_tools.deploy(tfleet_runtime, root / "digits", 1)
    serving_tools.write_config(root / "model.config", root / "digits", {"stable": 1})
    with serving_tools.server(tfleet_runtime, root, root / "model.config") as running:
        yield running


@pytest.fixture
def mirror(tmp_path):
    """Where version 2 is to be had."""
    archive = make_release(tmp_path, 2, {"saved_model.pb": b"graph", "weights": random.Random(1).randbytes(SIZE)})
    release_index.write(release_index.path_of(archive), archive)
    with Mirror(tmp_path) as running:
        yield running


@pytest.fixture
def stage(tfleet_runtime, address, mirror, tmp_path, collections_path):
    """Stage it on this machine, by the mirror if it has no ``release``, with a time limit; returns its line of the ledger."""
    def run(limit, release=None, **transfer):
        arguments = {"step": "stage", "rollout": "digits-2-x", "by": "me@here", "model": "digits", "version": 2, "base_path": str(tmp_path / "models"),
                     "config_file": str(tmp_path / "model.config"), "addresses": [address], "runtime": tfleet_runtime, "ledger": str(tmp_path / "ledger"),
                     "transport": dict({"transport": "pull", "urls": [mirror.url]}, **transfer)}
        if release:
            arguments["release"] = release
        serving_tools.write_config(tmp_path / "model.config", tmp_path / "models", {"stable": 1})
        shutil.rmtree(arguments["ledger"], ignore_errors=True)
        Ledger(arguments["ledger"]).create(PLAN)
        play = tmp_path / "play.json"
        play.write_text(json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [
            {"tfleet.serving.rollout_host": arguments, "timeout": limit, "ignore_errors": True}]}]))
        done = subprocess.run(
            [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), "-i", "localhost,", "-e", "ansible_python_interpreter=" + sys.executable,
             str(play)],
            env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=collections_path, PYTHONPATH=collections_path, ANSIBLE_HOME=str(tmp_path / "ansible")),
            cwd=str(tmp_path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=120)
        lines = Ledger(arguments["ledger"]).read()
        assert len(lines) == 2, done.stdout.decode()
        return lines[-1]
    return run


def test_a_slow_link_takes_longer_than_the_limit_and_is_well(stage, mirror):
    mirror.delay = 0.25
    line = stage(9)
    assert (line["outcome"], line["detail"]["transport"]["bytes_sent"] >= SIZE) == ("ok", True), line
    assert line["seconds"] > 12


@pytest.mark.parametrize(("limit", "said"), [(60, "no mirror sent a byte"), (4, "was not done within 4 seconds")])
def test_a_link_that_stands_still_is_unreachable_and_no_failed_version(stage, mirror, limit, said):
    mirror.break_after = 0
    line = stage(limit, timeout=2 if limit == 60 else 60)
    assert line["outcome"] == "unreachable", line
    assert said in line["msg"]


def test_one_that_is_there_gets_the_signature_that_it_has_since(stage, mirror, tmp_path):
    archive = os.path.join(mirror.folder, "digits-2.tar")
    in_place = tmp_path / "models" / "2"
    with tarfile.open(archive) as tar:
        tar.extractall(str(in_place))
    assert "transport" not in stage(60, archive).get("detail", {})
    with open(archive + ".sig", "wb") as stream:
        stream.write(b"signature")
    line = stage(60, archive)
    assert (line["outcome"], line["detail"]["transport"]["bytes_sent"]) == ("ok", 0), line
    assert (in_place / "manifest.json.sig").read_bytes() == b"signature"
    assert "transport" not in stage(60, archive)["detail"]


def test_an_answer_of_another_shape_leaves_its_line_too(tmp_path):
    made = Ledger(str(tmp_path / "ledger"))
    made.create(PLAN)
    action = ActionModule.__new__(ActionModule)
    action._host, action._args = "a", {"version": 2, "ledger": made.directory}
    action._finish("gate", "ok", ["no", "text"], {"version": "x"}, 1)
    line = made.read()[-1]
    assert (line["host"], line["version"], line["msg"]) == ("a", 2, "['no', 'text']")


def test_a_mirror_that_has_another_release_is_no_broken_link(stage, mirror, tmp_path):
    archive = make_release(tmp_path / "other", 1)
    release_index.write(os.path.join(mirror.folder, "digits-2.tar.index"), archive)
    line = stage(60)
    assert (line["outcome"], "gives version 1 of digits" in line["msg"]) == ("failed", True), line
