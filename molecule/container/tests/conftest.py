"""What the tests of this scenario ask a host. They look at its engine and know nothing of the roles' variables."""

import json

import pytest

CONTAINER = "tfleet-model-server"
IMAGE = "tfleet-runtime:current"
MODELS = "/var/lib/tfleet/models"
ADDRESS = "127.0.0.1:8500"


def tfleet(host, command, mounts=""):
    """The answer of a tfleet command in a container, as a person on the host would run it."""
    done = host.run(f"docker run --rm --network host {mounts} {IMAGE} {command} --json")
    assert done.rc == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def predict(host):
    """Ask the served model for its golden answers."""

    def call(model, golden_of, *target):
        golden = f"{MODELS}/{model}/.golden/{golden_of}/golden.npz"
        return tfleet(host, f"predict --address {ADDRESS} --model {model} --golden {golden} {' '.join(target)}", f"--volume {golden}:{golden}:ro")

    return call


@pytest.fixture
def status(host):
    """States of the versions of one model as the server tells them: {version: state}."""

    def call(model):
        answer = tfleet(host, f"status --address {ADDRESS} --model {model}")
        return {int(entry["version"]): entry["state"] for entry in answer["models"][model]["versions"]}

    return call


@pytest.fixture
def container(host):
    """The model server's container as the engine describes it."""
    return json.loads(host.check_output(f"docker container inspect {CONTAINER}"))[0]
