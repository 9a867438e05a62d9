"""The host brought itself the declared version again by the steps of a rollout, and ran nothing that nobody had signed."""

import json

import pytest

ROLLOUTS = "/var/lib/tfleet-pull/work/rollouts"


@pytest.fixture
def journal(host):
    return host.check_output("journalctl --unit tfleet-pull.service --output cat")


@pytest.mark.parametrize("label", ["stable", "canary"])
def test_the_declared_version_is_served(predict, label):
    assert predict("digits", 2, f"--label {label}")["version"] == 2


def test_the_model_that_was_new_has_one_ledger_that_ends_well(host):
    # One: the second look found nothing to do. None for the detector, which was there.
    (name,) = host.check_output(f"ls -d {ROLLOUTS}/*-*").splitlines()
    assert "/digits-2-" in name
    lines = [json.loads(line) for line in host.file(f"{name}/ledger.jsonl").content_string.splitlines()]
    assert [(line["host"], line["step"]) for line in lines if line.get("outcome") == "ok"] == [
        ("tfleet-lab-1", step) for step in ("stage", "gate", "promote", "check")]
    assert (lines[-1]["step"], lines[-1]["outcome"]) == ("end", "done")


def test_the_journal_tells_what_happened_and_what_was_left_alone(journal):
    assert "Version 2 of digits is new here." in journal
    assert "Version 2 of digits was brought by digits-2-" in journal
    assert "Version 1 of digits_detector was here before the device began to update itself." in journal


def test_a_commit_that_nobody_signed_was_not_run(journal):
    assert journal.count("is signed by nobody whom this device trusts") == 1
    assert "TASK [Harm]" not in journal


def test_a_commit_from_before_the_last_one_was_not_run(host, journal):
    assert journal.count("does not come after") == 1
    assert journal.count("tfleet-pull.service: Failed with result 'exit-code'") == 2
    assert host.check_output("systemctl show --property=Result --value tfleet-pull.service") == "exit-code"


def test_the_timer_waits_a_random_while(host):
    timer = host.service("tfleet-pull.timer")
    assert timer.is_enabled
    assert timer.is_running
    assert host.check_output("systemctl show --property=RandomizedDelayUSec --value tfleet-pull.timer") == "15min"


@pytest.mark.parametrize("path", ["variables.yml", "environment", "signers.asc"])
def test_only_root_reads_its_configuration(host, path):
    assert host.file("/etc/tfleet-pull").mode == 0o700
    assert host.file(f"/etc/tfleet-pull/{path}").mode == 0o600
