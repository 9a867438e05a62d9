"""The TF-TRT variant's own code up to the saved graph, without a GPU: a task on each line of standard input, what came of it on each of the output.

Only what runs an engine is left out, because TensorFlow has that on GPUs alone: calibration and build() take their inputs and stop there.
"""

import json
import os
import sys

from tfleet.convert.plan.worker import pretended_gpu
from tfleet.convert.variants import frozen, request, tftrt
from tfleet.errors import TfleetError

fed = {"build": [], "calibration": []}
real = tftrt.new_converter
pretended = []


def without_a_gpu(tf, source, wanted):
    converter, form = real(tf, source, wanted)
    # Kept until the conversion has ended: it takes its pretence back when it goes.
    pretended.append(pretended_gpu(converter))
    pretended[-1].__enter__()

    def take(kind):
        def taken(input_fn):
            for arrays in input_fn():
                fed[kind].append({alias: list(array.shape) for alias, array in arrays.items()})
            converter._calibrated = True

        return taken

    converter._execute_calibration = take("calibration")
    converter.build = take("build")
    return converter, form


def answer(tf, task):
    fed["build"], fed["calibration"] = [], []
    wanted = request.new("tftrt", task["precision"], hardware_class="none", **task["options"])
    phases = []
    try:
        signature = frozen.signature_of(task["source"], wanted.tags, wanted.signature)
        summary = tftrt.convert(tf, task["source"], task["built"], wanted, signature, lambda phase, **_: phases.append(phase))
        return {"summary": summary, "fed": fed, "phases": sorted(set(phases), key=phases.index)}
    except TfleetError as error:
        return {"error": str(error)}
    finally:
        # The last pretence first: each has put itself in front of the one before.
        while pretended:
            pretended.pop().__exit__(None, None, None)


def main():
    # What native code prints belongs elsewhere.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import tensorflow as tf

    tftrt.new_converter = without_a_gpu
    for line in sys.stdin:
        print(json.dumps(answer(tf, json.loads(line))), file=out, flush=True)


if __name__ == "__main__":
    main()
