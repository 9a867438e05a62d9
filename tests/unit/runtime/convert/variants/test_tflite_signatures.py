"""Signatures put in front of a .tflite file: read by the server's reader, and by TensorFlow's own schema."""

import os

import pytest

from tfleet.convert.variants import tflite_signatures
from tfleet.errors import TfleetError
from tfleet.server import tflite_metadata


@pytest.fixture(scope="module")
def model():
    import tensorflow as tf

    function = tf.function(lambda x: {"y": x * 2.0 + 1.0}, input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    return tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()]).convert()


def messages(*names):
    from tfleet import wire

    return {name: wire.SignatureDef(method_name="tensorflow/serving/predict/" + name * 50).SerializeToString() for name in names}


@pytest.mark.parametrize("names", [("serving_default",), ("serving_default", "a", "zz")])
def test_the_server_reads_them(model, names):
    wanted = messages(*names)
    found = tflite_metadata.signatures(tflite_signatures.header(model, wanted) + model)
    assert {name: found[name].SerializeToString() for name in found} == wanted


def test_tensorflow_reads_the_model_as_before(model):
    from tensorflow.lite.python import schema_py_generated as schema

    signed = tflite_signatures.header(model, messages("serving_default")) + model
    assert len(signed) - len(model) < 2000 and (len(signed) - len(model)) % 64 == 0
    old, new = (schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0)) for data in (model, signed))
    assert new.version == old.version and new.description == old.description
    assert len(new.buffers) == len(old.buffers) + 1 and len(new.metadata) == len(old.metadata or []) + 1
    for one, other in zip(old.buffers, new.buffers):
        assert bytes(one.data if one.data is not None else b"") == bytes(other.data if other.data is not None else b"")
    assert [entry.name for entry in new.metadata][-1] == b"signature_defs_metadata" and new.metadata[-1].buffer == len(old.buffers)


def test_flexbuffers_of_the_reference_reader(model):
    from flatbuffers import flexbuffers

    wanted = messages("serving_default", "raw")
    root = flexbuffers.GetRoot(bytearray(tflite_signatures._flexbuffer(wanted))).AsMap
    assert [key.AsKey for key in root.Keys] == sorted(wanted)
    assert len(root) == 2


def test_what_is_no_model():
    with pytest.raises(TfleetError) as caught:
        tflite_signatures.header(os.urandom(4) + b"NOPE", {})
    assert "does not begin with TFL3" in str(caught.value)
