"""The host that is too hot."""

testinfra_hosts = ["ansible://tfleet-rollout-6"]


def test_it_serves_what_it_did(serves_version_1_alone):
    serves_version_1_alone(aside=[2])


def test_the_ledger_tells_the_temperature(ledger):
    (line,) = [line for line in ledger if line.get("host") == "tfleet-rollout-6" and line["step"] == "gate"]
    assert line["outcome"] == "failed"
    assert "The zone CPU-therm has 99 degrees, allowed are 95" in line["msg"]
