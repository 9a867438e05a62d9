"""A rollout as JetPack 4 sees it: playbooks of ansible-core 2.16, Python 3.6 on the device, a model server on TensorFlow 1.15."""

import contextlib
import json
import os

import pytest

from ..conformance.live_server import free_ports
from .conftest import CHECKOUT, run

RELEASE = {
    "latency_budget_ms": 2000,
    "signatures": {"serving_default": {"inputs": {"images": "images:0"}, "outputs": {"scores": "scores:0", "classes": "classes:0"}}},
}


def releases(*versions):
    return [
        dict(RELEASE, version=version, source=f"models/digits/{version}/frozen_graph.pb", golden=f"models/digits/{version}/golden.npz") for version in versions
    ]


@pytest.fixture(scope="module")
def play(core, tensorflow_1, tmp_path_factory):
    """``play(playbook, versions, *options)``: run a playbook on one such host whose inventory declares these versions of the digits."""
    place = tmp_path_factory.mktemp("fleet")
    grpc_port, rest_port = free_ports(2)
    host = {"ansible_connection": "local", "ansible_python_interpreter": f"{tensorflow_1}/bin/python"}
    shared = {
        "tfleet_source_root": str(CHECKOUT), "tfleet_work_dir": str(place / "work"), "tfleet_config_dir": str(place / "serving"),
        "tfleet_models_root": str(place / "models"), "tfleet_runtime": f"{tensorflow_1}/bin/tfleet", "tfleet_grpc_port": grpc_port,
        "tfleet_rest_port": rest_port, "model_release_build_command": f"{tensorflow_1}/bin/tfleet", "model_server_backend": "embedded",
        "tensorflow_runtime_state": "provided", "rollout_soak_seconds": 1,
        "rollout_latency_slack_ms": 500,
    }  # fmt: skip
    environment = {**os.environ, "PATH": f"{core}/bin:{os.environ['PATH']}", "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "NO_COLOR": "1"}

    def call(playbook, versions, *options):
        everything = {"all": {"vars": {**shared, "tfleet_models": [{"name": "digits", "releases": releases(*versions)}]},
                              "children": {"cpu_servers": {"hosts": {"nano": host}}, "gpu_servers": {}, "jetsons": {}}}}  # fmt: skip
        (place / "hosts.json").write_text(json.dumps(everything))
        return run(core / "bin/ansible-playbook", "-i", place / "hosts.json", CHECKOUT / f"playbooks/{playbook}.yml", *options, cwd=CHECKOUT, env=environment)

    call.place = place
    try:
        yield call
    finally:
        with contextlib.suppress(BaseException):
            call("stop", [1])


def labels(play):
    return (play.place / "serving/model.config").read_text().replace(" ", "").replace("\n", "")


def test_a_version_is_rolled_out_and_back(play):
    play("site", [1])
    before = labels(play)
    play("rollout", [1, 2], "-e", "rollout_model=digits", "-e", "rollout_version=2")
    ledger = next((play.place / "work/rollouts").glob("digits-2-*/ledger.jsonl"))
    steps = [line["step"] for line in map(json.loads, ledger.read_text().splitlines()) if line.get("host") == "nano"]
    assert [step for step in steps if step in ("stage", "gate", "promote", "check")] == ["stage", "gate", "promote", "check"]
    assert 'key:"stable"value:2' in labels(play) and 'key:"canary"value:2' in labels(play)
    # Both are answered for by the server itself: the playbook asks every label.
    play("rollback", [1, 2], "-e", "rollback_model=digits")
    assert 'key:"stable"value:1' in labels(play) and 'key:"stable"value:1' in before
