"""The steps gate and wait by their action, as a playbook does them: gates of more hosts than forks are at work together, and none of them is lost."""
import contextlib
import json
import os
import pathlib
import re
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest
from ansible_collections.tfleet.serving.plugins.action.rollout_host import _told
from ansible_collections.tfleet.serving.plugins.module_utils.lock import alone_in
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_ledger import Ledger

HOSTS = ("a", "b", "c")
PLAN = {"rollout": "digits-2-x", "model": "digits", "waves": [], "targets": dict.fromkeys(HOSTS, 2)}


@pytest.fixture
def rollout(tmp_path, collections_path):
    """rollout(time limit, then) -> (lines of the ledger by host, output) of a playbook that begins three gates and waits for them; hold() keeps them busy."""
    ledger = Ledger(str(tmp_path / "ledger"))
    ledger.create(PLAN)
    common = {"rollout": "digits-2-x", "by": "me@here", "model": "digits", "version": 2, "base_path": "{{ place }}/models", "ledger": ledger.directory,
              "config_file": "{{ place }}/model.config", "runtime": "/nonexistent/tfleet", "settings": {"rollout_step_seconds": 120}}
    step = {"common": common, "seen": {"entry_sha256": "another", "labels": {}, "versions": [], "available": []}}
    tasks = [
        {"tfleet.serving.rollout_host": dict(step, step="gate"), "register": "gate"},
        {"ansible.builtin.file": {"path": str(tmp_path / "all have begun"), "state": "touch"}, "run_once": True},
        {"tfleet.serving.rollout_host": dict(step, step="wait", job="{{ gate.job }}"), "timeout": "{{ limit }}"},
    ]
    play = tmp_path / "play.json"
    play.write_text(json.dumps([{"hosts": "all", "connection": "local", "gather_facts": False, "vars": {"place": f"{tmp_path}/{{{{ inventory_hostname }}}}"},
                                 "tasks": tasks}]))

    def run(limit, then, forks=1, **variables):
        with_hold = threading.Thread(target=hold, args=(tmp_path, then))
        with_hold.start()
        done = subprocess.run(
            [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), "--forks", str(forks), "-i", ",".join(HOSTS), str(play),
             "-e", json.dumps({"limit": limit, "ansible_python_interpreter": sys.executable, **variables})],
            env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=collections_path, PYTHONPATH=collections_path, ANSIBLE_HOME=str(tmp_path / "ansible"),
                     TMPDIR=str(tmp_path), ANSIBLE_BECOME_ALLOW_SAME_USER="1"),
            cwd=str(tmp_path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=120)
        with_hold.join()
        return {line["host"]: line for line in ledger.read()[1:]}, done.stdout.decode()

    for host in HOSTS:
        (tmp_path / host).mkdir()
        (tmp_path / host / "model.config").write_text("model_config_list {\n}\n")
    return run


def hold(place, then):
    """Keep all gates waiting for the device until each has been begun; ``then`` says what happens to them, with the devices still busy."""
    with contextlib.ExitStack() as busy:
        for host in HOSTS:
            busy.enter_context(alone_in(str(place / host), 5))
        until = time.monotonic() + 60
        while not (place / "all have begun").exists() and time.monotonic() < until:
            time.sleep(0.05)
        then()


def gates(place):
    """The processes that are at work on gates: who has the lock of one open."""
    found = []
    for link in pathlib.Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(str(link)).startswith(f"{place}/tfleet-gate-"):
                found.append(int(link.parts[2]))
    assert len(found) == len(HOSTS)
    return found


def test_more_gates_than_forks_are_at_work_together(rollout, tmp_path):
    modes = []
    lines, output = rollout(60, lambda: modes.extend(stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("tfleet-gate-*")))
    assert {host: (line["step"], line["outcome"]) for host, line in lines.items()} == dict.fromkeys(HOSTS, ("gate", "failed")), output
    # They were measured: somebody else had changed the device.
    assert all("changed since the rollout looked at it" in line["msg"] for line in lines.values()), lines
    assert output.count("failed=0") == len(HOSTS)
    # What a server's log says is nobody else's business, and is gone when it was told.
    assert (modes, list(tmp_path.glob("tfleet-gate-*"))) == ([0o700] * len(HOSTS), [])


def test_who_speaks_beside_the_answer_does_no_harm(rollout, tmp_path):
    # With a terminal, as ssh may have one, what sudo and the profile of a shell say comes in one stream with the answer.
    noisy = tmp_path / "sudo"
    noisy.write_text('#!/bin/sh\necho "sudo: unable to resolve host jetson"\necho used >> %s/used\nwhile [ "$1" != /bin/sh ]; do shift; done\n'
                     '"$@"; code=$?\nprintf "logout"; exit $code\n' % tmp_path)
    noisy.chmod(0o755)
    lines, output = rollout(60, lambda: None, ansible_become=True, ansible_become_exe=str(noisy))
    assert all("changed since the rollout looked at it" in line["msg"] for line in lines.values()), output
    assert all(line["seconds"] > 0 and line["detail"]["waited"] >= 0 for line in lines.values()), lines
    assert set(lines) == set(HOSTS)
    assert (tmp_path / "used").exists()


@pytest.mark.parametrize("told", ["", "[]", "{}", "half {", '"x"', '{"answer": null}', '{"answer": []}', '{"failure": "x"}'])
def test_an_answer_of_another_shape_is_none(told):
    assert _told("noise\n%s\nmore noise" % told) is None


def test_one_that_takes_too_long_is_given_up(rollout):
    lines, output = rollout(2, lambda: time.sleep(5), forks=len(HOSTS))
    assert sorted(re.findall(r"(\w): gate failed: The step gate was not done within 2 seconds", output)) == list(HOSTS), output
    assert {line["outcome"] for line in lines.values()} == {"failed"}


def test_one_whose_process_is_gone_has_failed(rollout, tmp_path):
    lines, output = rollout(60, lambda: [os.kill(pid, signal.SIGKILL) for pid in gates(tmp_path)])
    assert all("has left no answer: its process was killed" in line["msg"] for line in lines.values()), output
    assert set(lines) == set(HOSTS)
