"""The right answers, from the right version, over both protocols."""

import json

import pytest


@pytest.mark.parametrize(
    ("model", "version", "target"),
    [
        ("digits", 2, ["--version 2"]),
        ("digits", 1, ["--version 1"]),
        ("digits", 2, ["--label stable"]),
        ("digits", 2, ["--label canary"]),
        ("digits_detector", 1, ["--version 1"]),
        ("digits_detector", 1, ["--label stable"]),
    ],
)
def test_a_prediction_on_the_host_matches_the_golden_answer(predict, model, version, target):
    answer = predict(model, version, *target)
    assert answer["ok"]
    assert answer["version"] == version


@pytest.mark.parametrize(("model", "versions"), [("digits", {1, 2}), ("digits_detector", {1})])
def test_every_version_is_available(status, model, versions):
    assert status(model) == dict.fromkeys(versions, "AVAILABLE")


def test_rest_answers_with_the_status_of_the_model(host):
    script = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8501/v1/models/digits').read().decode())"
    answer = json.loads(host.check_output("python3 -c %s", script))
    assert {entry["version"] for entry in answer["model_version_status"] if entry["state"] == "AVAILABLE"} == {"1", "2"}
