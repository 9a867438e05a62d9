"""Ask a model server for its golden answers fifty times in a second until SIGTERM, then print what was seen as one JSON object.

asking_client.py ADDRESS MODEL LABEL GOLDEN: answers, wrong answers, refusals, and the longest time between two right answers in seconds.
"""

import json
import signal
import sys
import time

from tfleet.client import golden as goldens
from tfleet.client.grpc_client import Client
from tfleet.errors import TfleetError


def main(address, model, label, path):
    """Runs until SIGTERM."""
    golden = goldens.read(path)
    inputs = golden.examples[0][0]
    seen = {"answers": 0, "wrong": 0, "refused": 0, "longest_gap": 0.0, "errors": {}}
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    first, last = None, None
    while not stopping:
        try:
            with Client(address, 2.0) as client:
                while not stopping:
                    answer = client.predict(model, inputs, label=label)
                    now = time.monotonic()
                    right = goldens.compare(goldens.Golden(golden.meta, golden.examples[:1]), [answer.outputs]).ok
                    seen["answers"] += 1
                    seen["wrong"] += not right
                    if last is not None:
                        seen["longest_gap"] = max(seen["longest_gap"], now - last)
                    first, last = first or now, now
                    # Fifty times in a second tell the interruption as well as a thousand, and leave the host its processor for the upgrade.
                    time.sleep(0.02)
        except TfleetError as error:
            seen["refused"] += 1
            code = str(error.result.get("code"))
            seen["errors"][code] = seen["errors"].get(code, 0) + 1
            time.sleep(0.02)
    seen["seconds"] = (last or 0) - (first or 0)
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
