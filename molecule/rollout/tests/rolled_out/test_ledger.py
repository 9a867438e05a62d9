"""What the controller knows: the host that is off, and how it ended."""

testinfra_hosts = ["local://"]


def test_the_host_that_is_off_was_not_reached(ledger):
    assert [(line["step"], line["outcome"]) for line in ledger if line.get("host") == "tfleet-rollout-8"] == [("stage", "unreachable")]


def test_every_other_host_answered_each_step_once(ledger):
    for number in range(1, 5):
        assert [line["step"] for line in ledger if line.get("host") == f"tfleet-rollout-{number}"] == ["stage", "gate", "promote", "check"]


def test_it_ended_incomplete_within_the_budget(ledger):
    assert ledger[-1]["step"] == "end"
    assert ledger[-1]["outcome"] == "incomplete"
    assert ledger[-1]["counts"] == {"done": 4, "rolled_back": 2, "failed": 1, "unreachable": 1}
    assert {line["verdict"] for line in ledger if line["step"] == "decision"} == {"go_on"}
