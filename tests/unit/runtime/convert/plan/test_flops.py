"""Floating-point operations of real operations, against numbers counted by hand."""

import numpy as np
import pytest

from tfleet.convert import framework
from tfleet.convert.plan import flops


@pytest.fixture(scope="module")
def counted():
    tf = framework.load()
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 8, 8, 3], "x")
        conv = tf.nn.conv2d(x, np.ones((3, 3, 3, 16), np.float32), 2, "SAME", name="conv")
        tf.nn.depthwise_conv2d(conv, np.ones((3, 3, 16, 2), np.float32), [1, 1, 1, 1], "SAME", name="depthwise")
        tf.nn.conv2d_transpose(conv, np.ones((2, 2, 5, 16), np.float32), [2, 8, 8, 5], 2, name="up")
        tf.nn.max_pool2d(conv, 2, 2, "SAME", name="pool")
        relu = tf.nn.relu(conv, name="relu")
        flat = tf.reshape(relu, [2, 4 * 4 * 16], name="flat")
        tf.matmul(flat, np.ones((256, 10), np.float32), name="dense")
        tf.matmul(flat, np.ones((10, 256), np.float32), transpose_b=True, name="dense_transposed")
        tf.argmax(flat, 1, name="best")
        tf.boolean_mask(flat, flat > 0, name="mask")
    return flops.count(tf, graph.as_graph_def(), {"x": [2, 8, 8, 3]})


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("conv", 2 * (2 * 4 * 4 * 16) * 27),
        ("depthwise", 2 * (2 * 4 * 4 * 32) * 9),
        ("up", 2 * (2 * 4 * 4 * 16) * 2 * 2 * 5),
        ("pool", (2 * 2 * 2 * 16) * 4),
        ("relu", 2 * 4 * 4 * 16),
        ("flat", 0),
        ("dense", 2 * 2 * 10 * 256),
        ("dense_transposed", 2 * 2 * 10 * 256),
        ("best", 0),
        ("mask/GatherV2", None),
    ],
)
def test_counts(counted, node, expected):
    assert counted[node] == expected
