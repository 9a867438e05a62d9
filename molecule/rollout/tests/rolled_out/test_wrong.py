"""The host whose build answers wrongly."""

import json

testinfra_hosts = ["ansible://tfleet-rollout-5"]


def test_it_serves_what_it_did(serves_version_1_alone):
    serves_version_1_alone(aside=[3])


def test_the_version_lies_aside_with_the_reason(host):
    why = json.loads(host.file("/var/lib/tfleet/models/digits/.aside/3.json").content_string)
    assert "Rolled back by the rollout digits-2+3-" in why["reason"]


def test_the_ledger_tells_what_was_wrong(ledger):
    (line,) = [line for line in ledger if line.get("host") == "tfleet-rollout-5" and line["step"] == "gate"]
    assert line["outcome"] == "failed"
    assert "differ from" in line["msg"]
