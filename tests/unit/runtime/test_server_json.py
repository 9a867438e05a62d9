"""JSON in and out: the fast way through numpy gives what the element-by-element way gives."""

import json
import tracemalloc

import numpy as np
import pytest

from tfleet import wire
from tfleet.server import json_tensor, json_text
from tfleet.server.status import RESOURCE_EXHAUSTED, StatusError


def read(text, **dtypes):
    return json_tensor.read_predict(text.encode("utf-8"), lambda name: {alias: wire.DT.Value("DT_" + dtype) for alias, dtype in dtypes.items()})


def slowly(monkeypatch):
    monkeypatch.setattr(json_tensor._Reader, "_fast", lambda self, value, dtype: None)


DOCUMENTS = [
    ('{"instances": [1, 2.5, NaN, -Infinity]}', "FLOAT"),
    ('{"instances": [[1, 2], [3, 4]]}', "FLOAT"),
    ('{"inputs": [[1, 2], [3, 4]]}', "DOUBLE"),
    ('{"inputs": [[], []]}', "FLOAT"),
    ('{"inputs": [1, 18446744073709551615]}', "UINT64"),
    ('{"inputs": [-1, 9223372036854775807]}', "INT64"),
    ('{"inputs": [300, -129]}', "INT8"),
    ('{"instances": [{"x": [1]}, {"x": [2]}]}', "INT32"),
    ('{"inputs": [16777217, 1e30, 3.5e38]}', "FLOAT"),
    ('{"inputs": [4294967296]}', "UINT32"),
    ('{"inputs": [-1]}', "UINT64"),
    ('{"inputs": [1, 2.0]}', "INT32"),
    ('{"inputs": [1, true]}', "FLOAT"),
    ('{"inputs": [1, null]}', "FLOAT"),
    ('{"inputs": [[1], [2, 3]]}', "FLOAT"),
    ('{"inputs": [100000000000000000000000]}', "FLOAT"),
    ('{"inputs": ["1"]}', "FLOAT"),
]


@pytest.mark.parametrize(("text", "dtype"), DOCUMENTS)
def test_fast_and_slow_ways_agree(monkeypatch, text, dtype):
    def outcome():
        try:
            return read(text, x=dtype).inputs["x"]
        except StatusError as error:
            return str(error)

    fast = outcome()
    slowly(monkeypatch)
    slow = outcome()
    assert type(fast) is type(slow)
    if isinstance(fast, str):
        assert fast == slow
    else:
        assert fast.dtype == slow.dtype
        np.testing.assert_array_equal(fast, slow)


def test_numbers_do_take_the_fast_way(monkeypatch):
    monkeypatch.setattr(json_tensor, "_fill", None)
    for text, dtype in DOCUMENTS[:3]:
        read(text, x=dtype)


def test_strings_and_bytes():
    got = read('{"instances": ["a", {"b64": "/w"}]}', x="STRING").inputs["x"]
    assert got.tolist() == [b"a", b"\xff"]


def test_a_document_that_is_nested_too_deeply():
    with pytest.raises(StatusError, match=r"nested too deeply"):
        json_text.parse(b'{"inputs": ' + b"[" * 100000 + b"]" * 100000 + b"}")


@pytest.mark.parametrize(("body", "message"), [
    (b"", "The document is empty"),
    (b"  ", "The document is empty. at offset: 2"),
    (b'{"a": 1} x', "The document root must not be followed by other values. at offset: 9"),
    (b"{a: 1}", "Missing a name for object member. at offset: 1"),
    (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
    (b'{"a": [1 2]}', "Missing a comma or ] after an array element. at offset: 9"),
    (b'{"a": 1 "b": 2}', "Missing a comma or } after an object member. at offset: 8"),
    (b'{"a": "b', "Missing a closing quotation mark in string. at offset: 6"),
    (b'{"\xc3\xa9": tru}', "Invalid value. at offset: 7"),
])
def test_parse_errors(body, message):
    with pytest.raises(StatusError) as failure:
        json_text.parse(body)
    assert failure.value.message == "JSON Parse error: " + message


def test_floats_survive_the_way_out_and_back():
    rng = np.random.RandomState(1)
    for dtype in (np.float32, np.float64):
        values = np.concatenate([rng.standard_normal(500), 10.0 ** rng.uniform(-30, 30, 500), rng.randint(-1000, 1000, 200)]).astype(dtype)
        texts = json_text.decimals(values)
        np.testing.assert_array_equal(np.array([float(text) for text in texts]).astype(dtype), values)
        assert all("." in text or "e" in text for text in texts)


@pytest.mark.parametrize(("value", "text"), [
    (0.0, "0.0"), (-0.0, "-0.0"), (1.0, "1.0"), (100000.0, "100000.0"), (1e6, "1e+06"), (0.2, "0.2"), (1.17549435e-38, "1.17549435e-38"),
    (3.4028235e38, "3.40282347e+38"), (float("nan"), "NaN"), (float("-inf"), "-Infinity")])
def test_decimal_of_float32(value, text):
    assert json_text.decimal(value, np.float32) == text


def test_quote():
    assert json_text.quote('a"\\/\n\x1f\x7fé') == '"a\\"\\\\/\\n\\u001F\x7fé"'


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool", "float32", "float64"])
@pytest.mark.parametrize("row", [True, False])
def test_answers_are_json(dtype, row):
    array = np.arange(12).reshape(3, 2, 2).astype(dtype)
    answer = json.loads(json_tensor.write_predict({"y": array}, row).decode())
    assert answer == {"predictions" if row else "outputs": array.tolist()}


def test_empty_batches():
    assert json_tensor.write_predict({"y": np.zeros((0, 3))}, True) == b'{\n    "predictions": []\n}'
    assert json.loads(json_tensor.write_predict({"y": np.zeros((2, 0, 3))}, True).decode()) == {"predictions": [[], []]}
    assert json.loads(json_tensor.write_predict({"y": np.zeros((2, 0, 3))}, False).decode()) == {"outputs": [[], []]}


def test_bytes_that_are_no_text_come_out_as_they_are():
    body = json_tensor.write_predict({"y": np.array([b"\xff\xfe"], dtype=object)}, True)
    assert body == b'{\n    "predictions": ["\xff\xfe"\n    ]\n}'


def test_types_without_a_json_form():
    with pytest.raises(StatusError) as failure:
        json_tensor.write_predict({"y": np.zeros(1, np.float16)}, True)
    assert str(failure.value) == "INVALID_ARGUMENT: Failed to write JSON value for tensor type: half"


def test_large_documents_are_echoed_in_no_time():
    assert len(json_text.echo({"instances": [[0] * 1000] * 1000})) == json_text.ECHO_LIMIT


@pytest.mark.parametrize(("text", "offset"), [
    ('{"a": "\\ud800"}', 7), ('{"a": "\\uDC00"}', 7), ('{"a": "\\ud83d\\u0041"}', 7), ('{"\\\\\\ud800": 1}', 4), ('{"é": "x\\udfff"}', 9),
])
def test_half_a_surrogate_pair_is_no_text(text, offset):
    with pytest.raises(StatusError) as failed:
        json_text.parse(text.encode("utf-8"))
    assert failed.value.message == "JSON Parse error: The surrogate pair in string is invalid. at offset: %d" % offset


def test_whole_pairs_and_escaped_backslashes_are_text():
    assert json_text.parse(b'{"a": "\\ud83d\\ude00 \\\\ud800"}') == {"a": "\U0001f600 \\ud800"}


def test_more_dimensions_than_numpy_has():
    with pytest.raises(StatusError, match="The value has 41 dimensions, more than 32"):
        json_tensor.read_predict(b'{"instances": [%s1%s]}' % (b"[" * 40, b"]" * 40), lambda name: {"x": 1})


@pytest.mark.parametrize("element", [
    "[]", "[0]", "[[]]", "{}", '{"x": 0.5}', '{"x": [1.5], "y": ""}', "0", "0.5", "12345678901", '""', '"a"', '"\u00e4"', "null"])
def test_documents_that_would_fill_the_memory_are_refused_before(monkeypatch, element):
    """The limit is on an estimate, which must not be below what the objects take."""
    text = '{"instances": [' + ", ".join([element] * 20000) + "]}"
    tracemalloc.start()
    document = json.loads(text)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(document["instances"]) == 20000
    monkeypatch.setattr(json_text, "MAX_PARSED", used)
    with pytest.raises(StatusError) as failure:
        json_text.parse(text.encode("utf-8"))
    assert failure.value.code == RESOURCE_EXHAUSTED
    assert failure.value.message.startswith("The JSON body would take about ")
    monkeypatch.setattr(json_text, "MAX_PARSED", 20000 * 700)
    assert json_text.parse(text.encode("utf-8")) == document


def test_regular_numbers_need_no_such_limit(monkeypatch):
    monkeypatch.setattr(json_text, "MAX_PARSED", 1000)
    numbers = np.arange(5000.0)
    asked = read('{"instances": %s}' % numbers.tolist(), x="DOUBLE")
    assert asked.inputs["x"].tolist() == numbers.tolist()
    with pytest.raises(StatusError, match="would take about"):
        read('{"instances": %s}' % (numbers.tolist() + ["a"]), x="DOUBLE")
