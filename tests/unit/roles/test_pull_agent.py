"""A device's own ansible-core is the one that is tested."""

import pathlib
import subprocess

import jinja2
import pytest
import yaml

CHECKOUT = pathlib.Path(__file__).parents[3]


def pins(name):
    return {line for line in (CHECKOUT / name).read_text().splitlines() if "==" in line and not line.startswith("#")}


def test_its_pins_are_those_of_a_checkout():
    own = pins("roles/pull_agent/files/requirements.txt")
    assert any(line.startswith("ansible-core==") for line in own)
    assert own <= pins("requirements.txt") | pins("runtime/requirements.txt")


@pytest.fixture
def written():
    """``written(environment)`` returns the unit and the file with its environment, as the role writes them."""
    role = CHECKOUT / "roles/pull_agent"
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(role / "templates"), trim_blocks=True, keep_trailing_newline=True)
    templates.filters["comment"] = "# {}".format

    def write(environment):
        variables = {**yaml.safe_load((role / "defaults/main.yml").read_text()), **yaml.safe_load((role / "vars/main.yml").read_text()),
                     "pull_agent_environment": environment}
        return [templates.get_template(name).render(variables) for name in ("tfleet-pull.service.j2", "environment.j2")]

    return write


def test_the_unit_that_everybody_reads_holds_no_password(written):
    unit, environment = written({"https_proxy": "http://user:secret@proxy:3128"})
    assert "secret" not in unit
    assert "\nEnvironmentFile=/etc/tfleet-pull/environment\n" in unit
    assert environment == 'https_proxy="http://user:secret@proxy:3128"\n'


def test_only_root_reads_its_environment_and_no_output_shows_it():
    block = yaml.safe_load((CHECKOUT / "roles/pull_agent/tasks/timer.yml").read_text())[0]["block"]
    (task,) = [task for task in block if task.get("ansible.builtin.template", {}).get("src") == "environment.j2"]
    assert task["ansible.builtin.template"]["mode"] == "0600"
    assert task["no_log"] is True


def test_values_of_the_environment_are_quoted(written):
    # A shell reads double quotes as systemd does here.
    value = 'a "b" \\ %h \'c\' #d'
    _unit, environment = written({"NAME": value})
    assert subprocess.run(["sh", "-c", environment + 'printf %s "$NAME"'], stdout=subprocess.PIPE, text=True, check=True).stdout == value
