"""Answered examples in a few KB, for the record of a rollout."""

import json

import numpy as np

from tfleet.client import samples


def scores(count, best):
    return np.array([[1.0 if number == best else 0.5 / (number + 2) for number in range(count)]], np.float32)


def test_small_answers_are_told_whole_and_of_a_batch_the_first_row():
    outputs = {"scores": np.array([[0.25, 0.75], [1, 0]], np.float32), "name": np.array([b"cat", b"dog"], object), "extra": np.zeros(3)}
    expected = {"scores": np.array([[1 / 3, 2 / 3], [1, 0]], np.float32), "name": np.array(["cat", "cat"])}
    (sample,) = samples.shortened([("example 0", outputs, expected)])
    assert sample == {"input": "example 0", "output": {"name": ["cat", "dog"], "scores": [[0.25, 0.75]]},
                      "expected": {"name": ["cat", "cat"], "scores": [[0.3333, 0.6667]]}}


def test_of_many_scores_the_best_of_either_side_keep_their_places():
    (sample,) = samples.shortened([("example 0", {"scores": scores(1000, 7)}, {"scores": scores(1000, 900)})])
    output, expected = sample["output"]["scores"], sample["expected"]["scores"]
    assert len(output) == len(expected) == 1000
    assert (output[7], expected[900]) == (1.0, 1.0)
    # What the other side takes for the best is told too, however little it is here.
    assert 0 < output[900] < 0.001
    assert expected[7] > 0
    assert sum(value != 0 for value in output) <= 16


def test_of_a_detector_the_best_objects_and_no_masks():
    side = {"detection_boxes": np.full((1, 100, 4), 0.5, np.float32), "detection_scores": np.linspace(1, 0, 100, dtype=np.float32)[None],
            "detection_classes": np.ones((1, 100), np.float32), "detection_masks": np.zeros((1, 100, 33, 33), np.float32)}
    (sample,) = samples.shortened([("example 0", side, side)])
    assert set(sample["output"]) == set(sample["expected"]) == {"detection_boxes", "detection_scores", "detection_classes"}
    assert len(sample["output"]["detection_boxes"][0]) == 12
    assert sample["output"]["detection_scores"][0][0] == 1.0


def test_large_outputs_are_told_by_their_first_values_and_odd_numbers_as_text():
    picture = {"image": np.arange(65536, dtype=np.int64).reshape(1, 256, 256), "y": np.array([[np.nan, np.inf]])}
    (sample,) = samples.shortened([("example 0", picture, picture)])
    assert sample["output"] == {"image": [0, 1, 2, 3, 4, 5, 6, 7], "y": [["nan", "inf"]]}


def test_there_are_at_most_three_in_a_few_kilobytes():
    def example(number, count):
        return "example %d" % number, {"scores": scores(count, 1)}, {"scores": scores(count, 2)}

    assert [sample["input"] for sample in samples.shortened(example(number, 10) for number in range(9))] == ["example 0", "example 1", "example 2"]
    large = samples.shortened(example(number, 1000) for number in range(9))
    assert len(large) == 1
    assert len(json.dumps(large)) <= samples.MOST_BYTES
    assert samples.shortened([example(0, 2000)]) == []
    assert samples.shortened([]) == []
