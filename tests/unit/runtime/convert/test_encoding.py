"""The proto written node by node is the proto, and costs no copies of it."""

import subprocess
import sys

import numpy as np
import pytest

from tfleet.convert import framework, saved_model
from tfleet.convert.encoding import Encoded
from tfleet.errors import TfleetError


def test_the_chunks_are_the_message(tf2_saved_model):
    model = saved_model.read(tf2_saved_model)
    encoded = Encoded(model)
    data = b"".join(encoded)
    assert len(data) == encoded.size == model.ByteSize()
    again = type(model).FromString(data)
    assert again == model and again.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def test_more_than_a_protocol_buffer_holds(tf2_saved_model, monkeypatch):
    model = saved_model.read(tf2_saved_model)
    monkeypatch.setattr(framework, "PROTOBUF_LIMIT", model.ByteSize())
    assert Encoded(model).size == model.ByteSize()
    monkeypatch.setattr(framework, "PROTOBUF_LIMIT", model.ByteSize() - 1)
    with pytest.raises(TfleetError, match="ends at 2 GiB"):
        Encoded(model)


def test_an_export_takes_little_more_than_twice_the_graph(tf, tmp_path):
    with tf.Graph().as_default() as graph:
        value = tf.compat.v1.placeholder(tf.float32, [None, 2000], "x")
        for _layer in range(5):
            value = tf.matmul(value, tf.constant(np.random.RandomState(0).rand(2000, 2000).astype(np.float32)))
        tf.identity(value, "y")
    (tmp_path / "large.pb").write_bytes(graph.as_graph_def().SerializeToString())
    # In a process of its own: the peak of resident memory never falls.
    code = """if True:
        import resource, sys
        from tfleet.convert import framework
        framework.load().compat.v1.GraphDef
        from tensorflow.python.framework import meta_graph
        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        before = peak()
        from tfleet.convert.export import export
        export(sys.argv[1], sys.argv[2], declared={"s": {"inputs": {"x": "x:0"}, "outputs": {"y": "y:0"}}})
        print(peak() - before)
    """
    taken = int(subprocess.check_output([sys.executable, "-c", code, str(tmp_path / "large.pb"), str(tmp_path / "out")]))
    assert taken < 2.5 * (tmp_path / "large.pb").stat().st_size
