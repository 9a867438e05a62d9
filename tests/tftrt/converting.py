"""The TF-TRT variant's own code up to the saved graph, without a GPU: reads a task as JSON, prints what came of it.

Only what runs an engine is left out, because TensorFlow has that on GPUs alone: calibration and build() take their inputs and stop there.
"""

import json
import sys

from tfleet.convert.plan.worker import pretended_gpu
from tfleet.convert.variants import frozen, request, tftrt
from tfleet.errors import TfleetError

fed = {"build": [], "calibration": []}
real = tftrt.new_converter
pretended = []


def without_a_gpu(tf, source, wanted):
    converter, form = real(tf, source, wanted)
    # Kept until the end: it takes its pretence back when it goes.
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


def main():
    task = json.load(sys.stdin)
    import tensorflow as tf

    tftrt.new_converter = without_a_gpu
    wanted = request.new("tftrt", task["precision"], hardware_class="none", **task["options"])
    phases = []
    try:
        signature = frozen.signature_of(task["source"], wanted.tags, wanted.signature)
        summary = tftrt.convert(tf, task["source"], task["built"], wanted, signature, lambda phase, **_: phases.append(phase))
        answer = {"summary": summary, "fed": fed, "phases": sorted(set(phases), key=phases.index)}
    except TfleetError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
