"""Writes TensorFlow Lite models, converted by TensorFlow: python tflite_models.py DIRECTORY.

half/1: y = x / 2 + 2, without a signature; named/1: the same with a signature in its metadata, if this TensorFlow brings what
writes it; text/1: two strings as a column.
"""

import os
import sys


def convert(path, build):
    """build(tf, v1) -> (input, output); writes path/1/model.tflite and returns its name."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        x, y = build(tf, v1)
        model = v1.lite.TFLiteConverter.from_session(session, [x], [y]).convert()
    os.makedirs(os.path.join(path, "1"))
    name = os.path.join(path, "1", "model.tflite")
    with open(name, "wb") as stream:
        stream.write(model)
    return name


def half(tf, v1):
    x = v1.placeholder(tf.float32, [None, 2], name="x")
    return x, tf.add(x * 0.5, 2.0, name="y")


def text(tf, v1):
    x = v1.placeholder(tf.string, [2], name="x")
    return x, tf.reshape(x, [2, 1], name="y")


def sign(name):
    """Puts a signature `serving_default`, features -> scores, into the metadata of a model, with the flatbuffers package."""
    import flatbuffers
    from flatbuffers import flexbuffers
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow.lite.python import schema_py_generated as schema

    signature = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    for info, tensor in ((signature.inputs["features"], "x:0"), (signature.outputs["scores"], "y:0")):
        info.name = tensor
        info.dtype = 1
        for size in (-1, 2):
            info.tensor_shape.dim.add(size=size)
    signatures = flexbuffers.Builder()
    with signatures.Map():
        signatures.Key("serving_default")
        signatures.Blob(signature.SerializeToString())
    with open(name, "rb") as stream:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(stream.read(), 0))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(signatures.Finish())
    model.buffers.append(buffer)
    entry.name, entry.buffer = b"signature_defs_metadata", len(model.buffers) - 1
    model.metadata = (model.metadata or []) + [entry]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    with open(name, "wb") as stream:
        stream.write(builder.Output())


if __name__ == "__main__":
    root = sys.argv[1]
    convert(os.path.join(root, "half"), half)
    convert(os.path.join(root, "text"), text)
    named = convert(os.path.join(root, "named"), half)
    try:
        sign(named)
    except ImportError as error:
        os.remove(named)
        print("no signed model: %s" % error)
