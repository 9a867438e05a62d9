"""The errors of one output, against the same computed at once."""

import numpy as np
import pytest

from tfleet.measure.outputs import Output, scores_of


def errors(want, got, top_k=0):
    output = Output("y", top_k)
    rows = output.add(np.asarray(want), None if got is None else np.asarray(got))
    return output.result(), rows


def test_errors_of_batches_are_those_of_all_rows():
    random = np.random.RandomState(1)
    want = random.randn(64, 7, 3).astype(np.float32)
    got = want + random.randn(64, 7, 3).astype(np.float32) * 0.01
    output = Output("y")
    for start in range(0, 64, 16):
        output.add(want[start : start + 16], got[start : start + 16])
    found = output.result()
    difference = np.abs(got - want)
    size = np.abs(want.reshape(64, -1))
    floor = np.maximum(size, 0.01 * size.max(axis=1, keepdims=True)).reshape(want.shape)
    assert found["max_abs"] == pytest.approx(difference.max(), rel=1e-6)
    assert found["mean_abs"] == pytest.approx(difference.mean(), rel=1e-5)
    assert found["max_rel"] == pytest.approx((difference / floor).max(), rel=1e-5)
    assert found["mean_rel"] == pytest.approx((difference / floor).mean(), rel=1e-5)


def test_tiny_elements_beside_large_ones_do_not_blow_up_the_relative_error():
    found, _ = errors(np.float32([[1.0, 1e-9]]), np.float32([[1.0, 1e-5]]))
    assert found["max_rel"] == pytest.approx(1e-3, rel=0.01)


def test_unsigned_numbers_and_half_floats_do_not_wrap():
    assert errors(np.uint8([[0, 255]]), np.uint8([[255, 0]]))[0]["max_abs"] == 255
    assert errors(np.float16([[60000.0]]), np.float16([[-60000.0]]))[0]["max_abs"] == pytest.approx(120000, rel=1e-3)


def test_nan_is_counted_and_never_hidden():
    found, rows = errors(np.float32([[1, 2], [1, 2]]), np.float32([[1, np.nan], [1, 2.5]]))
    assert found["not_finite"] == {"reference": 0, "candidate": 1}
    assert (found["max_abs"], found["equal"]) == (0.5, 0.5)
    assert [row.agrees for row in rows] == [False, True]
    same, _ = errors(np.float32([[np.nan, np.inf]]), np.float32([[np.nan, np.inf]]))
    assert same["max_abs"] == 0 and same["equal"] == 1


@pytest.mark.parametrize("got, word", [(None, "missing"), (np.zeros((2, 4), np.float32), "shape [2, 4]")])
def test_a_missing_or_other_output_is_a_problem(got, word):
    found, rows = errors(np.zeros((2, 3), np.float32), got)
    assert word in found["problem"] and rows == []


def test_top_1_and_top_k():
    want = np.float32([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.9, 0.05, 0.05]])
    got = np.float32([[0.5, 0.3, 0.2], [0.3, 0.5, 0.2], [0.2, 0.4, 0.4]])
    found, rows = errors(want, got, top_k=2)
    assert (found["top1"], found["topk"], found["k"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3), 2)
    assert [row.agrees for row in rows] == [True, False, False]
    assert errors(want, got, top_k=3)[0]["topk"] == 1.0
    assert errors(want, got)[0]["top1"] is None


def test_texts_are_compared_as_bytes():
    found, rows = errors(np.array([["one"], ["two"]]), np.array([[b"one"], [b"three"]], dtype=object))
    assert found["equal"] == 0.5 and [row.agrees for row in rows] == [True, False]


def test_empty_outputs_are_equal():
    assert errors(np.zeros((2, 0), np.float32), np.zeros((2, 0), np.float32))[0]["max_abs"] == 0


def test_scores_are_found_by_name_or_as_shares():
    shares = np.float32([[0.25, 0.75]])
    assert scores_of({"y": shares, "z": shares * 3}) == "y"
    assert scores_of({"logits": shares * 3, "embedding": shares * 5}) == "logits"
    assert scores_of({"embedding": shares * 5}) is None
