"""The committed demo models keep their promises: measured again here, from the frozen graphs, on digits that they never saw."""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

MODELS = Path(__file__).resolve().parents[3] / "models"
sys.path.insert(0, str(MODELS))

from training import classifier, dataset, detector, evaluation, frozen, scenes  # noqa: E402

RELEASES = ("digits/1", "digits/2", "digits_detector/1")


def metrics(release):
    return json.loads((MODELS / release / "metrics.json").read_text())


@pytest.fixture(scope="module")
def split():
    return dataset.load()


@pytest.fixture(scope="module")
def graphs():
    return {release: frozen.FrozenGraph.load(MODELS / release / "frozen_graph.pb") for release in RELEASES}


def signature_of(release):
    return classifier.SIGNATURE if release.startswith("digits/") else detector.SIGNATURE


def test_no_digit_is_both_trained_on_and_held_out(split):
    digits = {name: {image.tobytes() for image in part.images} for name, part in split._asdict().items()}
    assert len(split.train.labels) + len(split.held_out.labels) == 1797
    assert not digits["train"] & digits["held_out"]


@pytest.mark.parametrize("version", [1, 2])
def test_digits_accuracy_is_what_metrics_json_says(version, split, graphs):
    accuracy = classifier.measure(graphs["digits/%d" % version], split.held_out)
    assert accuracy >= 0.97
    assert accuracy == pytest.approx(metrics("digits/%d" % version)["accuracy"]["held_out"], abs=0.003)


def test_the_second_release_of_digits_is_the_better_one():
    first, second = (metrics("digits/%d" % version)["accuracy"]["held_out"] for version in (1, 2))
    assert second > first


def test_detector_holds_its_precision_on_fresh_scenes(split, graphs):
    pictures = detector.held_out_scenes(split.held_out, 60, seed=4321)
    assert detector.measure(graphs["digits_detector/1"], pictures)["map"] >= 0.85


def test_detector_metrics_record_the_promised_precision():
    recorded = metrics("digits_detector/1")["accuracy"]
    assert recorded["map_50"] >= 0.85
    assert recorded["map_50"] == pytest.approx(np.mean(list(recorded["per_class"].values())), abs=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (37, 51), (256, 256), (481, 333)])
def test_detector_takes_any_image_size(size, graphs):
    image = np.zeros((1, *size, 3), np.uint8)
    answer = graphs["digits_detector/1"].run(detector.SIGNATURE, {"image_tensor": image})
    assert {alias: list(array.shape) for alias, array in answer.items()} == {
        alias: shape for alias, (_, shape) in detector.TENSORS.items() if alias in answer}
    raw = graphs["digits_detector/1"].run(detector.RAW_SIGNATURE, {"image_tensor": image})
    assert raw["raw_boxes"].shape[1] == raw["raw_scores"].shape[1]
    assert raw["raw_boxes"].min() >= 0 and raw["raw_boxes"].max() <= 1


def test_detections_are_suppressed_raw_boxes(split, graphs):
    """Every detection is one of the raw boxes with that score, so both signatures tell of the same network."""
    image = detector.held_out_scenes(split.held_out, 1, seed=5)[0].image
    found = detector.detect(graphs["digits_detector/1"], image)
    raw = graphs["digits_detector/1"].run(detector.RAW_SIGNATURE, {"image_tensor": image[None]})
    boxes = raw["raw_boxes"][0] * np.tile(image.shape[:2], 2)
    assert len(found.labels) > 0
    for box, score, label in zip(*found):
        same = np.abs(boxes - box).max(axis=1) < 1e-3
        assert np.abs(raw["raw_scores"][0, same, label] - score).min() < 1e-6


@pytest.mark.parametrize("release", RELEASES)
def test_graph_has_its_signature_and_nothing_that_old_tensorflow_refuses(release, graphs):
    path = MODELS / release / "frozen_graph.pb"
    assert path.stat().st_size < 1_000_000
    graphs[release].check_signature(signature_of(release), {**classifier.TENSORS, **detector.TENSORS})
    definition = frozen.read_graph(path)
    assert {node.device for node in definition.node} == {""}
    newer = {"explicit_paddings", "half_pixel_centers", "_output_shapes", "grad_a", "grad_b"}
    assert not newer & {attribute for node in definition.node for attribute in node.attr}


@pytest.mark.parametrize("release", RELEASES)
def test_golden_answers_are_the_graphs_answers(release, graphs):
    with np.load(MODELS / release / "golden.npz", allow_pickle=False) as golden:
        meta = json.loads(str(golden["meta"]))
        assert (meta["format"], meta["model"], meta["signature_name"]) == (1, release.split("/")[0], "serving_default")
        signature = signature_of(release)
        for i in range(meta["examples"]):
            answer = graphs[release].run(signature, {alias: golden["%d/inputs/%s" % (i, alias)] for alias in signature["inputs"]})
            for alias, array in answer.items():
                tolerance = meta["tolerance"][alias]
                np.testing.assert_allclose(array, golden["%d/outputs/%s" % (i, alias)], rtol=tolerance["rel"], atol=tolerance["abs"])


def test_scenes_are_as_promised(split):
    for scene in detector.held_out_scenes(split.held_out, 30, seed=6):
        assert 3 <= len(scene.labels) <= 12
        longer = (scene.boxes[:, 2:] - scene.boxes[:, :2]).max(axis=1)
        assert longer.min() >= 16 and longer.max() <= 64
        height, width = scene.image.shape[:2]
        assert scene.boxes.min() >= 0 and (scene.boxes[:, 2:] <= [height, width]).all()
        overlaps = [scenes.iou(box, np.delete(scene.boxes, i, axis=0)).max() for i, box in enumerate(scene.boxes)]
        assert max(overlaps) <= 0.2


def scene_of(*boxes):
    return scenes.Scene(np.zeros((100, 100, 3), np.uint8), np.array(boxes, np.float32), np.zeros(len(boxes), np.int64))


def precision(scene, boxes, scores):
    found = evaluation.Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores), np.zeros(len(scores), np.int64))
    return evaluation.average_precision([scene], [found], 0, 0.5)


LEFT, RIGHT, NOWHERE = [0, 0, 20, 20], [0, 60, 20, 80], [70, 70, 90, 90]


@pytest.mark.parametrize("boxes, scores, expected", [
    ([LEFT, RIGHT], [0.9, 0.8], 1.0),
    ([LEFT], [0.9], 0.5),
    ([], [], 0.0),
    ([LEFT, NOWHERE, RIGHT], [0.9, 0.8, 0.7], 0.5 + 0.5 * 2 / 3),
    ([LEFT, LEFT, RIGHT], [0.9, 0.8, 0.7], 0.5 + 0.5 * 2 / 3),  # a second box on one digit is a false one
    ([NOWHERE, LEFT], [0.9, 0.8], 0.5 * 0.5),
    ([[0, 0, 20, 41], RIGHT], [0.9, 0.8], 0.5 * 0.5),             # overlaps by 0.49
])
def test_average_precision_by_hand(boxes, scores, expected):
    assert precision(scene_of(LEFT, RIGHT), boxes, scores) == pytest.approx(expected)


def train(*arguments):
    return subprocess.run([sys.executable, str(MODELS / "train.py"), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=300, check=False)


def test_quick_training_writes_complete_releases(tmp_path):
    result = train("--quick", "--out", str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "held-out accuracy" in result.stdout and "held-out mAP@0.5" in result.stdout
    for release in RELEASES:
        assert {path.name for path in (tmp_path / release).iterdir()} == {path.name for path in (MODELS / release).iterdir()}
        graph = frozen.FrozenGraph.load(tmp_path / release / "frozen_graph.pb")
        graph.check_signature(signature_of(release), {**classifier.TENSORS, **detector.TENSORS})


def test_quick_training_never_replaces_the_released_models():
    before = {release: (MODELS / release / "frozen_graph.pb").read_bytes() for release in RELEASES}
    result = train("--quick")
    assert result.returncode == 2
    assert "another directory" in result.stderr
    assert before == {release: (MODELS / release / "frozen_graph.pb").read_bytes() for release in RELEASES}
