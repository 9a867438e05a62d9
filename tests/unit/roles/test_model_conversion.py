"""What the tasks of role model_conversion hand to the modules on a kind of host."""

import pathlib

import jinja2
import pytest
import yaml

ROLE = pathlib.Path(__file__).parents[3] / "roles/model_conversion"


def rendered(text, **variables):
    # Ansible's own undefined values can be followed too.
    return jinja2.Environment(undefined=jinja2.ChainableUndefined).from_string(text).render(**variables)


def gpu_of_host(kind):
    facts = {"tfleet_device": {"kind": kind}} if kind else {}
    return rendered(yaml.safe_load((ROLE / "defaults/main.yml").read_text())["model_conversion_gpu"], ansible_facts=facts)


def arguments(module):
    tasks = yaml.safe_load((ROLE / "tasks/judge.yml").read_text())
    return next(task[module] for task in tasks if module in task)


@pytest.mark.parametrize("module", ["tfleet.serving.model_parity", "tfleet.serving.model_benchmark"])
@pytest.mark.parametrize(("kind", "gpu"), [("jetson", "nvidia"), ("gpu_server", "all"), ("cpu_server", ""), (None, "")])
def test_variants_are_judged_on_the_gpu_where_there_is_one(module, kind, gpu):
    given = arguments(module)
    assert rendered(given["runtime_gpu"], model_conversion_gpu=gpu_of_host(kind)) == gpu
    assert rendered(given["runtime_image"], model_conversion_image="image") == "image"


OFFICIAL = {"model_server_backend": "container", "model_conversion_command": "/opt/tfleet/venv/bin/tfleet", "model_conversion_image": ""}


def role_refuses(items=1, **variables):
    task = yaml.safe_load((ROLE / "tasks/choose.yml").read_text())[-1]
    given = {**OFFICIAL, "model_conversion_items": [{}] * items, **variables}
    given.update({name: rendered(text, **given) for name, text in task["vars"].items()})
    return rendered("{{ %s }}" % task["ansible.builtin.assert"]["that"], **given) == "False"


def test_a_host_without_tensorflow_is_told_so():
    assert role_refuses()
    assert role_refuses(model_server_backend="systemd", model_server_program="tensorflow-model-server")
    assert role_refuses(tensorflow_runtime_form="client")


@pytest.mark.parametrize(
    "variables",
    [{"items": 0}, {"model_conversion_image": "own"}, {"tfleet_runtime_image": "tfleet-runtime:current"}, {"tensorflow_runtime_form": "environment"},
     {"model_server_backend": "systemd"}, {"model_conversion_command": "/opt/own/tfleet"}],
)  # fmt: skip
def test_a_host_that_can_convert_is_not_refused(variables):
    assert not role_refuses(**variables)


def test_the_form_is_the_one_that_the_runtime_gets():
    chosen = yaml.safe_load((ROLE.parent / "tensorflow_runtime/defaults/main.yml").read_text())["tensorflow_runtime_form"]
    here = yaml.safe_load((ROLE / "tasks/choose.yml").read_text())[-1]["vars"]["__model_conversion_form"]
    assert "".join(chosen.strip("{} ").split()) in "".join(here.split())
