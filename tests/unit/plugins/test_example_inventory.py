"""The example inventory is what a newcomer copies: it names every variable, and what it says is accepted."""

import pathlib
import re

import pytest
import yaml
from ansible_collections.tfleet.serving.plugins.module_utils import models as rules
from ansible_collections.tfleet.serving.plugins.module_utils import servers

CHECKOUT = pathlib.Path(__file__).parents[3]
EXAMPLE = CHECKOUT / "inventories/example/group_vars/all.yml"
DEFAULTS = sorted(CHECKOUT.glob("roles/*/defaults/main.yml"))


@pytest.mark.parametrize("path", DEFAULTS, ids=[path.parts[-3] for path in DEFAULTS])
def test_every_public_variable_of_a_role_is_explained(path):
    text = EXAMPLE.read_text()
    assert [name for name in yaml.safe_load(path.read_text()) if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize("key", rules.MODEL_KEYS + rules.RELEASE_KEYS)
def test_every_key_of_a_model_is_explained(key):
    assert re.search(rf"\b{key}:", EXAMPLE.read_text())


def test_its_models_are_accepted():
    models = rules.normalise(yaml.safe_load(EXAMPLE.read_text())["tfleet_models"], "/data/models", "/checkout")
    assert [model["labels"] for model in models] == [{"canary": 5, "stable": 4}]


def test_one_host_has_a_server_on_each_gpu():
    (chosen,) = [yaml.safe_load(path.read_text()) for path in (CHECKOUT / "inventories/example/host_vars").iterdir()]
    group = yaml.safe_load((CHECKOUT / "inventories/example/group_vars/gpu_servers.yml").read_text())
    assert group["model_server_backend"] == "container"
    for gpu, names in ((chosen["model_server_gpu"], ["s-gpu0", "s-gpu1"]), (group["model_server_gpu"], ["s"])):
        assert [server["name"] for server in servers.container_servers(gpu, "s", 8500, 8501, "/guard.json", "127.0.0.1")] == names
