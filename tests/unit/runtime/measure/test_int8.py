"""Parity of real int8 conversions: with the right calibration it holds, with that of another scale it does not."""

import pytest


@pytest.fixture(scope="module")
def converted(classifier, labelled, tfleet_process, tmp_path_factory):
    """converted(values) -> the folder of an int8 variant whose calibration pictures had that range of values."""
    folder = tmp_path_factory.mktemp("int8")

    def convert(values):
        dest = str(folder / values)
        done = tfleet_process(
            "convert", classifier(), dest, "--variant", "tflite", "--precision", "INT8", "--calibration", labelled["classes"], "--values", values,
            "--json", capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return dest

    return convert


# A network of random weights is near a draw for some pictures: two or three of the 24 may change sides.
LIMITS = '{"outputs": {"scores": {"mean_abs": 0.02, "top1": 0.85}, "classes": {"equal": 0.85}}, "accuracy_drop": 0.15}'


def test_the_right_range_holds_and_another_scale_does_not(tfleet, classifier, labelled, converted):
    status, answer = tfleet("parity", classifier(), converted("0..1"), "--tfrecord", labelled["classes"], "--thresholds", LIMITS)
    assert status == 0, answer["msg"]
    assert answer["outputs"]["scores"]["mean_abs"] < 0.02 and answer["outputs"]["scores"]["max_abs"] > 0
    status, answer = tfleet("parity", classifier(), converted("0..255"), "--tfrecord", labelled["classes"], "--thresholds", LIMITS)
    assert (status, answer["holds"]) == (1, False)
    assert answer["accuracy"]["drop"] > 0.2
