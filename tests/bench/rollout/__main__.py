"""What rollouts cost the controller: `make bench SUITE=rollout`, as root with Docker.

Or `python -m tests.bench.rollout [--hosts 16 32 64] [--peer-hosts 32] [--rounds 2] [--more]`. A quarter of an hour on two cores, most of it the hosts' own
work: each is a container with sshd and a model server of its own. CPU seconds are those of ansible-playbook, its workers and its ssh clients. With
--more the runs are added to those that are there. Then plan, ledger, gates and decisions of up to a thousand hosts that do not exist. Writes
build/bench/rollout.json, rollout-runs.json and rollout.png; exits with 1 if a target is missed.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile

from tests.bench import harness
from tests.bench.rollout.fleet import Fleet
from tests.bench.transport import lab

FLAT = (16, 64)
NOTE = ("Each host is a container with a real tfleet serve, all forked from one process that has loaded TensorFlow; they, the modules and the controller share "
        "the machine. CPU is that of ansible-playbook, its workers and ssh clients alone. Soak 0 s, one round of questions; everything else is the default.")
SIMULATED = (125, 250, 500, 1000)
SIMULATION = os.path.join(harness.ROOT, "tests", "unit", "plugins", "rollout_simulation.py")


class Runs:
    """All runs so far, on the disk as well."""

    def __init__(self, more):
        self.path = pathlib.Path(harness.RESULTS, "rollout-runs.json")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.all = json.loads(self.path.read_text()) if more and self.path.exists() else []

    def note(self, hosts, what, result):
        self.all.append({"hosts": hosts, "what": what, "seconds": result[0], "cpu": result[1]})
        self.path.write_text(json.dumps(self.all, indent=1) + "\n")
        sys.stderr.write("%2d hosts, %-13s %6.1f s, %6.2f CPU s of the controller, %.2f for each host\n" % (hosts, what, *result, result[1] / hosts))

    def of(self, hosts, what, key="cpu"):
        """The CPU seconds for each host, or the wall seconds, of all runs of a kind."""
        return [run[key] / (hosts if key == "cpu" else 1) for run in self.all if (run["hosts"], run["what"]) == (hosts, what)]


def measure(folder, models, count, rounds, with_peer, note):
    """Roll new versions out to ``count`` hosts, and those that are there already, in turn with the peer's playbook."""
    with Fleet(folder, models, count) as fleet:
        sys.stderr.write("%d hosts; their servers take %d MB\n" % (count, fleet.memory()))
        for _number in range(rounds):
            fleet.declare()
            note(count, "new version", fleet.rollout())
            if with_peer:
                note(count, "nothing to do", fleet.rollout())
                note(count, "peer", fleet.peer())


def simulated(rounds=3):
    """{hosts: [seconds]} of rollouts whose hosts are made up."""
    found = {count: [] for count in SIMULATED}
    for _number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="tfleet-bench-") as name:
            out = harness.run_process([sys.executable, SIMULATION, name, *map(str, SIMULATED)])[3]
        for count, seconds in zip(SIMULATED, json.loads(out)):
            found[count].append(seconds)
    return found


def report(runs):
    """Write and print what all runs so far say; returns the exit code."""
    rows = []
    counts = sorted({run["hosts"] for run in runs.all})
    for count in counts:
        ours, theirs = runs.of(count, "nothing to do"), runs.of(count, "peer")
        if ours and theirs:
            name = "nothing to do, %d hosts" % count
            rows.append(harness.row(name + ", beside the peer's CPU", "x", [value / statistics.median(theirs) for value in ours], target=0.5))
            rows.append(harness.row(name, "CPU s of the controller for each host", ours, theirs))
            rows.append(harness.row(name, "s", runs.of(count, "nothing to do", "seconds"), runs.of(count, "peer", "seconds")))
    for count in counts:
        rows.append(harness.row("new version, %d hosts" % count, "CPU s of the controller for each host", runs.of(count, "new version"), target=1.5))
        rows.append(harness.row("new version, %d hosts" % count, "s", runs.of(count, "new version", "seconds")))
    few, many = (runs.of(count, "new version") for count in FLAT)
    if few and many:
        rows.append(harness.row("new version, CPU for each of 64 hosts beside 16", "x", [value / statistics.median(few) for value in many], target=1.1))
    fleets = simulated()
    for count, seconds in fleets.items():
        rows.append(harness.row("%d simulated hosts" % count, "s", seconds, target=60 if count == 1000 else None))
    each = [seconds / 1000 / (statistics.median(fleets[250]) / 250) for seconds in fleets[1000]]
    rows.append(harness.row("time for each of 1000 simulated hosts beside 250", "x", each, target=1.5))
    return harness.report("rollout", rows, ("tfleet", "peer"), NOTE)


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rollout", description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="*", default=[16, 32, 64], help="numbers of hosts (16 32 64); none: what there is so far")
    parser.add_argument("--peer-hosts", type=int, nargs="*", default=[32], help="with how many the peer runs too (32)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--more", action="store_true", help="add to the runs that are there")
    arguments = parser.parse_args()
    lab.tools()
    harness.warn_if_busy()
    runs = Runs(arguments.more)
    for count in arguments.hosts:
        with tempfile.TemporaryDirectory(prefix="tfleet-bench-") as name:
            models = pathlib.Path(name, "models")
            models.mkdir()
            harness.run_process([sys.executable, "-m", "tests.bench.rollout.models", str(models)], dict(os.environ, TF_CPP_MIN_LOG_LEVEL="2"))
            measure(pathlib.Path(name), models, count, arguments.rounds, count in arguments.peer_hosts, runs.note)
    return report(runs)


if __name__ == "__main__":
    sys.exit(main())
