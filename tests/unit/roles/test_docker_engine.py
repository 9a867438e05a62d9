"""What the role docker_engine refuses and what it says of logins that fail: everybody may read that, with -vvv too."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import yaml

ROLE = pathlib.Path(__file__).parents[3] / "roles/docker_engine"
HIDDEN = "not-in-any-log"
LOGINS = [{"registry": f"{name}.example.net", "username": "reader", "password": HIDDEN} for name in ("here", "there")]


def tasks_named(file, *names):
    return [task for task in yaml.safe_load((ROLE / "tasks" / file).read_text()) if task["name"] in names]


@pytest.fixture
def play(tmp_path):
    """``play(tasks, *options)`` runs tasks of the role on this host, whose docker refuses everything; returns exit status and output."""
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text('#!/bin/sh\ncat >/dev/null\necho "WARNING! Your password will be stored" >&2\necho "Error: unauthorized" >&2\nexit 1\n')
    docker.chmod(0o755)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {"there.example.net": {"auth": "bm90aGluZw=="}}}))

    def run(tasks, *options, **more):
        variables = {"__docker_engine_client_config": str(config), "__docker_engine_nothing_yet": False, "docker_engine_registry_logins": LOGINS,
                     "ansible_connection": "local", "ansible_python_interpreter": sys.executable, **more}
        (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}]))
        done = subprocess.run(["ansible-playbook", "-i", "localhost,", str(tmp_path / "play.yml"), *options],
                              env={**os.environ, "PATH": f"{docker.parent}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1"},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=tmp_path)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.parametrize("options", [(), ("-vvv",)])
def test_a_refused_login_is_said_without_its_password(play, options):
    status, output = play([{"ansible.builtin.include_tasks": str(ROLE / "tasks/login.yml")}], *options)
    assert status == 2, output
    assert "could not log in to here.example.net as reader: Error: unauthorized." in output
    assert "could not log in to there.example.net as reader: Error: unauthorized." in output
    assert HIDDEN not in output


def test_a_logout_that_fails_shows_no_password(play):
    status, output = play(tasks_named("remove.yml", "Look which logins root has", "Log out"), "-vvv")
    assert status == 2, output
    assert "there.example.net" in output
    assert HIDDEN not in output


@pytest.mark.parametrize(("version", "status"), [
    ("28.0.1", 2), ("5:28.0.1-1~ubuntu.22.04~jammy", 2), ("5:28.0.0-1~debian.12~bookworm", 2), ("5:27.5.1-1~ubuntu.22.04~jammy", 0), ("28.0.10", 0), ("", 0),
])
def test_a_version_that_fails_on_jetpack_6_is_refused_however_it_is_written(play, version, status):
    engine = yaml.safe_load((ROLE.parents[1] / "data/docker.yml").read_text())["engine"]
    known = {"__docker_engine_data": engine, "__docker_engine_kept": False, "__docker_engine_l4t": "36.4.3", "__docker_engine_wanted_version": version}
    done = play(tasks_named("refuse.yml", "Refuse a version that is known to fail on this L4T"), **known)
    assert done[0] == status, done[1]
