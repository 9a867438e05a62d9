"""What happens on the controller before and between the steps, as ansible-playbook runs it."""
import json
import os
import pathlib
import platform
import re
import subprocess
import sys

import pytest
import yaml
from ansible_collections.tfleet.serving.plugins.action.rollout_control import ActionModule
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_ledger import Ledger
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_lock import ControllerLock, Hold
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_settings import settings

ROOT = pathlib.Path(__file__).parents[3]
AT_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
PLAN = {"tfleet.serving.rollout_control": {"do": "plan", "hosts": "{{ ansible_play_hosts_all }}", "work_dir": "{{ work }}"}, "run_once": True,
        "delegate_to": "localhost", "delegate_facts": True}


@pytest.fixture
def play(collections_path, tmp_path):
    """``play(*tasks, hosts, terminal, options, **variables)`` runs these tasks on hosts that nobody connects to; returns (exit code, output)."""

    def run(*tasks, hosts=("a",), terminal=False, options=(), **variables):
        path = tmp_path / "play.json"
        path.write_text(json.dumps([{"hosts": "all", "connection": "local", "gather_facts": False, "tasks": list(tasks)}]))
        config = tmp_path / "ansible.cfg"
        config.touch()
        inventory = tmp_path / "hosts.json"
        inventory.write_text(json.dumps({"all": {"hosts": hosts if isinstance(hosts, dict) else {name: {} for name in hosts}}}))
        command = [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), "-i", str(inventory), "-e",
                   json.dumps(dict(variables, work=str(tmp_path))), *options, str(path)]
        done = subprocess.run(
            [sys.executable, "-c", AT_A_TERMINAL, *command] if terminal else command,
            env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=collections_path, PYTHONPATH=collections_path, ANSIBLE_HOME=str(tmp_path / "ansible"),
                     # Whatever the caller has configured: the output is read.
                     ANSIBLE_CONFIG=str(config), ANSIBLE_NOCOLOR="1", TERM="dumb"),
            cwd=str(tmp_path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60)
        return done.returncode, " ".join(done.stdout.decode().split())

    return run


@pytest.fixture
def ledger(tmp_path):
    """``ledger(lines, name)`` writes one of a rollout of digits to a, b and c, the first of them a canary; returns it."""

    def write(*lines, name="digits-2-20261121T000000Z", **plan):
        made = Ledger(str(tmp_path / "rollouts" / name))
        made.create({"rollout": name, "model": "digits", "by": "me@here", "supersede": [], "targets": {"a": 2, "b": 2, "c": 2},
                     "waves": [{"number": 1, "kind": "canary", "hosts": ["a"]}, {"number": 2, "kind": "wave", "hosts": ["b", "c"]}], **plan})
        for line in lines:
            made.append(line)
        return made

    return write


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


SHOWN = {"ansible.builtin.debug": {"msg": "{{ hostvars['localhost'].rollout_control | to_json }}"}, "run_once": True}


def shown(output):
    """The fact rollout_control, as the task SHOWN printed it."""
    return json.loads(json.loads('"%s"' % re.search(r'"msg": "({.*?})" ', output).group(1)))


def test_a_limit_cuts_the_waves_of_a_resumed_rollout_and_not_only_its_hosts(play, ledger):
    # Waves of one and two hosts: without b the second has one, and the sizes may not tell otherwise.
    made = ledger({"step": "run"}, *answers("stage", a="unreachable"))
    code, output = play(PLAN, SHOWN, hosts="abc", options=("--limit", "a,c"), rollout_resume=os.path.basename(made.directory))
    assert code == 0, output
    assert (shown(output)["order"], shown(output)["sizes"]) == (["a", "c"], [1, 1])


def test_what_is_owed_asks_for_its_model_and_not_for_its_version(play, ledger):
    made = ledger({"step": "run"}, *answers("stage", a="ok"), *answers("gate", a="failed"),
                  {"step": "decision", "wave": 1, "verdict": "stop", "reason": "", "roll_back": ["a"]}, *answers("gate", b="failed", c="failed"))
    resume = {"rollout_resume": os.path.basename(made.directory)}
    code, output = play(PLAN, hosts={"a": {"rollout_item": {}}, "b": {}, "c": {}}, **resume)
    assert code == 2, output
    assert "a have to be rolled back, and tfleet_models has no digits for them by now" in output
    # The device knows which version it has to put away.
    code, output = play(PLAN, SHOWN, hosts={"a": {"rollout_item": {"version": 7}}, "b": {}, "c": {}}, **resume)
    assert code == 0, output
    assert "a" in shown(output)["owed"]


def bad_canary(ledger, a="unreachable"):
    """The ledger of a rollout that was stopped after its canary, which went back or not; b has it all already, c waits."""
    lines = [*answers("stage", a="ok", b="ok", c="ok"), *answers("gate", a="failed")]
    lines[1]["detail"] = {"settled": True}
    return ledger({"step": "run"}, *lines, {"step": "decision", "wave": 1, "verdict": "stop", "reason": "", "roll_back": ["a"]}, *answers("rollback", a=a))


@pytest.mark.parametrize("c", [{"rollout_item": {"version": 1}}, None])
def test_who_merely_waits_holds_up_no_rollback_that_is_owed(play, ledger, c):
    # The bad release was taken out of the inventory, and so was b, which is done; or so was c.
    made = bad_canary(ledger)
    hosts = {"a": {"rollout_item": {"version": 1}}, **({"c": c} if c else {})}
    code, output = play(PLAN, SHOWN, hosts=hosts, rollout_resume=os.path.basename(made.directory))
    assert code == 0, output
    assert (shown(output)["owed"], shown(output)["order"]) == (["a"], [])
    assert "left out: c. " in output
    assert ("brings version 2 to c, and tfleet_models declares version 1 there by now" if c else "does not have: c. Take the inventory") in output


def test_a_host_whose_release_cannot_be_built_holds_up_no_rollback_that_is_owed(play, ledger):
    made = bad_canary(ledger)
    code, output = play(choose(a=2, b=2, c=0), PLAN, SHOWN, hosts="abc", rollout_resume=os.path.basename(made.directory))
    assert (shown(output)["owed"], shown(output)["order"]) == (["a"], []), (code, output)
    assert "left out: c. What c gets is not known" in output


def test_where_nothing_is_owed_another_version_is_refused_of_hosts_of_this_run(play, ledger):
    made = bad_canary(ledger, "ok")
    hosts, resume = {"a": {"rollout_item": {"version": 1}}, "c": {"rollout_item": {"version": 1}}}, {"rollout_resume": os.path.basename(made.directory)}
    code, output = play(PLAN, SHOWN, hosts=hosts, **resume)
    assert code == 2, output
    assert "brings version 2 to c, and tfleet_models declares version 1 there by now. Begin a new rollout" in output
    code, output = play(PLAN, SHOWN, hosts=hosts, options=("--limit", "a"), **resume)
    assert (code, shown(output)["order"]) == (0, []), output


@pytest.mark.parametrize(("first", "superseded"), [(b"", False), (b'{"step": "pl', False), (b'{"step": "pl@@\n', True)])
def test_a_rollout_without_a_plan_shuts_nobody_out(play, ledger, begun, first, superseded):
    made = ledger()
    pathlib.Path(made.path).write_bytes(first)
    name = os.path.basename(made.directory)
    more = {"rollout_supersede": name} if superseded else {}
    code, output = play(choose(a=2), PLAN, rollout_model="digits", **more)
    assert code == 0, output
    assert [other for other in begun() if other != name], output


def test_a_damaged_ledger_shuts_nobody_out_after_another_rollout_took_its_place(play, ledger, begun):
    damaged, second = ledger(), "digits-3-20261122T000000Z"
    with open(damaged.path, "a") as stream:
        stream.write("XX\n")
    code, output = play(choose(a=4), PLAN, rollout_model="digits")
    assert (code, len(begun())) == (2, 1), output
    assert "is damaged" in output
    assert "-e rollout_supersede=%s" % os.path.basename(damaged.directory) in output
    ledger({"step": "run"}, *answers("stage", a="ok"), *answers("gate", a="ok"), *answers("promote", a="ok"), *answers("check", a="ok"), name=second,
           supersede=[os.path.basename(damaged.directory)])
    code, output = play(choose(a=4), PLAN, rollout_model="digits")
    assert (code, len(begun())) == (0, 3), output


def test_a_damaged_ledger_shuts_nobody_out_after_another_rollout_began(play, ledger, begun):
    damaged = ledger()
    with open(damaged.path, "a") as stream:
        stream.write("XX\n")
    ledger({"step": "run"}, *(answer for step in ("stage", "gate", "promote", "check") for answer in answers(step, a="ok")), name="digits-3-20261122T000000Z")
    code, output = play(choose(a=4), PLAN, rollout_model="digits")
    assert (code, len(begun())) == (0, 3), output
    assert "left out: %s. Line 2 of %s is damaged" % (os.path.basename(damaged.directory), damaged.path) in output


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_damaged_ledger_is_named_and_all_others_are_shown(ledger, tmp_path, number):
    made = [ledger({"step": "run"}, *answers("stage", a="unreachable"), name="digits-%d-2026112%dT000000Z" % (version, version)) for version in (2, 3, 4)]
    other = ledger({"step": "run"}, name="faces-1-20261121T000000Z", model="faces")
    damaged = pathlib.Path(made[number].path)
    damaged.write_text(damaged.read_text().replace('"run"', '"ru'))
    told = ActionModule.__new__(ActionModule)._waiting({"work_dir": str(tmp_path)})
    assert [[rollout["rollout"] for rollout in model["rollouts"]] for model in told["trends"]] == [
        [os.path.basename(kept.directory) for kept in made if kept is not made[number]], [os.path.basename(other.directory)]]
    assert [sentence for sentence in told["sentences"] if "Line 2 of %s is damaged" % damaged in sentence]
    assert [sentence.split(", ")[0] for sentence in told["sentences"] if "not reached: a." in sentence] == [os.path.basename(made[2].directory)] * (number != 2)


def test_what_an_unfinished_rollout_took_over_is_taken_over_with_it(play, ledger):
    # c is still held by the first of three rollouts, of which the second died before it came to c.
    ledger({"step": "run"}, *answers("stage", c="ok"), *answers("gate", c="unreachable"))
    second = "digits-3-20261122T000000Z"
    ledger({"step": "run"}, *answers("stage", a="ok"), *answers("gate", a="ok"), name=second, supersede=["digits-2-20261121T000000Z"])
    code, output = play(choose(a=4, b=4, c=4), PLAN, SHOWN, hosts="abc", rollout_model="digits", rollout_supersede=second)
    assert code == 0, output
    assert shown(output)["supersede"] == [second, "digits-2-20261121T000000Z"]


def test_a_canary_is_a_host_that_answered(play, ledger, begun, tmp_path):
    hosts = {"off": {}, "server": {"preflight_resolved": {"hardware_class": "cpu-x86_64"}}, "other": {"preflight_resolved": {"hardware_class": "cpu-x86_64"}}}
    code, output = play(choose(off=2, server=2, other=2), PLAN, hosts=hosts, rollout_model="digits", rollout_waves=["100%"])
    assert code == 0, output
    waves = Ledger(str(tmp_path / "rollouts" / begun()[0])).read()[0]["waves"]
    assert [(wave["kind"], wave["hosts"]) for wave in waves] == [("canary", ["server"]), ("wave", ["off", "other"])]


# ---- decisions ----
def decide(after, hosts):
    """The task that decides, and one that shows what was decided."""
    return [{"tfleet.serving.rollout_control": {"do": "decide", "after": after, "hosts": hosts, "directory": "{{ work }}/rollouts/digits-2-20261121T000000Z"},
             "delegate_to": "localhost", "delegate_facts": True},
            {"ansible.builtin.debug": {"msg": "{{ hostvars['localhost'].rollout_verdict | to_json }}"}}]


def answers(step, **outcomes):
    return [{"host": host, "step": step, "outcome": outcome, "seconds": 1, "msg": "as told"} for host, outcome in outcomes.items()]


@pytest.mark.parametrize(("outcomes", "silent", "allowed", "stop"), [
    ({"a": "ok", "b": "ok", "c": "failed"}, [], 0, True), ({"a": "ok", "b": "ok"}, ["c"], 0, True), ({"a": "ok", "b": "ok", "c": "failed"}, [], 1, False),
])
def test_what_fails_while_it_is_staged_is_decided_before_the_first_wave_and_takes_nobody_back(play, ledger, outcomes, silent, allowed, stop):
    # c belongs to the last wave: it must not be found when the canary has the version, which would go back for it.
    made = ledger({"step": "run"}, *answers("stage", **outcomes))
    checked = settings({"rollout_budget_hosts": allowed, "rollout_rollback": "all"})
    code, output = play({"ansible.builtin.set_fact": {"rollout_control": {"settings": checked}}, "delegate_to": "localhost", "delegate_facts": True},
                        *decide("stage", ["a", "b", "c"]))
    assert code == 0, output
    lines = made.read()
    assert (lines[-1]["step"], lines[-1]["after"], lines[-1]["verdict"], lines[-1]["roll_back"]) == ("decision", "stage", "stop" if stop else "go_on", [])
    assert [line["host"] for line in lines if line.get("outcome") == "silent"] == silent
    assert "staging: 2 of 3 hosts passed" in output
    assert ('"stop": true' in output.replace("\\", "")) == stop


def test_hosts_that_have_it_all_already_take_part_in_no_wave(play, ledger):
    lines = answers("stage", a="ok", b="ok", c="ok")
    lines[0]["detail"] = lines[2]["detail"] = {"settled": True}
    made = ledger({"step": "run"}, *lines)
    code, output = play({"ansible.builtin.set_fact": {"rollout_control": {"settings": settings({})}}, "delegate_to": "localhost", "delegate_facts": True},
                        *decide("stage", ["a", "b", "c"]))
    assert code == 0, output
    said = output.replace("\\", "")
    assert '"order": ["b"]' in said, output
    assert '"sizes": [1]' in said, output
    assert "staging: 3 of 3 hosts passed" in output
    assert made.read()[-1]["verdict"] == "go_on"


@pytest.mark.parametrize(("held", "left"), [(False, [("promote", "failed")]), (True, [("promote", "ok"), ("check", "failed")])])
def test_a_host_whose_labels_did_not_move_is_not_asked_after_the_soak(play, ledger, tmp_path, held, left):
    made = ledger({"step": "run"})
    if held:
        # After an exchange, and with no label that is to move, there is nothing left to do for it.
        hold = Hold(str(tmp_path))
        hold.note(hold.take(os.path.basename(made.directory), "me", 2, {"labels": {}}), exchanged=True)
    # The tasks as they are in the playbook and in the role, but for the options of the step.
    (step,) = yaml.safe_load((ROOT / "roles/model_server/tasks/rollout.yml").read_text())
    step["tfleet.serving.rollout_host"] = {
        "step": "{{ rollout_step }}", "rollout": os.path.basename(made.directory), "ledger": made.directory, "model": "digits", "version": 2,
        "base_path": str(tmp_path), "config_file": str(tmp_path / "model.config")}
    step.update(vars={}, timeout=60)
    (tmp_path / "step.yml").write_text(yaml.safe_dump([step]))
    plays = yaml.safe_load((ROOT / "playbooks/rollout.yml").read_text())
    tasks = [task for part in plays for task in part["tasks"] if task.get("vars", {}).get("rollout_step") in ("promote", "check")]
    for task in tasks:
        assert task.pop("ansible.builtin.import_role")["tasks_from"] == "rollout"
        task["ansible.builtin.import_tasks"] = str(tmp_path / "step.yml")
    code, output = play(*tasks, rollout_verdict={"go": ["a"]}, ansible_python_interpreter=sys.executable)
    assert (code, [(line["step"], line["outcome"]) for line in made.read()[2:]]) == (0, left), output


@pytest.mark.parametrize(("step", "kept", "taken"), [("gate", "now", "kept"), ("gate", "before", "made"), ("stage", "now", "made"), ("rollback", None, "made")])
def test_options_that_a_fact_cache_keeps_are_those_of_another_run(play, tmp_path, step, kept, taken):
    (task,) = yaml.safe_load((ROOT / "roles/model_server/tasks/rollout.yml").read_text())
    variables = {"__model_server_common": task["vars"]["__model_server_common"], "__model_server_rollout": {"run": "now"}, "rollout_step": step,
                 "__model_server_made": {"are": "made"}, **({"rollout_common": {"run": kept, "are": "kept"}} if kept else {})}  # fmt: skip
    code, output = play({"ansible.builtin.debug": {"msg": "they are {{ __model_server_common.are }}"}, "vars": variables})
    assert (code, f"they are {taken}" in output) == (0, True), output


# ---- one at a time ----
ELSEWHERE = {"rollout": "digits-1-20261120T000000Z", "pid": 1, "start_time": 1, "boot_id": "b", "host": "runner-7", "by": "ops", "since": "yesterday"}


@pytest.fixture
def lock(tmp_path):
    """The file of the lock of digits."""
    (tmp_path / "rollouts").mkdir(exist_ok=True)
    return tmp_path / "rollouts/digits.lock"


def test_the_lock_is_taken_before_the_ledgers_are_read(play, ledger, lock):
    # The rollout that goes on elsewhere stands half way: whoever reads its ledger first tells to resume it.
    made = ledger({"step": "run"}, *answers("stage", a="ok"), *answers("gate", a="ok"))
    lock.write_text(json.dumps(dict(ELSEWHERE, rollout=os.path.basename(made.directory))))
    code, output = play(choose(a=2), PLAN, rollout_model="digits")
    assert code == 2
    assert "goes on now, in process 1 on runner-7" in output
    assert "stands half way" not in output


def test_a_plan_that_is_refused_leaves_no_lock(play, ledger, lock):
    ledger({"step": "run"}, *answers("stage", a="ok"), *answers("gate", a="ok"))
    code, output = play(choose(a=2), PLAN, rollout_model="digits")
    assert code == 2
    assert "stands half way" in output
    assert not lock.exists()


def test_the_lock_of_a_machine_that_is_gone_is_taken_over_by_its_name(play, begun, lock):
    lock.write_text(json.dumps(ELSEWHERE))
    code, output = play(choose(a=2), PLAN, rollout_model="digits")
    assert (code, begun()) == (2, [])
    assert "If runner-7 is gone for good (switched off, a container that was removed), take its lock over with -e rollout_take_over=runner-7" in output
    code, output = play(choose(a=2), PLAN, rollout_model="digits", rollout_take_over="runner-7")
    assert (code, len(begun())) == (0, 1), output
    assert "its lock was taken over" in output
    assert json.loads(lock.read_text())["rollout"] == begun()[0]


def test_no_name_takes_a_lock_but_that_of_the_machine_that_has_it_and_none_where_its_process_lives(lock):
    held = ControllerLock(str(lock.parent), "digits")
    lock.write_text(json.dumps(dict(ELSEWHERE, rollout="playbooks/rollback.yml")))
    # As somebody's command line may still have it.
    with pytest.raises(ModuleError, match=r"playbooks/rollback.yml returns digits to an earlier version now, in process 1 on runner-7"):
        held.take("digits-1-a", os.getpid(), "me", gone="runner-6")
    assert held.take("digits-1-a", os.getppid(), "me", gone="runner-7") == "playbooks/rollback.yml"
    with pytest.raises(ModuleError, match=r"rollout_resume=digits-1-a\.\Z"):
        held.take("digits-1-b", os.getpid(), "me", gone=platform.node())


@pytest.mark.parametrize("other", [{"start_time": 1}, {"boot_id": "before"}])
def test_a_process_that_has_the_number_of_one_that_is_gone_is_another(lock, other):
    held = ControllerLock(str(lock.parent), "digits")
    assert held.take("digits-1-a", os.getpid(), "me") is None
    assert held.take("digits-1-b", os.getpid(), "me") is None
    lock.write_text(json.dumps(dict(held.holder(), **other)))
    assert held.take("digits-1-c", os.getpid(), "me") == "digits-1-b"
    assert held.take("digits-1-c", os.getpid(), "me") is None


LOCK = {"tfleet.serving.rollout_control": {"do": "lock", "models": ["digits", "faces"], "work_dir": "{{ work }}"}, "delegate_to": "localhost"}
BY_HAND = {"tfleet.serving.rollout_control": {"do": "by_hand", "hosts": ["a"], "models": ["digits", "faces"], "work_dir": "{{ work }}"},
           "delegate_to": "localhost"}


def test_a_rollback_by_hand_has_the_lock_of_each_model_or_none(play, ledger, tmp_path, lock):
    faces = tmp_path / "rollouts/faces.lock"
    faces.write_text(json.dumps(dict(ELSEWHERE, rollout="faces-1-20261120T000000Z")))
    code, output = play(LOCK)
    assert code == 2
    assert "The rollout faces-1-20261120T000000Z of faces goes on now" in output
    # What it had taken already is given back.
    assert not lock.exists()
    faces.unlink()
    # What cannot be noted is said, and no more.
    ledger()
    with open(tmp_path / "rollouts/digits-2-20261121T000000Z/ledger.jsonl", "a") as stream:
        stream.write("XX\n")
    code, output = play(LOCK, {"ansible.builtin.debug": {"msg": "held by {{ (lookup('file', work ~ '/rollouts/digits.lock') | from_json).rollout }}"}}, BY_HAND)
    assert (code, lock.exists(), faces.exists()) == (0, False, False), output
    assert "held by playbooks/rollback.yml" in output
    assert "not noted: Line 2 of" in output


def test_a_rollback_by_hand_locks_the_models_of_all_hosts_and_gives_them_back(play, tmp_path):
    (playbook,) = yaml.safe_load((ROOT / "playbooks/rollback.yml").read_text())
    lock, by_hand = [dict(task, vars=playbook["vars"]) for task in playbook["tasks"] if "tfleet.serving.rollout_control" in task]
    held = {"ansible.builtin.debug": {"msg": "held: {{ query('fileglob', work ~ '/rollouts/*.lock') | map('basename') | sort | join(' ') }}."},
            "run_once": True, "delegate_to": "localhost"}
    hosts = {"a": {"preflight_models": [{"name": "digits"}]}, "b": {"preflight_models": [{"name": "faces"}, {"name": "digits"}]}, "c": {}}
    code, output = play(lock, held, by_hand, hosts=hosts, tfleet_work_dir=str(tmp_path))
    assert code == 0, output
    assert "held: digits.lock faces.lock." in output
    assert not list(tmp_path.glob("rollouts/*.lock"))
    code, output = play(lock, held, by_hand, hosts=hosts, tfleet_work_dir=str(tmp_path), rollback_model="faces")
    assert code == 0, output
    assert "held: faces.lock." in output
    assert not list(tmp_path.glob("rollouts/*.lock"))


def test_a_rollback_by_hand_lets_no_step_begin_that_was_given_up_before(play, tmp_path):
    (playbook,) = yaml.safe_load((ROOT / "playbooks/rollback.yml").read_text())
    names = [task["name"] for task in playbook["tasks"]]
    first, last = names.index("Look which rollout has the host"), names.index("Forget what a rollout has noted on the host")
    held, free = tmp_path / "held", tmp_path / "free"
    for path in (held, free):
        path.mkdir()
    hold = Hold(str(held))
    hold.end(["digits-1-x"])
    hold.take("digits-2-x", "me", 2, {"labels": {}})
    plan = [{"name": path.name, "base_path": str(path)} for path in (held, free)]
    code, output = play(*playbook["tasks"][first:last + 1], model_release_rollback={"plan": plan}, ansible_python_interpreter=sys.executable)
    assert code == 0, output
    assert ((held / ".rolled_back").read_text(), list(free.iterdir()), hold.read()) == ("digits-1-x\ndigits-2-x\n", [], None)
    with pytest.raises(ModuleError, match="was taken back on this device"):
        hold.take("digits-2-x", "me", 2, {"labels": {}})


# ---- releases that cannot be built ----
@pytest.fixture
def fleet(ledger, tmp_path):
    """``fleet(source, golden, *options)`` runs the playbook on three hosts of this machine that serve nothing, with the work directory of ``ledger``.

    ``wrong`` names one for which the model is declared wrongly.
    """

    def run(source, golden, *options, wrong=None):
        models = [{"name": "digits", "releases": [{"version": 2, "source": source, "golden": golden, "variant": "as-it-is"}]}]
        shared = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "tfleet_source_root": str(ROOT),
                  "tfleet_work_dir": str(tmp_path), "model_server_backend": "embedded", "tfleet_models": models,
                  "tfleet_runtime": str(pathlib.Path(sys.executable).parent / "tfleet")}
        hosts = {name: {"tfleet_models_root": str(tmp_path / name), "tfleet_config_dir": str(tmp_path / name)} for name in "abc"}
        if wrong:
            hosts[wrong]["tfleet_models"] = [{"name": "digits", "releases": []}]
        inventory = tmp_path / "hosts.json"
        inventory.write_text(json.dumps({"all": {"vars": shared, "children": {"cpu_servers": {"hosts": hosts}, "gpu_servers": {}, "jetsons": {}}}}))
        done = subprocess.run(
            [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), "-i", str(inventory), str(ROOT / "playbooks/rollout.yml"), *options],
            env=dict(os.environ, ANSIBLE_HOME=str(tmp_path / "ansible"), NO_COLOR="1", ANSIBLE_FORCE_COLOR="0"), cwd=str(ROOT), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=120)
        return done.returncode, " ".join(done.stdout.decode().split())

    return run


@pytest.mark.parametrize(("source", "golden", "begins"), [
    # What is no model, golden answers that are not there, and one with which all is well.
    ("docs", "docs/rollout.md", False), ("{tmp}/saved", "nowhere.npz", False), ("{tmp}/saved", "docs/rollout.md", True),
])
def test_what_is_owed_is_done_whether_or_not_todays_release_can_be_built(fleet, ledger, tmp_path, source, golden, begins):
    made = bad_canary(ledger)
    for name in ("a", "b", "c", "saved"):
        (tmp_path / name).mkdir()
    (tmp_path / "saved/saved_model.pb").write_bytes(b"graph")
    code, output = fleet(source.format(tmp=tmp_path), golden, "-e", "rollout_resume=" + os.path.basename(made.directory))
    steps = [(line["host"], line["step"], line["outcome"]) for line in made.read()[8:] if "host" in line]
    # No server answers there.
    assert (code, steps) == (2, [("a", "rollback", "ok")] + [("c", "stage", "failed")] * begins), output
    assert ("left out: c. The releases cannot be built" in output) == (not begins), output


@pytest.mark.parametrize(("options", "wrong", "said"), [
    ((), None, "Say what to roll out: -e rollout_model=NAME"), (("-e", "rollout_model=digits"), "b", "What b gets is not known"),
])
def test_a_refusal_is_not_hidden_among_errors_of_the_build(fleet, tmp_path, options, wrong, said):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/saved_model.pb").write_bytes(b"graph")
    code, output = fleet(str(tmp_path / "saved"), "docs/rollout.md", *options, wrong=wrong)
    assert (code, said in output, "ignoring" in output) == (2, True, False), output


@pytest.mark.parametrize("options", [{"rollout_resume": "digits-2-20261121T000000Z"}, {"rollout_model": "digits"}])
def test_nothing_begins_where_a_release_cannot_be_built(play, ledger, begun, options):
    made = ledger({"step": "run"}, *answers("stage", a="unreachable"))
    lines, plan = made.read(), dict(PLAN, **{"tfleet.serving.rollout_control": dict(PLAN["tfleet.serving.rollout_control"], built=False)})
    code, output = play(choose(a=2, b=2, c=2), plan, hosts="abc", **options)
    assert (code, made.read(), begun()) == (2, lines, [os.path.basename(made.directory)]), output
    assert "The releases cannot be built" in output
    assert "This run has changed nothing." in output
