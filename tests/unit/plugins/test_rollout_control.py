"""What happens on the controller before and between the steps, as ansible-playbook runs it."""
import json
import os
import subprocess
import sys

import pytest

AT_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
PLAN = {"tfleet.serving.rollout_control": {"do": "plan", "hosts": "{{ ansible_play_hosts_all }}", "work_dir": "{{ work }}"}, "run_once": True,
        "delegate_to": "localhost", "delegate_facts": True}


@pytest.fixture
def play(collections_path, tmp_path):
    """``play(*tasks, hosts, terminal, options, **variables)`` runs these tasks on hosts that nobody connects to; returns (exit code, output)."""

    def run(*tasks, hosts=("a",), terminal=False, options=(), **variables):
        path = tmp_path / "play.json"
        path.write_text(json.dumps([{"hosts": "all", "connection": "local", "gather_facts": False, "tasks": list(tasks)}]))
        inventory = tmp_path / "hosts.json"
        inventory.write_text(json.dumps({"all": {"hosts": hosts if isinstance(hosts, dict) else {name: {} for name in hosts}}}))
        command = [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), "-i", str(inventory), "-e",
                   json.dumps(dict(variables, work=str(tmp_path))), *options, str(path)]
        done = subprocess.run(
            [sys.executable, "-c", AT_A_TERMINAL, *command] if terminal else command,
            env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=collections_path, PYTHONPATH=collections_path, ANSIBLE_HOME=str(tmp_path / "ansible"),
                     ANSIBLE_NOCOLOR="1", TERM="dumb"),
            cwd=str(tmp_path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60)
        return done.returncode, " ".join(done.stdout.decode().split())

    return run


@pytest.fixture
def begun(tmp_path):
    """The ledgers that were begun."""
    return lambda: sorted(path.parent.name for path in tmp_path.glob("rollouts/*/ledger.jsonl"))


def choose(**versions):
    """The task that chooses the version of each host; 0 for a choice that fails."""
    return {"ansible.builtin.set_fact": {"rollout_item": {"version": "{{ chosen[inventory_hostname] or chosen.nowhere }}"}}, "vars": {"chosen": versions}}


# ---- approval by a prompt needs somebody who can answer it ----
def test_a_prompt_that_nobody_can_answer_is_refused_before_anything_begins(play, begun):
    code, output = play(choose(a=2), PLAN, rollout_model="digits", rollout_approval="prompt")
    assert (code, begun()) == (2, []), output
    assert "set rollout_approval to file" in output


@pytest.mark.parametrize(("approval", "terminal", "options"), [("prompt", True, ()), ("file", False, ()), ("prompt", False, ("--check",))])
def test_what_can_be_answered_or_asks_nobody_is_planned(play, begun, approval, terminal, options):
    code, output = play(choose(a=2), PLAN, terminal=terminal, options=options, rollout_model="digits", rollout_approval=approval)
    assert (code, len(begun())) == (0, 0 if options else 1), output
    assert ("each wave asks for your approval" in output) == terminal


# ---- who takes part ----
def test_a_host_whose_choice_failed_is_named_and_nothing_begins(play, begun):
    code, output = play(choose(a=2, b=0, c=2), PLAN, hosts="abc", rollout_model="digits")
    assert (code, begun()) == (2, []), output
    assert "What b gets is not known" in output
