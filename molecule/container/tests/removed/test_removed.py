"""After playbooks/remove.yml nothing of the server and its image is left, and the models and the engine are."""

import pytest

MODELS = "/var/lib/tfleet/models"


@pytest.mark.parametrize("path", ["/etc/tfleet", "/var/lib/tfleet-model-server", "/opt/tfleet/image", "/etc/tfleet-gateway", "/opt/tfleet/gateway-image"])
def test_what_the_roles_made_is_gone(host, path):
    assert not host.file(path).exists


def test_no_container_is_left(host):
    assert host.check_output("docker container ls --all --quiet") == ""


@pytest.mark.parametrize("name", ["tfleet-runtime", "tfleet-gateway"])
def test_the_images_are_gone(host, name):
    assert host.check_output("docker image ls --quiet %s", name) == ""


def test_the_base_image_is_not_ours_to_remove(host):
    assert host.check_output("docker image ls --quiet tfleet-test-base") != ""


@pytest.mark.parametrize("name", ["tfleet", "tfleet-gateway"])
def test_the_users_are_gone(host, name):
    assert not host.user(name).exists
    assert not host.group(name).exists


@pytest.mark.parametrize("port", [8500, 8501, 8502])
def test_nothing_listens_any_more(host, port):
    assert not host.socket(f"tcp://127.0.0.1:{port}").is_listening


def test_the_models_stay(host):
    assert host.file(f"{MODELS}/digits/2/saved_model.pb").is_file
    assert host.file(f"{MODELS}/digits_detector/1/manifest.json").is_file
