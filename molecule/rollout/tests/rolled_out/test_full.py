"""The host whose disk is full."""

testinfra_hosts = ["ansible://tfleet-rollout-7"]


def test_it_was_never_touched(serves_version_1_alone, ledger):
    serves_version_1_alone(aside=[])
    assert [(line["step"], line["outcome"]) for line in ledger if line.get("host") == "tfleet-rollout-7"] == [("stage", "failed")]
