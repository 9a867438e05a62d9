"""A rollout without its hosts: plan, ledger, gates, decisions and report of a fleet whose answers are made up. Tests and tests/bench/rollout share it."""
import json
import sys
import time


def simulate(folder, count):
    """Lead ``count`` hosts that all answer well through a whole rollout; returns its seconds.

    :param folder: where the ledger is written (pathlib.Path).
    """
    from ansible_collections.tfleet.serving.plugins.module_utils import rollout_gate as judge
    from ansible_collections.tfleet.serving.plugins.module_utils.rollout_decision import Budget, decide
    from ansible_collections.tfleet.serving.plugins.module_utils.rollout_ledger import Ledger
    from ansible_collections.tfleet.serving.plugins.module_utils.rollout_report import report, summary
    from ansible_collections.tfleet.serving.plugins.module_utils.rollout_state import State
    from ansible_collections.tfleet.serving.plugins.module_utils.rollout_waves import Host, plan

    begin = time.monotonic()
    hosts = [Host("host%d" % index, "site%d" % (index % 20), "class%d" % (index % 5)) for index in range(count)]
    waves = plan(hosts, "one_of_each_class", ["10%"], 50)
    made = Ledger(str(folder / ("%d" % count)))
    made.create({"rollout": "digits-2-20261121T000000Z", "model": "digits", "by": "me@here", "supersede": [],
                 "waves": [dict(wave._asdict(), hosts=list(wave.hosts)) for wave in waves], "targets": {host.name: 2 for host in hosts}})
    made.append({"step": "run"})
    for host in hosts:
        made.append({"host": host.name, "step": "stage", "outcome": "ok", "seconds": 1})
    for wave in waves:
        for steps in (("gate",), ("promote", "check")):
            for step in steps:
                for name in wave.hosts:
                    rounds = [[1.0, 2.0]] * 3
                    assert judge.latency(rounds, 2.0, 20, None) == []
                    made.append({"host": name, "step": step, "outcome": "ok", "seconds": 1, "detail": {"rounds": rounds}})
            found = decide(State(made.read()), wave.hosts, Budget(0, 0), "wave")
            assert found.verdict == "go_on"
            made.append({"step": "decision", "wave": wave.number, "after": steps[-1], "verdict": found.verdict, "reason": found.reason, "roll_back": []})
    state = State(made.read())
    assert summary(state)["outcome"] == "done"
    report(made.read(), state)
    return time.monotonic() - begin


def main():
    """``rollout_simulation.py FOLDER COUNT…``: says the seconds of each as JSON."""
    import pathlib

    import conftest  # noqa: F401 - makes the checkout the collection

    simulate(pathlib.Path(sys.argv[1], "first"), 50)
    print(json.dumps([simulate(pathlib.Path(sys.argv[1]), int(count)) for count in sys.argv[2:]]))


if __name__ == "__main__":
    main()
