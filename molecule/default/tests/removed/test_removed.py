"""After playbooks/remove.yml nothing of the server, its runtime and the gateway is left, and the models are all there."""

import pytest

MODELS = "/var/lib/tfleet/models"


@pytest.mark.parametrize("path", [
    "/etc/tfleet",
    "/etc/systemd/system/tfleet-model-server.service",
    "/etc/systemd/system/multi-user.target.wants/tfleet-model-server.service",
    "/var/lib/tfleet-model-server",
    "/opt/tfleet/venv",
    "/opt/tfleet/gateway",
    "/etc/tfleet-gateway",
    "/etc/systemd/system/tfleet-gateway.service",
    "/opt/tfleet/pull",
    "/etc/tfleet-pull",
    "/etc/systemd/system/tfleet-pull.service",
    "/etc/systemd/system/timers.target.wants/tfleet-pull.timer",
])
def test_what_the_roles_made_is_gone(host, path):
    assert not host.file(path).exists


@pytest.mark.parametrize("unit", ["tfleet-model-server.service", "tfleet-gateway.service", "tfleet-pull.service", "tfleet-pull.timer"])
def test_systemd_knows_no_such_unit(host, unit):
    assert host.check_output(f"systemctl show --property=LoadState --value {unit}") == "not-found"


@pytest.mark.parametrize("name", ["tfleet", "tfleet-gateway"])
def test_the_users_are_gone(host, name):
    assert not host.user(name).exists
    assert not host.group(name).exists


@pytest.mark.parametrize("port", [8500, 8501, 8502])
def test_nothing_listens_any_more(host, port):
    assert not host.socket(f"tcp://127.0.0.1:{port}").is_listening


def test_the_models_stay(host):
    assert host.file(f"{MODELS}/digits/1/saved_model.pb").is_file
    assert host.file(f"{MODELS}/digits_detector/1/manifest.json").is_file


def test_the_ledgers_stay(host):
    assert [name for name in host.file("/var/lib/tfleet-pull/work/rollouts").listdir() if name.startswith("digits-2-")]
