"""`tfleet golden`: what is recorded is what the build answers, in batches, and the same file each time."""

import numpy as np
import pytest

from tfleet.client import golden


def test_recorded_in_batches_as_single_requests(tfleet, classifier, pictures, labelled, tmp_path):
    path = tmp_path / "golden.npz"
    status, answer = tfleet("golden", classifier(), path, "--tfrecord", labelled["classes"], "--model", "colours", "--tolerance", "scores=0.01,0.1")
    assert (status, answer["changed"], answer["examples"], answer["rows"], answer["model"]) == (0, True, 24, 24, "colours")
    recorded = golden.read(str(path))
    assert recorded.meta["tolerance"] == {"scores": {"abs": 0.01, "rel": 0.1}, "classes": {"abs": 0, "rel": 0}}
    assert {sent["images"].shape for sent, _ in recorded.examples} == {(1, 16, 16, 3)}
    assert np.allclose(recorded.examples[5][0]["images"][0], pictures[5], atol=1 / 255)
    assert tfleet("parity", path, classifier(), "--batch-size", 1)[0] == 0


def test_the_same_again_changes_nothing(tfleet, classifier, tmp_path):
    path = tmp_path / "golden.npz"
    first = tfleet("golden", classifier(), path, "--random", 8)[1]
    content = path.read_bytes()
    second = tfleet("golden", classifier(), path, "--random", 8)[1]
    assert (first["changed"], second["changed"]) == (True, False)
    assert path.read_bytes() == content


def test_recorded_again_with_the_same_requests(tfleet, classifier, golden_file, tmp_path):
    path = str(tmp_path / "again.npz")
    status, _ = tfleet("golden", classifier(), path, "--golden", golden_file)
    before, after = golden.read(golden_file), golden.read(path)
    assert status == 0 and len(before.examples) == len(after.examples)
    for (sent, expected), (sent_again, answered) in zip(before.examples, after.examples):
        assert np.array_equal(sent["images"], sent_again["images"])
        assert np.allclose(expected["scores"], answered["scores"], atol=1e-6)


def test_a_server_is_recorded_too(tfleet, classifier, golden_file, served, tmp_path):
    status, answer = tfleet("golden", served(classifier()), tmp_path / "served.npz", "--golden", golden_file, "--examples", 3)
    assert (status, answer["examples"], answer["model"]) == (0, 3, "measured")


def test_a_detector_is_recorded_picture_by_picture(tfleet, detector, labelled, tmp_path):
    status, answer = tfleet("golden", detector(), tmp_path / "d.npz", "--tfrecord", labelled["objects"], "--examples", 5)
    assert (status, answer["examples"]) == (0, 5)
    assert tfleet("parity", tmp_path / "d.npz", detector())[1]["detection"]["matched"] == 1


@pytest.mark.parametrize("fault", ["dropout", "bn_training"])
def test_a_model_that_is_not_the_same_each_time_is_not_recorded(tfleet, classifier, tmp_path, fault):
    status, answer = tfleet("golden", classifier(fault), tmp_path / "no.npz", "--random", 16)
    assert status == 1 and answer["msg"].startswith("Nothing was recorded")
    assert "tfleet lint" in answer["msg"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tolerance, word", [("scores", "write OUTPUT=ABSOLUTE"), ("scores=-1", "write OUTPUT"), ("logits=1", "output 'logits'")])
def test_mistaken_tolerances_are_named(tfleet, classifier, tmp_path, tolerance, word):
    status, answer = tfleet("golden", classifier(), tmp_path / "no.npz", "--random", 4, "--tolerance", tolerance)
    assert status == 1 and word in answer["msg"] and not (tmp_path / "no.npz").exists()


def test_large_arrays_are_stored_and_small_ones_compressed(tmp_path):
    large, small = np.zeros((1, 400, 400), np.float32), np.zeros((1, 200, 200), np.float32)
    path = str(tmp_path / "large.npz")
    golden.write(path, {"tolerance": {}}, [({"large": large, "small": small}, {"y": np.zeros(1)})])
    assert large.nbytes < (tmp_path / "large.npz").stat().st_size < large.nbytes + small.nbytes // 10
    assert np.array_equal(golden.read(path).examples[0][0]["large"], large)
