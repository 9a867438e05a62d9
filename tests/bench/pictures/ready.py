"""Sends the pictures of a folder in batches that are ready to be sent, and prints pictures a second: what the server can do.

Usage: python -m tests.bench.pictures.ready ADDRESS MODEL FOLDER BATCH IN_FLIGHT
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np

from tfleet import client, wire
from tfleet.client import grpc_client, sources

_KEPT = 4
"""Different batches; more would only take memory."""


def main(address, model, folder, batch, in_flight):
    size = int(batch)
    paths = sources.pictures([folder])
    with client.connect(address, timeout=60) as server:
        asked = client.model(server, model)
        requests = []
        for start in range(0, min(_KEPT * size, len(paths)), size):
            prepared = [asked.prepare(path) for path in paths[start : start + size]]
            request = wire.PredictRequest()
            request.model_spec.name = model
            for alias in prepared[0].arrays:
                request.inputs[alias].CopyFrom(wire.tensors.to_proto(np.concatenate([one.arrays[alias] for one in prepared])))
            requests.append(request.SerializeToString())
    with grpc.insecure_channel(address, options=grpc_client.OPTIONS) as channel, ThreadPoolExecutor(int(in_flight)) as pool:
        send = channel.unary_unary(wire.PREDICT)
        send(requests[0], timeout=60)
        begin = time.perf_counter()
        count = max(1, len(paths) // size // 3)  # a third of them tells as much
        list(pool.map(lambda number: send(requests[number % len(requests)], timeout=60), range(count)))
        print(count * size / (time.perf_counter() - begin))


if __name__ == "__main__":
    main(*sys.argv[1:])
