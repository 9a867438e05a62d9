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
