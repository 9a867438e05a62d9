"""Prints, as JSON, the speed of tfleet.wire.tensors and of TensorFlow's own functions: a part of `tests.bench.client`.

In a process of its own, because TensorFlow's memory would count as that of every process measured later.
"""

import json
import time

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from tests.bench.harness import interleaved
from tfleet import wire

ROUNDS = 21


def cases():
    """{measure: (ours, TensorFlow's, bytes moved by one call)}; each reading starts from the same serialised message."""
    floats = np.random.RandomState(1).rand(1000000).astype(np.float32)
    picture = np.random.RandomState(1).randint(0, 255, (1, 1080, 1920, 3)).astype(np.uint8)
    content = wire.tensors.to_proto(floats).SerializeToString()
    typed = wire.tensors.to_typed_proto(floats).SerializeToString()
    ours, theirs = wire.TensorProto.FromString, tensor_pb2.TensorProto.FromString
    return {
        "array to message, 1M floats": (lambda: wire.tensors.to_proto(floats), lambda: tf.make_tensor_proto(floats), floats.nbytes),
        "array to message, 1080p picture": (lambda: wire.tensors.to_proto(picture), lambda: tf.make_tensor_proto(picture), picture.nbytes),
        "message to array, 1M floats, tensor_content": (
            lambda: wire.tensors.to_numpy(ours(content)),
            lambda: tf.make_ndarray(theirs(content)),
            floats.nbytes,
        ),
        "message to array, 1M floats, float_val": (
            lambda: wire.tensors.to_numpy(ours(typed)),
            lambda: tf.make_ndarray(theirs(typed)),
            floats.nbytes,
        ),
        "array to float_val, 1M floats": (
            lambda: wire.tensors.to_typed_proto(floats),
            lambda: theirs(b"").float_val.extend(floats.tolist()),
            floats.nbytes,
        ),
    }


def megabytes_per_second(call, size):
    begin = time.perf_counter()
    call()
    return size / 1e6 / (time.perf_counter() - begin)


def main():
    speeds = {}
    for measure, (ours, theirs, size) in cases().items():
        runs = {"ours": lambda: megabytes_per_second(ours, size), "theirs": lambda: megabytes_per_second(theirs, size)}  # noqa: B023
        speeds[measure] = interleaved(ROUNDS, runs)
    print(json.dumps(speeds))


if __name__ == "__main__":
    main()
