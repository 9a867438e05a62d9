"""Parity of real builds: equal ones pass however they are asked, each seeded fault is caught and, where an experiment can tell, named."""

import numpy as np
import pytest
from PIL import Image

from tfleet.client import golden


def codes(answer):
    return [item["code"] for item in answer["diagnoses"]]


def test_a_build_agrees_with_itself_and_batches_are_used(tfleet, classifier, golden_file):
    code, answer = tfleet("parity", classifier(), classifier(), "--golden", golden_file, "--batch-size", 16)
    assert (code, answer["ok"], answer["holds"], answer["kind"]) == (0, True, True, "classifier")
    assert (answer["examples"], answer["rows"], answer["batch_size"]) == (15, 64, 16)
    assert answer["outputs"]["scores"]["max_abs"] == 0 and answer["outputs"]["scores"]["top1"] == 1
    assert answer["worst"] == [] and answer["problems"] == []


def test_in_process_and_served_agree(tfleet, classifier, golden_file, served):
    for reference, candidate in ((classifier(), served(classifier())), (served(classifier()), classifier())):
        code, answer = tfleet("parity", reference, candidate, "--golden", golden_file)
        assert code == 0, answer["msg"]
        assert answer["outputs"]["scores"]["max_abs"] < 1e-5


def test_a_golden_file_stands_in_for_the_reference(tfleet, classifier, golden_file):
    code, answer = tfleet("parity", golden_file, classifier())
    assert (code, answer["rows"], answer["seconds"]["reference"]) == (0, 64, 0)
    assert tfleet("parity", golden_file, classifier("channels"))[0] == 1


@pytest.mark.parametrize(
    "fault, code",
    [("bn_training", "batch_dependent"), ("dropout", "unstable"), ("channels", "channels"), ("times_255", "input_range"), ("int8_range", None), ("nan", None)],
)
def test_every_seeded_fault_is_caught(tfleet, classifier, golden_file, fault, code):
    status, answer = tfleet("parity", classifier(), classifier(fault), "--golden", golden_file)
    assert (status, answer["holds"]) == (1, False)
    assert code is None or codes(answer) == [code], answer["msg"]
    assert answer["problems"][0] in answer["msg"]
    assert answer["worst"] and answer["worst"][0]["output"] in ("scores", "classes")


def test_faults_are_caught_over_grpc_and_on_pictures_too(tfleet, classifier, labelled, served):
    status, answer = tfleet("parity", classifier(), served(classifier("channels")), "--tfrecord", labelled["classes"])
    assert (status, codes(answer)) == (1, ["channels"])


def test_an_int8_range_of_another_scale_makes_answers_constant(tfleet, classifier, golden_file):
    _, answer = tfleet("parity", classifier(), classifier("int8_narrow"), "--golden", golden_file)
    assert codes(answer) == ["constant"], answer["outputs"]
    assert "calibration data of another scale" in answer["msg"]


def test_not_finite_is_said(tfleet, classifier, golden_file):
    _, answer = tfleet("parity", classifier(), classifier("nan"), "--golden", golden_file)
    assert answer["outputs"]["scores"]["not_finite"]["candidate"] > 64
    assert "not finite" in answer["msg"]


def test_accuracy_of_both_on_labelled_pictures(tfleet, classifier, labelled):
    _, answer = tfleet("parity", classifier(), classifier("channels"), "--tfrecord", labelled["classes"])
    assert answer["accuracy"]["reference"] == 1 and answer["accuracy"]["rows"] == 24
    assert answer["accuracy"]["drop"] > 0.1
    assert any("accuracy" in problem for problem in answer["problems"])


def test_boxes_agree_but_the_classes_have_gone_to_background(tfleet, detector, labelled):
    for signature, word in (("raw", "raw_boxes"), ("serving_default", "detection_boxes")):
        status, answer = tfleet("parity", detector(), detector("background"), "--tfrecord", labelled["objects"], "--signature", signature)
        assert (status, codes(answer)) == (1, ["background"]), answer["msg"] + str(answer["detection"])
        assert "boxes of both agree (output '%s')" % word in answer["msg"]
    # Precision does not tell: it goes by the order of the scores, which is still the same.
    assert answer["map"]["candidate"] > 0.9 and answer["detection"]["candidate"] == 0


def test_the_order_of_detections_does_not_matter(tfleet, detector, labelled):
    status, answer = tfleet("parity", detector(), detector("order"), "--tfrecord", labelled["objects"])
    assert (status, answer["kind"], answer["detection"]["matched"]) == (0, "detector", 1)
    assert answer["map"] == dict(answer["map"], reference=1, candidate=1, drop=0)
    assert answer["detection"]["reference"] > 20


def test_the_worst_pictures_are_drawn_side_by_side(tfleet, classifier, detector, golden_file, labelled, tmp_path):
    picture = tmp_path / "worst.png"
    _, answer = tfleet("parity", classifier(), classifier("channels"), "--golden", golden_file, "--picture", picture, "--worst", 3)
    assert answer["picture"] == str(picture) and len(answer["worst"]) == 3
    severities = [line["severity"] for line in answer["worst"]]
    assert severities == sorted(severities, reverse=True)
    assert answer["worst"][0]["reference"]["label"] != answer["worst"][0]["candidate"]["label"]
    with Image.open(str(picture)) as image:
        assert image.width > 1600 and image.height > 1000, image.size
    _, answer = tfleet("parity", detector(), detector("background"), "--tfrecord", labelled["objects"], "--picture", picture, "--worst", 1)
    assert answer["worst"][0]["name"].startswith("picture-") and answer["worst"][0]["candidate"]["detections"] == []


def test_nothing_is_drawn_of_equal_builds(tfleet, classifier, golden_file, tmp_path):
    assert tfleet("parity", classifier(), classifier(), "--golden", golden_file, "--picture", tmp_path / "no.png")[1]["picture"] is None
    assert not (tmp_path / "no.png").exists()


def test_thresholds_of_a_model(tfleet, classifier, golden_file):
    loose = '{"outputs": {"scores": {"max_abs": 2}, "classes": {"equal": 0}}}'
    status, answer = tfleet("parity", classifier(), classifier("int8_range"), "--golden", golden_file, "--thresholds", loose)
    assert (status, answer["thresholds"]["outputs"]["scores"]) == (0, {"max_abs": 2})
    assert answer["thresholds"]["detection"]["matched"] == 0.95


@pytest.mark.parametrize(
    "thresholds, word",
    [
        ('{"outputs": {"probabilities": {"max_abs": 1}}}', "'probabilities', which the model does not have. Its outputs are: classes, scores"),
        ('{"outputs": {"scores": {"maximum": 1}}}', "There is no 'maximum' among"),
        ('{"outputs": {"scores": {"max_abs": "small"}}}', "'small': give a number"),
        ('{"outputs": {"scores": 1}}', "are not an object"),
        ('{"detections": {}}', "There is no 'detections'"),
        ("[1]", "Thresholds are an object"),
        ("{", "not JSON"),
        ("@/nonexistent.json", "/nonexistent.json"),
    ],
)
def test_mistaken_thresholds_are_named(tfleet, classifier, golden_file, thresholds, word):
    status, answer = tfleet("parity", classifier(), classifier(), "--golden", golden_file, "--thresholds", thresholds)
    assert status == 1 and word in answer["msg"]
    assert "holds" not in answer


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["{right}", "{right}"], "Say what to ask"),
        (["/nonexistent/model", "{right}", "--random", 4], "There is no model /nonexistent/model"),
        (["{right}", "{right}", "--random", 4, "--signature", "other"], "has no signature 'other'"),
        (["{right}", "grpc://127.0.0.1:1/digits", "--random", 4, "--timeout", 2], "UNAVAILABLE"),
        (["{right}", "grpc://nowhere", "--random", 4], "grpc://host:port/model"),
        (["{right}", "{right}", "--golden", "/nonexistent.npz"], "/nonexistent.npz"),
        (["{golden}", "{right}", "--random", 4], "brings its own inputs"),
        (["{right}", "{detector}", "--random", 4], "has no input 'images'"),
        (["{right}", "{right}", "--tfrecord", "{golden}"], "no TFRecord file"),
    ],
)
def test_what_cannot_be_compared_is_said(tfleet, classifier, detector, golden_file, arguments, word):
    places = {"{right}": classifier(), "{detector}": detector(), "{golden}": golden_file}
    status, answer = tfleet("parity", *[places.get(argument, argument) for argument in arguments])
    assert status == 1 and word in answer["msg"]


def test_missing_outputs_of_the_candidate_are_problems(tfleet, detector, golden_file, tmp_path, pictures):
    recorded = golden.read(golden_file)
    wrong = [(sent, dict(outputs, extra=np.zeros((len(outputs["classes"]), 2), np.float32))) for sent, outputs in recorded.examples]
    path = str(tmp_path / "wrong.npz")
    golden.write(path, recorded.meta, wrong)
    status, answer = tfleet("parity", path, tmp_path.parent)
    assert status == 1 and "cannot be loaded" in answer["msg"]


def test_random_requests_are_the_same_each_time(tfleet, classifier):
    answers = [tfleet("parity", classifier(), classifier("channels"), "--random", 20)[1] for _ in range(2)]
    assert answers[0]["outputs"] == answers[1]["outputs"] and answers[0]["rows"] == 20
