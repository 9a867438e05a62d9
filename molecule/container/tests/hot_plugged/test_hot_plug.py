"""The second version came into the running server."""

import pytest


def test_the_container_is_the_same_and_was_not_started_again(host, container):
    assert host.file("/root/before-hot-plug").content_string.split() == [container["Id"], container["State"]["StartedAt"]]


def test_both_versions_are_available(status):
    assert status("digits") == {1: "AVAILABLE", 2: "AVAILABLE"}


@pytest.mark.parametrize(("version", "target"), [(2, "--version 2"), (1, "--version 1"), (2, "--label stable"), (2, "--label canary")])
def test_each_answers_rightly_and_the_labels_moved(predict, version, target):
    assert predict("digits", version, target)["version"] == version
