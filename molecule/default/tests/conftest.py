"""What the tests of this scenario ask a host. They look at the host itself and know nothing of the roles' variables."""

import json

import pytest

TFLEET = "/opt/tfleet/venv/bin/tfleet"
MODELS = "/var/lib/tfleet/models"
ADDRESS = "127.0.0.1:8500"


@pytest.fixture
def predict(host):
    """Ask the served model for its golden answers, from the host, as a user without rights; the answer of the client."""

    def call(model, golden_of, *target):
        golden = f"{MODELS}/{model}/.golden/{golden_of}/golden.npz"
        command = f"{TFLEET} predict --json --address {ADDRESS} --model {model} --golden {golden} {' '.join(target)}"
        done = host.run(f"runuser -u nobody -- {command}")
        assert done.rc == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    return call


@pytest.fixture
def status(host):
    """States of the versions of one model as the server tells them: {version: state}."""

    def call(model):
        answer = json.loads(host.check_output(f"{TFLEET} status --json --address {ADDRESS} --model {model}"))
        return {int(entry["version"]): entry["state"] for entry in answer["models"][model]["versions"]}

    return call


@pytest.fixture
def versions_on_disk(host):
    def call(model):
        return sorted(int(name) for name in host.file(f"{MODELS}/{model}").listdir() if name.isdigit())

    return call
