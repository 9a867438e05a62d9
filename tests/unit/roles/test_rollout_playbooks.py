"""What playbooks/rollout.yml and playbooks/pull.yml hand on for a host."""

import pathlib

import jinja2
import pytest
import yaml

PLAYBOOKS = pathlib.Path(__file__).parents[3] / "playbooks"
RUNS_ON = {"rollout": ("rollout_item", "tfleet.serving.rollout_item"), "pull": ("pull_runs", "tfleet.serving.unattended_runs")}


def tasks(name):
    return yaml.safe_load((PLAYBOOKS / f"{name}.yml").read_text())[0]["tasks"]


@pytest.mark.parametrize("name", list(RUNS_ON))
@pytest.mark.parametrize(("resolved", "facts", "expected"), [
    ({"hardware_class": "xavier_trt-8"}, {"tfleet_device": {"hardware_class": "xavier"}, "architecture": "aarch64"}, "xavier_trt-8"),
    ({"hardware_class": None}, {"tfleet_device": {"hardware_class": "cpu-avx2"}, "architecture": "x86_64"}, "cpu-avx2"),
    ({"hardware_class": None}, {"tfleet_device": {"hardware_class": None}, "architecture": "x86_64"}, "x86_64"),
    (None, {}, ""),
])
def test_the_hardware_class_is_what_is_known_of_the_host(name, resolved, facts, expected):
    fact, chosen_by = RUNS_ON[name]
    (task,) = [task for task in tasks(name) if fact in task.get("ansible.builtin.set_fact", {})]
    # Ansible's own undefined values can be followed too.
    templates = jinja2.Environment(undefined=jinja2.ChainableUndefined)
    templates.filters[chosen_by] = lambda _models, *arguments: arguments[-1]
    variables = {"ansible_facts": facts, "tfleet_work_dir": "/work", **({} if resolved is None else {"preflight_resolved": resolved})}
    for variable, text in task.get("vars", {}).items():
        variables[variable] = templates.from_string(text).render(variables)
    assert templates.from_string(task["ansible.builtin.set_fact"][fact]).render(variables) == expected
