"""After the last host was turned on, the full disk was emptied, and the rollout went on."""

testinfra_hosts = ["ansible://tfleet-rollout-1", "ansible://tfleet-rollout-7", "ansible://tfleet-rollout-8"]


def test_the_host_serves_the_new_version(serves_version_2):
    serves_version_2()


def test_nobody_else_was_asked_again(ledger):
    (second,) = [index for index, line in enumerate(ledger) if line["step"] == "run"][1:]
    assert {line["host"] for line in ledger[second:] if "host" in line} == {"tfleet-rollout-7", "tfleet-rollout-8"}
    assert ledger[-1]["counts"] == {"done": 6, "rolled_back": 2}
