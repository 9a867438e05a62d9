"""Golden files: what is written, what is read back, and how answers are judged."""

import io
import json
import zipfile

import numpy as np
import pytest

from tfleet.client import golden
from tfleet.errors import TfleetError

META = {"model": "m", "signature_name": "serving_default", "tolerance": {"y": {"abs": 0.1, "rel": 0.01}}}
EXAMPLES = [
    ({"x": np.float32([[1]])}, {"y": np.float32([[1, 100]]), "n": np.int64([3])}),
    ({"x": np.float32([[2]])}, {"y": np.float32([[2, 200]]), "n": np.int64([4])}),
]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "golden.npz")


def made(path, meta=None, examples=None):
    golden.write(path, META if meta is None else meta, EXAMPLES if examples is None else examples)
    return golden.read(path)


def answers(**changes):
    found = [dict(outputs) for _, outputs in EXAMPLES]
    found[1].update(changes)
    return found


def test_round_trip_and_equal_bytes(path, tmp_path):
    read = made(path)
    assert read.meta == dict(META, format=1, examples=2)
    assert read.examples[1][0]["x"].tolist() == [[2]] and read.examples[1][1]["n"].dtype == np.int64
    again = str(tmp_path / "again.npz")
    golden.write(again, META, EXAMPLES)
    with open(path, "rb") as one, open(again, "rb") as other:
        assert one.read() == other.read()
    # numpy alone reads it.
    assert np.load(path, allow_pickle=False)["0/outputs/y"].tolist() == [[1, 100]]


def test_strings(path):
    examples = [({"x": np.array([b"\xff\x00a", "u"], dtype=object)}, {"y": np.array(["one"])})]
    read = made(path, {"model": "m"}, examples)
    assert read.examples[0][0]["x"].tolist() == [b"\xff\x00a", b"u"]
    assert golden.compare(read, [{"y": np.array([b"one"], dtype=object)}]).ok
    wrong = golden.compare(read, [{"y": np.array([b"two"], dtype=object)}])
    assert wrong.problems == ["Output 'y' of example 0 is b'two' instead of b'one' at element 0."]
    with pytest.raises(TfleetError, match=r"'x' has a string that ends in a zero byte"):
        golden.write(path, {}, [({"x": np.array([b"a\0"], dtype=object)}, {})])


def test_equal_answers(path):
    result = golden.compare(made(path), answers())
    assert result.ok and result.problems == []
    assert result.worst["abs"] == 0 and set(result.errors) == {"y", "n"}


def test_within_and_outside_the_tolerance(path):
    read = made(path)
    inside = golden.compare(read, answers(y=np.float32([[2.0625, 202]])))
    assert inside.ok
    # The worst element is the one with the largest share of its own allowance: 2 of 2.1, not 0.0625 of 0.12.
    assert inside.worst == {"output": "y", "abs": 2.0, "rel": 0.01, "example": 1}
    outside = golden.compare(read, answers(y=np.float32([[2, 203]])))
    assert not outside.ok
    assert outside.problems == ["Output 'y' of example 1 is 203.0 instead of 200.0 at element 1: off by 3 where 2.1 is allowed."]


def test_outputs_without_a_tolerance_must_be_equal(path):
    result = golden.compare(made(path), answers(n=np.int64([5])))
    assert not result.ok and result.worst == {"output": "n", "abs": 1.0, "rel": 0.25, "example": 1}


def test_unsigned_differences_do_not_wrap(path):
    read = made(path, {"tolerance": {"y": {"abs": 2}}}, [({"x": np.uint8([1])}, {"y": np.uint8([1])})])
    assert golden.compare(read, [{"y": np.uint8([0])}]).ok
    assert golden.compare(read, [{"y": np.uint8([255])}]).worst["abs"] == 254


@pytest.mark.parametrize(
    "expected, actual, ok",
    [
        ([np.nan, 1], [np.nan, 1], True),
        ([np.inf, 1], [np.inf, 1], True),
        ([np.inf, 1], [1, 1], False),
        ([1, 1], [np.nan, 1], False),
        ([1, 1], [np.inf, 1], False),
        ([np.inf, 1], [-np.inf, 1], False),
    ],
)
def test_values_that_are_not_finite(expected, actual, ok, path):
    read = made(path, {"tolerance": {"y": {"abs": 1, "rel": 1}}}, [({"x": np.float32([1])}, {"y": np.float32(expected)})])
    result = golden.compare(read, [{"y": np.float32(actual)}])
    assert result.ok is ok
    json.dumps(result.worst, allow_nan=False)


def test_missing_outputs_and_other_shapes(path):
    read = made(path)
    result = golden.compare(read, [{"y": np.float32([[1]]), "n": np.int64([3])}, {"y": np.float32([[2, 200]])}])
    assert result.problems == [
        "Output 'n' of example 1 is missing in the answer.",
        "Output 'y' of example 0 has shape [1, 1] instead of [1, 2].",
    ]
    assert result.worst["abs"] is None
    with pytest.raises(ValueError, match=r"1 answers for 2 examples"):
        golden.compare(read, answers()[:1])


def archive(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **{name.replace("__", "/"): value for name, value in arrays.items()})
    return buffer.getvalue()


META_ARRAY = np.array(json.dumps({"format": 1, "examples": 1}))


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "Could not read the golden file .*: No such file or directory"),
        (b"text", "is no .npz archive, or cut short. Record it again"),
        (archive(a=np.ones(1)), "it has no description named 'meta'"),
        (archive(meta=np.array("no json")), "it has no description named 'meta'"),
        (archive(meta=np.array('{"format": 9, "examples": 1}')), "of format 9; this tfleet reads 1"),
        (archive(meta=META_ARRAY, oops=np.ones(1)), "has an array 'oops', which is not"),
        (archive(meta=META_ARRAY, **{"0__inputs__x": np.ones(1)}), "example 0 lacks its inputs or its outputs"),
        (archive(meta=np.array('{"format": 1, "examples": 0}')), "has no examples"),
    ],
)
def test_bad_files(content, message, path):
    if content is not None:
        with open(path, "wb") as stream:
            stream.write(content)
    with pytest.raises(TfleetError, match=message):
        golden.read(path)


def test_damaged_archive(path):
    made(path)
    with zipfile.ZipFile(path) as zipped:
        offset = zipped.getinfo("0/outputs/y.npy").header_offset
    with open(path, "r+b") as stream:
        stream.seek(offset + 60)
        stream.write(b"\xff" * 40)
    with pytest.raises(TfleetError, match=r"is not a golden file, or is damaged: .* Record it again"):
        golden.read(path)
