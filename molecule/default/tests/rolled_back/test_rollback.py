"""After the rollback the earlier version answers to both labels, the newer one is kept out of service, and other models were left alone."""

import pytest


@pytest.mark.parametrize("label", ["stable", "canary"])
def test_labels_point_to_the_earlier_version(predict, label):
    assert predict("digits", 1, f"--label {label}")["version"] == 1


def test_the_newer_version_is_neither_served_nor_lost(host, status, versions_on_disk):
    assert status("digits")[1] == "AVAILABLE"
    assert status("digits").get(2, "END") == "END"
    assert versions_on_disk("digits") == [1]
    assert host.file("/var/lib/tfleet/models/digits/.aside/2/saved_model.pb").is_file


def test_a_model_without_an_earlier_version_is_served_as_before(predict):
    assert predict("digits_detector", 1, "--label stable")["version"] == 1
