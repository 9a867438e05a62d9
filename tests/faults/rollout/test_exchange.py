"""A device that cannot hold two versions: refused, or exchanged with an interruption that is short and announced."""

import signal
import time

from fleet import INPUT
from process_trees import kill_tree

from tfleet.client.grpc_client import Client
from tfleet.errors import TfleetError

ONE = {"latest": {"num_versions": 1}}


def declare(fleet, tmp_path, *releases, **more):
    """h1 tells of one KiB of free memory; the others have room."""
    (tmp_path / "meminfo").write_text("MemTotal: 4000000 kB\nMemAvailable: 1 kB\n")
    fleet.own = {}
    models = [{"name": "half", "keep": 5, "policy": ONE, "releases": [fleet.release(1, 1, 1), *releases]}]
    fleet.own["h1"] = {"jetson_facts_proc_root": str(tmp_path), "tfleet_models": models}
    fleet.declare(fleet.release(1, 1, 1), *releases, **more)


def test_without_leave_the_old_version_stays(fleet, asked, fault, tmp_path):
    row = fault("no memory for two versions, no exchange allowed", "gate")
    declare(fleet, tmp_path, fleet.release(2, 2))
    with asked(row):
        output = fleet.rollout("-e", "rollout_model=half", fails=True)
    assert "rollout_exchange_seconds says how long" in output
    assert [host.ask("stable") for host in fleet.hosts] == [1, 1, 1]


def test_a_wrong_version_is_exchanged_back_at_once(fleet, asked, fault, tmp_path):
    row = fault("no memory for two versions, and the new one is wrong", "gate")
    declare(fleet, tmp_path, fleet.release(3, "wrong"), rollout_exchange_seconds=30)
    with asked(row, may_fail=["h1"]):
        fleet.rollout("-e", "rollout_model=half", fails=True)
    assert [host.ask("stable") for host in fleet.hosts] == [1, 1, 1]
    assert fleet["h1"].versions() == [1]


def test_an_exchange_is_short_and_told(fleet, asked, fault, tmp_path):
    row = fault("no memory for two versions, exchanged", "gate")
    declare(fleet, tmp_path, fleet.release(4, 2), rollout_exchange_seconds=30)
    with asked(row, may_fail=["h1"]):
        fleet.rollout("-e", "rollout_model=half")
    assert [host.ask("stable") for host in fleet.hosts] == [4, 4, 4]
    (line,) = [line for line in fleet.ledger(fleet.last()) if line.get("host") == "h1" and line["step"] == "gate"]
    assert 0 < line["detail"]["interruption_seconds"] < 30
    row.note += " Without the model for %s s." % line["detail"]["interruption_seconds"]


def test_one_that_is_killed_goes_on_as_an_exchange(fleet, asked, fault, tmp_path):
    row = fault("kill -9 of the controller within an exchange", "gate")
    releases = fleet.release(4, 2), fleet.release(5, 2)
    # Asked so often that it is killed in this.
    declare(fleet, tmp_path, *releases, rollout_exchange_seconds=30, rollout_rounds=100)
    with asked(row, may_fail=["h1"]):
        process = fleet.start("-e", "rollout_model=half")
        while "version_labels" in fleet["h1"].config.read_text() or not loaded(fleet["h1"], 5):
            assert process.poll() is None, process.stdout.read()[-4000:]
            time.sleep(0.1)
        kill_tree(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait(60)
        rollout = fleet.last()
        declare(fleet, tmp_path, *releases, rollout_exchange_seconds=30)
        fleet.rollout("-e", "rollout_resume=" + rollout)
    assert [host.ask("stable") for host in fleet.hosts] == [5, 5, 5]
    (line,) = [line for line in fleet.ledger(rollout) if line.get("host") == "h1" and line["step"] == "gate"]
    # It never went back to have both.
    assert "interruption_seconds" in line["detail"]


def loaded(host, version):
    with Client("127.0.0.1:%d" % host.grpc, 5.0) as client:
        try:
            client.predict("half", {"x": INPUT}, version=version)
        except TfleetError:
            return False
    return True
