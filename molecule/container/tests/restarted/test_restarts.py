"""After a restart of the engine and of the host the server serves what it served, and nobody had to help it."""

import pytest


def test_it_is_the_same_container_started_again(host, container):
    before = host.file("/root/before-hot-plug").content_string.split()
    assert container["Id"] == before[0]
    assert container["State"]["StartedAt"] != before[1]
    assert container["State"]["Running"]


@pytest.mark.parametrize(("model", "versions"), [("digits", {1, 2}), ("digits_detector", {1})])
def test_every_version_is_available(status, model, versions):
    assert status(model) == dict.fromkeys(versions, "AVAILABLE")


@pytest.mark.parametrize(("model", "version", "target"), [
    ("digits", 2, "--label stable"), ("digits", 2, "--label canary"), ("digits", 1, "--version 1"), ("digits_detector", 1, "--label stable"),
])
def test_the_labels_survived(predict, model, version, target):
    assert predict(model, version, target)["version"] == version


def test_the_start_guard_blames_no_version_for_the_restarts(host):
    record = host.file("/var/lib/tfleet-model-server/start_guard.json").content_string
    assert '"aside": []' in record
