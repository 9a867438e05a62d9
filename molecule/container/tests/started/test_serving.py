"""The right answers from the only version there is, over both protocols."""

import json

import pytest


@pytest.mark.parametrize("model", ["digits", "digits_detector"])
@pytest.mark.parametrize("target", ["--version 1", "--label stable", "--label canary"])
def test_a_prediction_matches_the_golden_answer(predict, model, target):
    answer = predict(model, 1, target)
    assert answer["ok"]
    assert answer["version"] == 1


def test_rest_answers_with_the_status_of_the_model(host):
    script = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8501/v1/models/digits').read().decode())"
    answer = json.loads(host.check_output("python3 -c %s", script))
    assert [(entry["version"], entry["state"]) for entry in answer["model_version_status"]] == [("1", "AVAILABLE")]


def test_the_probe_tells_the_pinned_tensorflow(host):
    answer = json.loads(host.check_output("docker run --rm --network none --read-only --tmpfs /tmp tfleet-runtime:current probe --json"))
    assert answer["tensorflow"].startswith("2.17.")
    assert answer["gpus"] == []
