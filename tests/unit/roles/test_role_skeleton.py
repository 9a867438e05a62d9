"""Every role is laid out the same way, and says the same in its defaults and in its argument specs."""

import pathlib

import pytest
import yaml

ROLES = sorted(path for path in (pathlib.Path(__file__).parents[3] / "roles").iterdir() if path.is_dir())
DYNAMIC = "{{"


def load(path):
    return yaml.safe_load(path.read_text()) or {}


def options_of(role):
    """All options of a role, of whichever entry point, with their specs."""
    options = {}
    for entry in load(role / "meta/argument_specs.yml")["argument_specs"].values():
        options.update(entry.get("options", {}))
    return options


@pytest.fixture(params=ROLES, ids=lambda role: role.name)
def role(request):
    return request.param


def has_default(option):
    """Ansible's documentation takes no sentence for the default of a bool or a dict: it is the last one of the description."""
    return "default" in option or (option["type"] in ("bool", "dict") and " By default " in option["description"])


def test_defaults_and_argument_specs_have_the_same_keys(role):
    documented = {name for name, option in options_of(role).items() if has_default(option)}
    assert documented == set(load(role / "defaults/main.yml"))


def test_documented_defaults_are_the_real_ones(role):
    options = options_of(role)
    for name, value in load(role / "defaults/main.yml").items():
        if DYNAMIC not in str(value):
            assert options[name]["default"] == value, name


def test_public_variables_carry_the_name_of_their_role(role):
    # The facts have variables of their own: a role that needs them again reads the same device.
    prefixes = (role.name + "_", "tfleet_") + (("jetson_facts_",) if role.name == "preflight" else ())
    assert [name for name in options_of(role) if not name.startswith(prefixes)] == []


def test_internal_variables_carry_the_mark_of_their_role(role):
    path = role / "vars/main.yml"
    names = load(path) if path.exists() else {}
    assert [name for name in names if not name.startswith(f"__{role.name}_")] == []


def test_the_main_task_file_is_a_table_of_contents(role):
    path = role / "tasks/main.yml"
    assert len(path.read_text().splitlines()) <= 60
    phases = {"ansible.builtin.include_tasks", "ansible.builtin.import_tasks", "ansible.builtin.include_role"}
    assert keywords(load(path)) <= phases | {"name", "when", "vars", "loop", "loop_control", "block"}


def keywords(tasks):
    """All keywords and modules of some tasks, those inside blocks included."""
    return {key for task in tasks for key in set(task) | keywords(task.get("block", []))}


def test_a_role_reads_the_device_as_the_preflight_does(role):
    # Called without the inventory's override and roots, the module would replace what is known of the device.
    if role.name != "preflight":
        assert [path.name for path in role.glob("tasks/*.yml") if "tfleet.serving.jetson_facts:" in path.read_text()] == []
