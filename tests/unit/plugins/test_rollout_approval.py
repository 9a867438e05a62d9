"""Approval by a prompt needs somebody who can answer it."""
import json
import os
import subprocess
import sys

import pytest

AT_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


@pytest.fixture
def plan(collections_path, tmp_path):
    """``plan(approval, terminal)`` plans a rollout to one host; returns (exit code, output, whether it began)."""

    def run(approval, terminal=False, options=()):
        play = tmp_path / "play.json"
        task = {"do": "plan", "hosts": ["localhost"], "work_dir": str(tmp_path)}
        play.write_text(json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [{"tfleet.serving.rollout_control": task}]}]))
        variables = {"rollout_model": "digits", "rollout_item": {"version": 2}, "rollout_approval": approval}
        command = [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), "-i", "localhost,", "-e", json.dumps(variables), *options, str(play)]
        done = subprocess.run(
            [sys.executable, "-c", AT_A_TERMINAL, *command] if terminal else command,
            env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=collections_path, PYTHONPATH=collections_path, ANSIBLE_HOME=str(tmp_path / "ansible"),
                     ANSIBLE_NOCOLOR="1", TERM="dumb"),
            cwd=str(tmp_path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60)
        return done.returncode, " ".join(done.stdout.decode().split()), bool(list(tmp_path.glob("rollouts/digits-2-*")))

    return run


def test_a_prompt_that_nobody_can_answer_is_refused_before_anything_begins(plan):
    code, output, began = plan("prompt")
    assert (code, began) == (2, False), output
    assert "set rollout_approval to file" in output


@pytest.mark.parametrize(("approval", "terminal", "options"), [("prompt", True, ()), ("file", False, ()), ("prompt", False, ("--check",))])
def test_what_can_be_answered_or_asks_nobody_is_planned(plan, approval, terminal, options):
    code, output, began = plan(approval, terminal, options)
    assert (code, began) == (0, not options), output
    assert ("each wave asks for your approval" in output) == terminal
