"""The same work without a server: `python -m tests.bench.server.inprocess THREADS`, 0 for TensorFlow's own choice.

Stays alive, reads one JSON command a line and answers with one JSON line, until its standard input ends:
    {"model": SavedModel, "input": FILE.npy, "seconds": S, "output": FILE.npy or null}   the concrete function of its signature
    {"copy": FILE.npy, "seconds": S}                                                     one copy of an array in memory
    {"json": FILE.json, "output": FILE.npy, "seconds": S}                                what a REST handler does by hand
Each answers {"took": [seconds of each call], "cpu": CPU seconds a call}.
"""

import json
import sys
import time

import numpy as np


def main(threads):
    functions = {}
    for line in sys.stdin:
        command = json.loads(line)
        if "copy" in command:
            call = np.load(command["copy"]).copy
        elif "json" in command:
            call = _by_hand(command["json"], np.load(command["output"]))
        else:
            call = _model(functions, threads, command["model"], np.load(command["input"]))
            if command.get("output"):
                np.save(command["output"], next(iter(call().values())).numpy())
        print(json.dumps(_measure(call, command["seconds"])), flush=True)


def _measure(call, seconds):
    call()
    took = []
    cpu = time.process_time()
    end = time.perf_counter() + seconds
    while not took or time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        took.append(time.perf_counter() - begin)
    return {"took": took, "cpu": (time.process_time() - cpu) / len(took)}


def _model(functions, threads, path, array):
    import tensorflow as tf

    if not functions:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    if path not in functions:
        functions[path] = tf.saved_model.load(path)
    function = functions[path].signatures["serving_default"]
    (alias,) = function.structured_input_signature[1]
    tensor = tf.constant(array)  # outside the loop: moving the request is the server's part
    return lambda: {name: _finished(output) for name, output in function(**{alias: tensor}).items()}


def _finished(tensor):
    tensor.numpy()
    return tensor


def _by_hand(path, output):
    with open(path, "rb") as stream:
        body = stream.read()

    def call():
        np.array(json.loads(body)["instances"], np.float32)
        return json.dumps({"predictions": output.tolist()})

    return call


if __name__ == "__main__":
    main(int(sys.argv[1]))
