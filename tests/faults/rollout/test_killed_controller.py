"""The controller is killed in each phase of a rollout, and another run goes on; two rollouts at once; a host that hangs; a wave too many."""

import os
import signal
import stat
import sys
import time

import pytest

# What the run says when a phase begins, and how long it is let work in it.
PHASES = [
    ("stage", "Do the step stage", 0.5),
    ("gate, while the version is being loaded", "Do the step gate", 2.5),
    ("after the decision", "TASK [Decide after the gate]", 0.0),
    ("promote, between the labels", "Do the step promote", 1.5),
    ("soak", "TASK [Let the new version work for a while]", 0.3),
    ("check", "Do the step check", 1.0),
]


@pytest.fixture(scope="module")
def rollout(fleet):
    """The name of the rollout that is killed again and again."""
    fleet.declare(fleet.release(1, 1, 1), fleet.release(2, 2), rollout_soak_seconds=3)
    return fleet.last


@pytest.mark.parametrize(("phase", "words", "after"), PHASES, ids=[phase[0].split(",")[0] for phase in PHASES])
def test_kill_9_in_each_phase(fleet, rollout, asked, fault, phase, words, after):
    row = fault("kill -9 of the controller", phase)
    begun = list((fleet.work / "rollouts").glob("*/ledger.jsonl"))
    with asked(row):
        fleet.interrupt(fleet.start("-e", f"rollout_resume={rollout()}" if begun else "rollout_model=half"), words, signal.SIGKILL, after)
        for host in fleet.hosts:
            assert host.ask("stable") in (1, 2)


def test_a_new_rollout_is_refused_while_one_stands_half_way(fleet, rollout, fault):
    fault("a second rollout where one stands half way", "plan")
    output = fleet.rollout("-e", "rollout_model=half", fails=True)
    assert "stands half way on" in output, output[-3000:]
    assert "rollout_resume=" + rollout() in output
    assert len(list((fleet.work / "rollouts").glob("*/ledger.jsonl"))) == 1


def test_ctrl_c_and_two_at_once(fleet, rollout, asked, fault):
    row = fault("two rollouts at once, and Ctrl-C", "gate")
    with asked(row):
        process = fleet.start("-e", "rollout_resume=" + rollout())
        words = "Do the step gate"
        assert any(words in line for line in process.stdout)
        refused = fleet.rollout("-e", "rollout_resume=" + rollout(), fails=True)
        assert "goes on now, in process %d" % process.pid in refused
        os.killpg(process.pid, signal.SIGINT)
        process.stdout.close()
        process.wait(60)


def test_the_last_run_finishes_what_the_killed_ones_began(fleet, rollout, asked, fault):
    row = fault("resume after all of these", "whole")
    with asked(row):
        output = fleet.rollout("-e", "rollout_resume=" + rollout())
    assert "All 3 hosts serve half from this rollout" in output
    for host in fleet.hosts:
        assert host.ask("stable") == host.ask("canary") == 2
        assert host.versions() == [1, 2]
        assert host.hold()["done"]
    lines = fleet.ledger(rollout())
    # Who was done in one run was not led through the steps again in the next.
    for name in ("h1", "h2", "h3"):
        done = [index for index, line in enumerate(lines) if line.get("host") == name and line["step"] == "check" and line["outcome"] == "ok"]
        assert len(done) == 1
        assert not [line for line in lines[done[0] + 1:] if line.get("host") == name]


def test_a_rollout_that_is_done_has_nothing_left_to_do(fleet, rollout):
    output = fleet.rollout("-e", "rollout_resume=" + rollout())
    assert "nothing is left to do" in output


def test_a_host_that_hangs_for_ever_and_the_budget_in_wave_2(fleet, asked, fault, tmp_path):
    row = fault("a host that hangs for ever; budget exceeded in wave 2", "gate")
    # An interpreter that hangs as soon as the gate has begun: staging went well.
    hanging, flag = tmp_path / "python", tmp_path / "hang"
    hanging.write_text(f'#!/bin/sh\n[ -e {flag} ] && exec sleep 600\nexec {sys.executable} "$@"\n')
    hanging.chmod(hanging.stat().st_mode | stat.S_IXUSR)
    fleet.own = {"h3": {"ansible_python_interpreter": str(hanging)}}
    fleet.declare(fleet.release(1, 1, 1), fleet.release(2, 2), fleet.release(7, 2), rollout_step_seconds=90, rollout_rollback="all")
    with asked(row):
        process = fleet.start("-e", "rollout_model=half")
        said = []
        with process.stdout:
            for line in process.stdout:
                said.append(line)
                if "wave 2 of 2 begins" in line:
                    flag.touch()
                if "PLAY [Roll back]" in line:
                    flag.unlink(missing_ok=True)
        assert process.wait(60) != 0, "".join(said)[-3000:]
    output = " ".join("".join(said).split())
    assert "was not done within 90 seconds (rollout_step_seconds)" in output
    # The policy `all` takes back h1 too, which was done, and h2, which was well.
    for host in fleet.hosts:
        assert host.ask("stable") == 2
        assert host.versions() == [1, 2]
    back = {line["host"]: line["outcome"] for line in fleet.ledger(fleet.last()) if line["step"] == "rollback"}
    assert back == {"h1": "ok", "h2": "ok", "h3": "ok"}


def test_the_server_is_killed_while_it_loads(fleet, asked, fault):
    row = fault("kill -9 of the model server during load", "gate")
    fleet.own = {}
    fleet.declare(fleet.release(1, 1, 1), fleet.release(2, 2), fleet.release(8, 2), rollout_load_seconds=30)
    before = fleet["h1"].ask("stable")
    with asked(row, may_fail=["h1"]):
        process = fleet.start("-e", "rollout_model=half")
        base = fleet["h1"].base / "8"
        said = []
        end = time.monotonic() + 300
        while not base.exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        fleet["h1"].kill_server()
        with process.stdout:
            said += process.stdout
        assert process.wait(60) != 0
        # Whether the version came in time after the restart or not: a server that does not live through it speaks against it.
        fleet["h1"].ready(before)
    for host in fleet.hosts:
        assert host.ask("stable") == before, "".join(said)[-3000:]
        assert 8 not in host.versions()
        assert host.hold() is None or host.hold()["done"]
