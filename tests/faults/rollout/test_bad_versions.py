"""Versions that must not reach `stable`: one that answers wrongly, one that does so only sometimes, a slow one, one that kills its server."""

import re


def test_wrong_sometimes_wrong_and_slow(fleet, asked, fault):
    row = fault("versions that load but answer wrongly, only sometimes rightly, or slowly", "gate")
    fleet.own = {"h1": {"tfleet_models": models(fleet, 3, "wrong")}, "h2": {"tfleet_models": models(fleet, 4, "sometimes")},
                 "h3": {"tfleet_models": models(fleet, 5, "slow")}}
    fleet.declare(fleet.release(1, 1, 1), rollout_canaries=["h1", "h2", "h3"], rollout_budget_hosts=0,
                  # Of so many turns a version that is wrong one time in four passes all once in thousands of runs.
                  rollout_rounds=30)
    with asked(row):
        output = fleet.rollout("-e", "rollout_model=half", fails=True)
    lines = {line["host"]: line for line in fleet.ledger(fleet.last()) if line["step"] == "gate"}
    assert {name: line["outcome"] for name, line in lines.items()} == {"h1": "failed", "h2": "failed", "h3": "failed"}
    assert "differ from" in lines["h1"]["msg"]
    assert "differ from" in lines["h2"]["msg"]
    assert "rollout_latency_factor" in lines["h3"]["msg"]
    assert "3 of 3 hosts failed, 0 may" in output
    for host in fleet.hosts:
        assert host.ask("stable") == host.ask("canary") == 1
        assert host.versions() == [1]
        assert host.hold() is None
        # Its reason stands beside it, and the log of the server for whoever looks into it.
        assert "Rolled back by the rollout half-3+4+5-" in host.aside(fleet.own[host.name]["tfleet_models"][0]["releases"][-1]["version"])


def test_a_version_that_kills_its_server(fleet, asked, fault):
    row = fault("a version that kills the server that loads it", "gate")
    fleet.own = {}
    fleet.declare(fleet.release(1, 1, 1), fleet.release(6, "deadly"), rollout_load_seconds=20)
    # The server of the canary is started again without that version; the other hosts never see it.
    with asked(row, may_fail=["h1"]) as clients:
        fleet.rollout("-e", "rollout_model=half", fails=True)
        fleet["h1"].ready()
    row.note += " All failures are of the canary, while its server starts again."
    assert {line["host"] for line in fleet.ledger(fleet.last()) if line["step"] == "gate"} == {"h1"}
    assert clients[0].answers > 0
    for host in fleet.hosts:
        assert host.ask("stable") == 1
        assert host.versions() == [1]
    # Whoever comes first puts it away: the server's guard when it starts again, or the rollback.
    assert re.search("kills its server|Rolled back by the rollout half-6-", fleet["h1"].aside(6))


def models(fleet, version, source):
    return [{"name": "half", "keep": 5, "releases": [fleet.release(1, 1, 1), fleet.release(version, source)]}]
