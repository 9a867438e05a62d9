"""Requests whose large values stay where they are, and answers put together from parts: the same as protobuf's."""

import numpy as np
import pytest

from tfleet import wire

IMAGES = np.random.RandomState(2).rand(2, 100, 100, 3).astype(np.float32)
BIG = wire.tensors.to_proto(IMAGES)
TYPED = wire.tensors.to_typed_proto(IMAGES)


def request(**inputs):
    message = wire.PredictRequest(output_filter=["scores"])
    message.model_spec.name = "m"
    for alias, proto in inputs.items():
        message.inputs[alias].CopyFrom(proto)
    return message


def read(data):
    message, cuts = wire.predict_bytes.read_request(data)
    return message, cuts, {alias: wire.tensors.to_numpy(message.inputs[alias], cuts.get(alias)) for alias in message.inputs}


@pytest.mark.parametrize("big", [BIG, TYPED, wire.tensors.to_typed_proto(IMAGES.astype(np.float64))])
def test_large_values_are_cut_out_and_nothing_else_changes(big):
    small = wire.tensors.to_proto(np.arange(3))
    message, cuts, arrays = read(request(images=big, count=small).SerializeToString())
    assert list(cuts) == ["images"]
    assert (message.model_spec.name, list(message.output_filter), message.ByteSize() < 200) == ("m", ["scores"], True)
    assert np.array_equal(arrays["images"], IMAGES) and arrays["count"].tolist() == [0, 1, 2]


def test_the_values_are_not_copied():
    data = request(images=BIG).SerializeToString()
    array = read(data)[2]["images"]
    assert np.shares_memory(array, np.frombuffer(data, np.uint8))


def test_short_typed_values_are_filled_up():
    short = wire.TensorProto.FromString(TYPED.SerializeToString())
    short.tensor_shape.dim[0].size = 3
    array = read(request(images=short).SerializeToString())[2]["images"]
    assert np.array_equal(array[:2], IMAGES) and (array[2] == IMAGES[-1, -1, -1, -1]).all()


def test_values_of_another_type_do_not_count():
    wrong = wire.TensorProto.FromString(TYPED.SerializeToString())
    wrong.dtype = wire.DT.Value("DT_INT32")
    assert not read(request(images=wrong).SerializeToString())[2]["images"].any()
    wrong.dtype = wire.DT.Value("DT_COMPLEX64")
    assert not read(request(images=wrong).SerializeToString())[2]["images"].any()


def unusual():
    data = request(images=BIG).SerializeToString()
    both = wire.TensorProto.FromString(BIG.SerializeToString())
    both.float_val.extend([1.0] * 20000)
    yield "both fields", request(images=both).SerializeToString()
    yield "the same key twice", data + request(images=TYPED).SerializeToString()
    entry = b"\x0a\x06images\x12" + wire_length(BIG.SerializeToString()) + BIG.SerializeToString()
    for name, extra in (("two values", b"\x12\x02\x08\x03"), ("two keys", b"\x0a\x01x"), ("an unknown field", b"\x18\x01")):
        yield name, b"\x12" + wire_length(entry + extra) + entry + extra
    yield "no key", b"\x12" + wire_length(entry[8:]) + entry[8:]
    tensor = BIG.SerializeToString() + b"\x22\x04abcd" + BIG.SerializeToString()[-IMAGES.nbytes - 4:]
    entry = b"\x0a\x06images\x12" + wire_length(tensor) + tensor
    yield "content three times", b"\x12" + wire_length(entry) + entry


def wire_length(data):
    return wire.predict_bytes.varint.encode_one(len(data))


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in unusual()])
def test_unusual_requests_mean_what_protobuf_says(data):
    message, _, arrays = read(data)
    expected = wire.PredictRequest.FromString(data)
    assert message.model_spec == expected.model_spec and set(message.inputs) == set(expected.inputs)
    for alias, proto in expected.inputs.items():
        try:
            values = wire.tensors.to_numpy(proto)
        except ValueError:
            with pytest.raises(ValueError):
                wire.tensors.to_numpy(message.inputs[alias])
        else:
            assert np.array_equal(arrays[alias], values)


def test_damaged_requests_are_refused_when_protobuf_refuses_them():
    data = bytearray(request(images=BIG).SerializeToString())
    random = np.random.RandomState(4)
    for _ in range(300):
        damaged = bytearray(data)
        damaged[random.randint(0, 60)] = random.randint(0, 256)
        damaged = bytes(damaged[: random.choice([len(data), random.randint(70000, len(data))])])
        outcomes = []
        for parse in (wire.PredictRequest.FromString, lambda raw: wire.predict_bytes.read_request(raw)[0]):
            try:
                outcomes.append(sorted(parse(damaged).inputs))
            except Exception as error:  # noqa: BLE001 (DecodeError; other types with other protobuf releases)
                outcomes.append(type(error))
        assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("as_content", [True, False])
@pytest.mark.parametrize("array", [IMAGES, IMAGES[:, ::2], np.float32(3), np.zeros((0, 4)), np.arange(-3, 3), np.array([True, False]),
                                   np.array([b"a", b"\0b\0"], object), np.arange(4).astype(np.float16), np.array([1 + 2j])])
def test_answers_are_protobufs(array, as_content):
    data = wire.predict_bytes.response("m", 7, "serving_default", {"a": np.asarray(array), "b": IMAGES}, as_content)
    message = wire.PredictResponse.FromString(data)
    expected = wire.PredictResponse()
    expected.model_spec.name, expected.model_spec.version.value, expected.model_spec.signature_name = "m", 7, "serving_default"
    encode = wire.tensors.to_proto if as_content else wire.tensors.to_typed_proto
    expected.outputs["a"].CopyFrom(encode(array))
    expected.outputs["b"].CopyFrom(encode(IMAGES))
    assert message == expected
    assert np.array_equal(wire.tensors.to_numpy(message.outputs["a"]), array)


def test_a_request_from_parts_is_the_message_that_protobuf_makes():
    spec = wire.ModelSpec(name="m", signature_name="s")
    spec.version.value = 3
    for arrays in (
        {"x": IMAGES, "y": np.arange(3)},
        {"x": np.array([b"a", b"\xff"], dtype=object), "scalar": np.float32(2.5), "none": np.zeros((0, 4), np.float16)},
        {"x": [[1.0, 2.0]], "ready": TYPED, "flags": np.array([True])},
        {},
    ):
        expected = wire.PredictRequest(model_spec=spec, output_filter=["a", "b"])
        for alias, value in arrays.items():
            proto = value if isinstance(value, wire.TensorProto) else wire.tensors.to_proto(value)
            expected.inputs[alias].CopyFrom(proto)
        found = wire.PredictRequest.FromString(wire.predict_bytes.request(spec, arrays, ["a", "b"]))
        assert found == expected
    with pytest.raises(ValueError, match="Input 'x' of model 'm' cannot be sent: an array of dtype datetime64"):
        wire.predict_bytes.request(spec, {"x": np.array(["2020-01-01"], "M8[D]")})
