"""What a rollout has to know of its hosts, in one call each: of one that answers, of one that does not, and of one whose declaration is wrong."""

import json
import os
import subprocess
import sys

import pytest

from .device_tools import DEVICES, parameters, trees

CLASS = "orin-nano-p3767-0005_l4t-36.4.3_image-24.11-tf2-py3-igpu"
RECORD = {"models": {"digits": {"release": {"version": 3, "source_version": 2, "source": "/variants/digits", "variant": "tflite-int8"}}}}
RELEASES = [{"version": version, "source": f"digits-{version}.pb"} for version in (1, 2)]


@pytest.fixture(scope="module")
def told(tmp_path_factory, collections_path):
    """{host: result} of one run over all of them."""
    place = tmp_path_factory.mktemp("target")
    options = parameters(trees.build(DEVICES["orin-nano-super-6.2"], place / "tree"))
    (place / "ansible.cfg").touch()
    (place / "conversions").mkdir()
    (place / f"conversions/{CLASS}.json").write_text(json.dumps(RECORD))
    asked = {"device": options, "runtime": {"tensorflow": 2, "in_image": True}, "models": [{"name": "digits", "releases": RELEASES}],
             "models_root": "/srv/models", "source_root": "/home/ops", "conversions_dir": str(place / "conversions"), "model": "digits",
             "version": "{{ version }}"}  # fmt: skip
    sudo = place / "ssh"
    sudo.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    sudo.chmod(0o755)
    broken = place / "python"
    broken.write_text("#!/bin/sh\necho 'SyntaxError: invalid syntax, seen at https://me:secret@example.org/' >&2\nexit 1\n")
    broken.chmod(0o755)
    hosts = {"orin": {"version": ""}, "away": {"ansible_connection": "ssh", "ansible_port": 9, "version": ""}, "wrong": {"version": 1},
             "closed": {"ansible_connection": "ssh", "ansible_ssh_executable": str(sudo), "ansible_become": True, "version": ""},
             "old": {"ansible_python_interpreter": str(broken), "version": ""}}  # fmt: skip
    for values in hosts.values():
        values.setdefault("ansible_connection", "local")
    inventory = {"all": {"vars": {"ansible_host": "127.0.0.1", "ansible_python_interpreter": sys.executable}, "hosts": hosts}}
    (place / "hosts.json").write_text(json.dumps(inventory))
    (place / "play.json").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [
        {"tfleet.serving.rollout_target": asked, "register": "answer", "ignore_errors": True},
        {"ansible.builtin.copy": {"content": "{{ answer | to_json }}", "dest": f"{place}/{{{{ inventory_hostname }}}}.json", "mode": "0600"},
         "delegate_to": "orin"}]}]))
    done = subprocess.run(
        ["ansible-playbook", "-i", str(place / "hosts.json"), str(place / "play.json")], cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False, env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": collections_path, "ANSIBLE_HOME": str(place / "home"),
                          "ANSIBLE_CONFIG": str(place / "ansible.cfg"), "ANSIBLE_PIPELINING": "1"})  # fmt: skip
    assert (place / "wrong.json").exists(), done.stdout + done.stderr
    return dict({host: json.loads((place / f"{host}.json").read_text()) for host in hosts}, output=done.stdout + done.stderr, place=place)


def test_a_host_that_answers_gets_its_release(told):
    facts = told["orin"]["ansible_facts"]
    assert (facts["tfleet_device"]["module"], facts["preflight_resolved"]["hardware_class"]) == ("orin-nano", CLASS)
    assert [(model["base_path"], [release["version"] for release in model["releases"]]) for model in facts["preflight_models"]] == [
        ("/srv/models/digits", [1, 2, 3])]
    # What was converted for its class stands for the version that it was made of.
    assert [facts["rollout_item"][key] for key in ("version", "source_version", "source")] == [3, 2, "/variants/digits"]
    assert told["orin"]["changed"] is False


@pytest.mark.parametrize(("host", "why"), [
    ("away", "Connection refused"), ("closed", "sudo password"), ("old", "SyntaxError: invalid syntax, seen at https://***"),
])
def test_a_host_that_does_not_answer_lacks_what_only_it_can_tell(told, host, why):
    facts = told[host]["ansible_facts"]
    assert not told[host].get("failed")
    assert not told[host].get("unreachable")
    assert why in told[host]["msg"]
    assert "secret" not in told[host]["msg"]
    assert f"{host}: " in told["output"]
    assert (sorted(facts), facts["preflight_resolved"], facts["rollout_item"]["version"]) == (["preflight_models", "preflight_resolved", "rollout_item"], {}, 2)


def test_what_is_declared_wrongly_is_said(told):
    assert told["wrong"]["failed"]
    assert told["wrong"]["msg"].startswith("Version 1 of digits was asked for, but tfleet_models declares version 3 for this host (hardware class orin-nano")
