"""A part of the fleet that is away and comes back, another controller, and what must not be written down."""

import os
import pathlib
import signal
import subprocess
import time

from process_trees import wait_until_said

SECRET = "hunter2-planted-in-the-inventory"


def test_a_part_of_the_fleet_is_unreachable_and_comes_back(fleet, asked, fault, monkeypatch):
    row = fault("a third of the fleet unreachable and back later", "stage")
    # A host whose address nobody answers, as a device that is switched off.
    fleet.own = {"h3": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}}
    fleet.declare(fleet.release(1, 1, 1), fleet.release(2, 2), rollout_budget_unreachable=1)
    with asked(row):
        output = fleet.rollout("-e", "rollout_model=half", fails=True)
        rollout = fleet.last()
        assert f"Go on with -e rollout_resume={rollout} when h3 can be reached" in output
        assert [host.ask("stable") for host in fleet.hosts] == [2, 2, 1]
        fleet.own = {}
        # The hours begin in a minute, by a controller whose clock reads a full one now; and somebody has to agree.
        now = time.time()
        monkeypatch.setenv("TZ", "HERE+00:00:%02d" % (now % 60))
        hours = [time.strftime("%H:%M", time.gmtime(now + later)) for later in (60, 3600)]
        fleet.declare(fleet.release(1, 1, 1), fleet.release(2, 2), rollout_hours="-".join(hours), rollout_approval="file")
        with fleet.start("-e", "rollout_resume=" + rollout) as process:
            wait_until_said(process, "wave 2 waits for the working hours " + "-".join(hours))
            approval = wait_until_said(process, "wave 2 waits for your approval: touch ").split()[-1]
            assert fleet["h3"].ask("stable") == 1
            pathlib.Path(approval).touch()
            said = process.stdout.read()
        assert process.returncode == 0, said[-4000:]
    assert [host.ask("stable") for host in fleet.hosts] == [2, 2, 2]
    assert [line["outcome"] for line in fleet.ledger(rollout) if line.get("host") == "h3"] == ["unreachable", "ok", "ok", "ok", "ok"]


def test_too_many_unreachable_stop_it_and_take_nobody_back(fleet, asked, fault):
    row = fault("more hosts unreachable than may be", "stage")
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    fleet.own = {"h2": away, "h3": away}
    fleet.declare(fleet.release(1, 1, 1), fleet.release(2, 2), fleet.release(3, 2), rollout_budget_unreachable=1, rollout_rollback="all")
    with asked(row):
        output = fleet.rollout("-e", "rollout_model=half", fails=True)
    assert "Not reachable: h2, h3" in output
    # The decision fell before the first wave: the canary was not touched, and goes back with nobody.
    assert {line["step"] for line in fleet.ledger(fleet.last()) if "host" in line} == {"stage"}
    assert fleet["h1"].hold()["done"]


def test_another_controller_is_refused_by_the_devices_until_it_takes_over(fleet, asked, fault):
    row = fault("a rollout of another controller where one stands half way", "gate")
    fleet.own = {}
    fleet.declare(fleet.release(1, 1, 1), fleet.release(2, 2), fleet.release(3, 2))
    with asked(row):
        fleet.interrupt(fleet.start("-e", "rollout_resume=" + fleet.last()), "TASK [Decide after the gate]", signal.SIGKILL)
        held = fleet.last()
        assert fleet["h1"].hold()["rollout"] == held
        fleet.declare(fleet.release(1, 1, 1), fleet.release(2, 2), fleet.release(4, 2), rollout_budget_hosts=3, tfleet_work_dir=str(fleet.root / "elsewhere"))
        output = fleet.rollout("-e", "rollout_model=half", fails=True)
        assert f"This device is held by the rollout {held} to version 3" in output
        assert f"rollout_supersede={held}" in output
        # The two that nobody holds went on.
        assert [host.ask("stable") for host in fleet.hosts] == [2, 4, 4]
        fleet.rollout("-e", "rollout_model=half", "-e", "rollout_supersede=" + held)
    assert [host.ask("stable") for host in fleet.hosts] == [4, 4, 4]


def test_planted_secrets_are_nowhere(fleet, fault):
    row = fault("planted secrets looked for in output, ledger, report and logs", "whole")
    fleet.own = {host.name: {"ansible_password": SECRET, "ansible_become_password": SECRET} for host in fleet.hosts}
    fleet.declare(fleet.release(1, 1, 1), fleet.release(2, 2), fleet.release(4, 2), fleet.release(5, "wrong"), model_release_environment={"TOKEN": SECRET},
                  model_release_urls=[f"https://user:{SECRET}@127.0.0.1:1/releases"])
    process = subprocess.run(fleet.argv("-e", "rollout_model=half", "-v"), cwd=str(pathlib.Path(__file__).resolve().parents[3]), env=fleet.environment(),
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert process.returncode != 0
    places = {"output": process.stdout}
    for directory, _names, files in os.walk(str(fleet.root)):
        for name in files:
            path = pathlib.Path(directory, name)
            if path != fleet.inventory:
                places[str(path)] = path.read_bytes().decode("utf-8", "replace")
    row.runs = len(places)
    found = [place for place, text in places.items() if SECRET in text]
    assert found == []
    assert any(place.endswith("report.html") for place in places)
