"""Long lists of numbers in JSON: read and written to the same bits and digits as by the plain way, and refused when it would."""

import json
import random

import numpy as np
import pytest

from tfleet.server import json_tensor, json_text, number_reader, number_writer
from tfleet.server.status import StatusError, invalid_argument

RANDOM = np.random.RandomState(3)
FORMATS = ({}, {"indent": 2}, {"separators": (",", ":")})


def read(text, dtype):
    return number_reader.Numbers(text, 0, len(text)).read(dtype)


def assert_reads(text, dtype):
    expected, actual = np.array(json.loads(text)).astype(dtype), read(text, dtype)
    assert actual is not None, text[:200]
    assert (actual.dtype, actual.shape, actual.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_random_lists_are_read_to_the_bit(dtype):
    for step in range(60):
        shape = RANDOM.randint(1, 6, size=RANDOM.randint(1, 5))
        values = RANDOM.randn(*shape) * 10.0 ** RANDOM.randint(-8, 9)
        for array in (values, values.astype(np.float32), values.round(3), RANDOM.randint(-1000, 1000, shape)):
            assert_reads(json.dumps(array.tolist(), **FORMATS[step % 3]).encode(), dtype)


def test_chunks_fit_together():
    assert_reads(json.dumps(RANDOM.rand(30000, 3).tolist()).encode(), np.float32)


def test_integers_are_read_to_the_bit():
    assert_reads(json.dumps(RANDOM.randint(-(2**62), 2**62, (30, 4)).tolist()).encode(), np.int64)


def test_numbers_half_way_between_two_floats_are_rounded_as_doubles_first():
    halves = []
    for value in RANDOM.rand(3000).astype(np.float32):
        half = (float(value) + float(np.nextafter(value, np.float32(2)))) / 2
        halves += [half, np.nextafter(half, 2.0), np.nextafter(half, 0.0)]
    assert_reads(json.dumps([float(half) for half in halves]).encode(), np.float32)
    assert_reads(b"[%s]" % b", ".join(b"%.19f" % half for half in halves), np.float32)


def test_unusual_numbers():
    assert_reads(b"[-0.0, 0.0, -0, 0, -1.5, 1E5, 1e-7, 2.5e+3, 123456789012345678, 0.1234567890123456789012, 0.00000000000000000012]", np.float32)


BAD = (b"[1 2]", b"[1,]", b"[,1]", b"[01]", b"[1.]", b"[.5]", b"[--1]", b"[1-2]", b"[1e]", b"[1e+]", b"[+1]", b"[1.2.3]", b"[[1],2]",
       b"[[1],2[]]", b"[[1,2],[3]]", b"[]", b"[[]]", b"[1][", b"[-]", b"[1e5e5]", b"[1,2]]", b"[[1,2]", b"[1]2", b"[1,[2]]", b"[-,1]",
       b"[1.-2]", b"[-.5]", b"[1 .5]", b"[- 1]", b"[[1]2]", b"[1[2]]", b"[1,2,3 4]", b"[,]", b"[1,,2]", b"[1e1.5]", b"[e5]", b"[-01]",
       b"[1, 2]3", b"[1,\n2 3]", b"[1e400]")


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_list_of_numbers_is_left_to_the_plain_way(text):
    for around in (text, b"[" + text + b", " + text + b"]"):
        assert [read(around, dtype) for dtype in (np.float32, np.float64, np.int64)] == [None] * 3


def test_a_number_too_large_for_the_type_is_left_to_the_plain_way():
    assert read(b"[1e39]", np.float32) is None
    assert read(b"[1e39]", np.float64) is not None
    assert read(b"[9223372036854775808]", np.int64) is None


SIGNATURES = {"": {"x": 1}, "two": {"a": 1, "b": 9}, "int": {"x": 3}, "bytes": {"x": 4}, "double": {"x": 2}, "text": {"x": 7}}


def documents():
    floats, integers = RANDOM.randn(4, 6).tolist(), RANDOM.randint(-5, 300, (4, 6)).tolist()
    for signature in [*SIGNATURES, "none"]:
        for value in (floats, integers, [1, 2, 3], [True, 1], ["a"] * 20, [[1.5] * 30, [2] * 3], []):
            yield {"signature_name": signature, "instances": value}
            yield {"inputs": {"x": value}, "signature_name": signature}
            yield {"inputs": {"a": value, "b": integers, "c": 1}, "signature_name": signature}
            yield {"signature_name": signature, "instances": [{"a": value, "b": integers}, {"a": value, "b": integers}]}
            yield {"signature_name": signature, "instances": [{"x": value}, {"x": floats}]}
            yield {"signature_name": json.dumps(integers), "inputs": value}
            yield {"instances": value, "inputs": value}


def answer(body):
    def inputs_of(name):
        if name not in SIGNATURES:
            raise invalid_argument("no such signature")
        return SIGNATURES[name]

    try:
        asked = json_tensor.read_predict(body, inputs_of)
    except StatusError as error:
        return error.code, error.message
    arrays = {alias: (array.dtype, array.shape, array.tolist()) for alias, array in asked.inputs.items()}
    return asked.signature_name, asked.row, arrays


def test_requests_whole_or_damaged_are_answered_as_by_the_plain_way(monkeypatch):
    chance = random.Random(5)
    for number, document in enumerate(documents()):
        text = json.dumps(document, **FORMATS[number % 3])
        for damage in range(8):
            place = chance.randrange(len(text))
            mark = chance.choice('0123456789+-.eE[],{}":\\ x')
            damaged = (text, text[:place] + mark + text[place + 1:], text[:place] + mark + text[place:], text[:place] + text[place + 1:])
            body = damaged[damage % 4].encode()
            monkeypatch.setattr(number_reader, "_LEAST", 64)
            fast = answer(body)
            monkeypatch.setattr(number_reader, "_LEAST", 1 << 40)
            assert fast == answer(body), body


def test_long_lists_do_take_the_fast_way(monkeypatch):
    monkeypatch.setattr(json_text, "parse", lambda body: pytest.fail("read in the plain way"))
    images = RANDOM.rand(2, 30, 30).astype(np.float32)
    for document in ({"instances": images.tolist()}, {"inputs": {"x": images.tolist()}}, {"instances": [{"x": row} for row in images.tolist()]}):
        asked = json_tensor.read_predict(json.dumps(document).encode(), lambda name: {"x": 1})
        assert np.array_equal(asked.inputs["x"], images)


def assert_writes(values):
    array = np.asarray(values, np.float32)
    for depth in (None, 1):
        assert number_writer.nested(array, depth) == json_text.nested(json_text.decimals(array.reshape(-1)), array.shape, depth)


def test_numbers_of_every_kind_are_written_to_the_digit():
    assert_writes(RANDOM.randint(0, 2**32, 200000, dtype=np.uint32).view(np.float32))  # any bits
    assert_writes(RANDOM.rand(50000))
    assert_writes(np.round(RANDOM.rand(50000) * 100, 3))
    assert_writes(np.arange(1, 100000) / np.float32(255))
    assert_writes(np.exp(RANDOM.randn(50000) * 6))


def test_numbers_around_powers_of_ten_are_written_to_the_digit():
    values = [0, -0.0, np.nan, np.inf, -np.inf, 999999.5, 0.01, 0.00999999977]
    for power in range(-6, 9):
        below = above = np.float32(10.0**power)
        for _ in range(200):
            values += [below, above]
            below, above = np.nextafter(below, np.float32(0)), np.nextafter(above, np.float32(np.inf))
    assert_writes(values)


@pytest.mark.parametrize("shape", [(300,), (3, 100), (4, 5, 20), (2, 3, 50, 1), (1, 1, 1, 257), (600, 1)])
def test_answers_have_the_same_layout(shape, monkeypatch):
    array = RANDOM.randn(*shape).astype(np.float32)
    cases = [(outputs, row) for outputs in ({"y": array}, {"y": array, "z": -array}) for row in (True, False)]
    fast = [json_tensor.write_predict(*case) for case in cases]
    monkeypatch.setattr(number_writer, "takes", lambda array: False)
    assert fast == [json_tensor.write_predict(*case) for case in cases]
