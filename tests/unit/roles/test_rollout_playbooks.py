"""What playbooks/rollout.yml and playbooks/pull.yml hand on for a host."""

import json
import os
import pathlib
import subprocess
import sys

import jinja2
import pytest
import yaml
from ansible_collections.tfleet.serving.plugins.module_utils.compatibility import hardware_class_of

PLAYBOOKS = pathlib.Path(__file__).parents[3] / "playbooks"


def tasks(name):
    return yaml.safe_load((PLAYBOOKS / f"{name}.yml").read_text())[0]["tasks"]


@pytest.mark.parametrize(("resolved", "facts", "expected"), [
    ({"hardware_class": "xavier_trt-8"}, {"tfleet_device": {"hardware_class": "xavier"}, "architecture": "aarch64"}, "xavier_trt-8"),
    ({"hardware_class": None}, {"tfleet_device": {"hardware_class": "cpu-avx2"}, "architecture": "x86_64"}, "cpu-avx2"),
    ({"hardware_class": None}, {"tfleet_device": {"hardware_class": None}, "architecture": "x86_64"}, "x86_64"),
    (None, {}, ""),
])
def test_the_hardware_class_is_what_is_known_of_the_host(resolved, facts, expected):
    fact, chosen_by = "pull_runs", "tfleet.serving.unattended_runs"
    (task,) = [task for task in tasks("pull") if fact in task.get("ansible.builtin.set_fact", {})]
    # Ansible's own undefined values can be followed too.
    templates = jinja2.Environment(undefined=jinja2.ChainableUndefined)
    templates.filters[chosen_by] = lambda _models, *arguments: arguments[-1]
    variables = {"ansible_facts": facts, "tfleet_work_dir": "/work", **({} if resolved is None else {"preflight_resolved": resolved})}
    for variable, text in task.get("vars", {}).items():
        variables[variable] = templates.from_string(text).render(variables)
    assert templates.from_string(task["ansible.builtin.set_fact"][fact]).render(variables) == expected
    # As what rollouts choose by.
    assert hardware_class_of(resolved, facts.get("tfleet_device"), facts) == expected


def test_a_device_that_updates_itself_is_a_fleet_of_one_whatever_canaries_are_declared(tmp_path):
    (task,) = [task for task in tasks("pull") if "ansible.builtin.command" in task]
    # What would be called, instead of calling it.
    shown = tmp_path / "argv.json"
    command = task.pop("ansible.builtin.command")
    task["vars"] = {**task.get("vars", {}), "__argv": command["argv"]}
    task["ansible.builtin.copy"] = {"content": "{{ __argv | to_json }}", "dest": str(shown), "mode": "0600"}
    play = tmp_path / "play.yml"
    play.write_text(yaml.safe_dump([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}]))
    run = {"model": "digits", "version": 2, "variables": {"rollout_model": "digits"}, "reason": "new"}
    variables = {"pull_runs": [run], "pull_variables_file": "/etc/variables.yml", "rollout_canaries": ["other"], "ansible_python_interpreter": sys.executable}
    done = subprocess.run(
        [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-e", json.dumps(variables), str(play)],
        env={**os.environ, "ANSIBLE_HOME": str(tmp_path / "ansible"), "ANSIBLE_NOCOLOR": "1"}, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    argv = json.loads(shown.read_text())
    given = [value for option, value in zip(argv, argv[1:]) if option == "--extra-vars"]
    assert given[0] == "@/etc/variables.yml"
    assert json.loads(given[1]) == {"rollout_model": "digits", "rollout_canaries": []}
