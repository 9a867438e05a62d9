"""Steps that do not end as they should: taken over by another rollout, ended by their server, given up by the controller."""

import os
import re
import signal
import time

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils.lock import LockError, alone_in
from process_trees import wait_until_said


def test_a_rollout_that_took_over_another_goes_back_to_before_both(fleet, asked, fault):
    row = fault("a rollout that took over a killed one, and fails", "gate")
    fleet.declare(fleet.release(1, 1, 1), fleet.release(2, 2), rollout_soak_seconds=30)
    with asked(row):
        # Before the check: what it has finished is there to stay.
        fleet.interrupt(fleet.start("-e", "rollout_model=half"), "Let the new version work for a while", signal.SIGKILL)
        first = fleet.last()
        assert fleet["h1"].ask("stable") == 2
        fleet.declare(fleet.release(1, 1, 1), fleet.release(2, 2), fleet.release(3, "wrong"))
        fleet.rollout("-e", "rollout_model=half", "-e", "rollout_supersede=" + first, fails=True)
        assert at_home(fleet["h1"])
    for version in (2, 3):
        assert fleet.last() in fleet["h1"].aside(version)


def test_a_server_that_is_started_again_in_the_soak_speaks_against_the_version(fleet, asked, fault):
    row = fault("kill -9 of the model server between promote and check", "soak")
    # As long as the server takes to be there again, on a machine that has other work.
    fleet.declare(fleet.release(1, 1, 1), fleet.release(4, 2), rollout_soak_seconds=30)
    with asked(row, may_fail=["h1"]):
        with fleet.start("-e", "rollout_model=half") as process:
            wait_until_said(process, "Let the new version work for a while")
            time.sleep(1)
            fleet["h1"].kill_server()
            said = process.stdout.read()
        assert process.returncode != 0, said[-4000:]
        assert at_home(fleet["h1"])
    (check,) = [line for line in fleet.ledger(fleet.last()) if line["step"] == "check"]
    assert (check["host"], check["outcome"]) == ("h1", "failed")
    assert "The model server was started again meanwhile" in check["msg"]


def test_a_step_that_was_given_up_is_waited_for(fleet, asked, fault):
    row = fault("a step that goes on after it was given up", "gate")
    # The gate would go on for minutes.
    fleet.declare(fleet.release(1, 1, 1), fleet.release(5, 2), rollout_rounds=100, rollout_step_seconds=20)
    with asked(row):
        output = fleet.rollout("-e", "rollout_model=half", fails=True)
        rollout = fleet.last()
        assert "The step gate was not done within 20 seconds" in output
        (back,) = [line for line in fleet.ledger(rollout) if line["step"] == "rollback"]
        assert back["outcome"] == "failed"
        # As the message says: what hangs there is ended, then the rollout goes on.
        os.kill(int(re.search(r"still at work on this device.*\(process (\d+)\)", back["msg"]).group(1)), signal.SIGKILL)
        fleet.rollout("-e", "rollout_resume=" + rollout, "--limit", "h1", fails=True)
        assert at_home(fleet["h1"])


def test_a_gate_that_is_killed_on_its_device(fleet, asked, fault):
    row = fault("kill -9 of the gate on the device", "gate")
    fleet.declare(fleet.release(1, 1, 1), fleet.release(6, 2), rollout_rounds=100)
    with asked(row):
        with fleet.start("-e", "rollout_model=half") as process:
            wait_until_said(process, "Do the step wait")
            end = time.monotonic() + 60
            while 6 not in fleet["h1"].versions():
                assert time.monotonic() < end
                time.sleep(0.1)
            os.kill(at_work(fleet["h1"]), signal.SIGKILL)
            said = process.stdout.read()
        assert process.returncode != 0, said[-4000:]
        assert at_home(fleet["h1"])
    (gate,) = [line for line in fleet.ledger(fleet.last()) if line["step"] == "gate"]
    assert (gate["host"], gate["outcome"]) == ("h1", "failed")
    assert "has left no answer: its process was killed" in gate["msg"]


def at_work(host):
    """The process of the step that is at work on a host, as whoever comes next is told."""
    with pytest.raises(LockError) as told, alone_in(str(host.config.parent), 0):
        pass
    return int(re.search(r"\(process (\d+)\)", str(told.value)).group(1))


def at_home(host):
    """Whether a host serves and has what it had before all of these."""
    host.ready()
    return (host.ask("stable"), host.ask("canary"), host.versions(), host.hold()) == (1, 1, [1], None)
