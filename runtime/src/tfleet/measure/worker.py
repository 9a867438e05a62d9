"""A process that runs one build: `python -m tfleet.measure.worker`. Commands and answers are one JSON object a line.

{"open": source, "signature": name, "tags": tags} -> {"signature": base64 of the SignatureDef, "signature_name", "memory"}
{"requests": file} -> {}            a file of serialized PredictRequests, each after its length in eight bytes
{"warm": runs} -> {"seconds": [...]}
{"run": seconds} -> {"seconds": [...], "cpu": seconds of the processor, "memory"}
An answer {"error": message} is a failure that was understood.
"""

import base64
import gc
import json
import os
import struct
import sys
import time
from typing import Any, Dict, List

from tfleet.errors import TfleetError
from tfleet.measure import payloads


def read_requests(path: str) -> List[bytes]:
    """The requests of a file."""
    found: List[bytes] = []
    with open(path, "rb") as stream:
        while True:
            head = stream.read(8)
            if not head:
                return found
            found.append(stream.read(struct.unpack("<Q", head)[0]))


def write_requests(path: str, requests: List[bytes]) -> None:
    """Writes them for read_requests()."""
    with open(path, "wb") as stream:
        for request in requests:
            stream.write(struct.pack("<Q", len(request)) + request)


def memory(process: Any = "self") -> Dict[str, float]:
    """{"resident", "peak"} of a process in MB; {} where the kernel does not tell."""
    names = {"VmRSS": "resident", "VmHWM": "peak"}
    found = {}
    try:
        with open("/proc/%s/status" % process, encoding="ascii", errors="replace") as stream:
            for line in stream:
                name, _, rest = line.partition(":")
                if name in names:
                    found[names[name]] = round(int(rest.split()[0]) / 1024.0, 1)
    except OSError:
        return {}
    return found


def repeat(run: Any, feeds: List[Any], seconds: float, runs: int = 0) -> List[float]:
    """Runs for so many seconds, or so many times, whichever ends first (0: no limit); the seconds of each run. At least one run."""
    took: List[float] = []
    clock, note = time.perf_counter, took.append
    count = len(feeds)
    gc.disable()
    try:
        end = clock() + seconds
        number = 0
        while True:
            begin = clock()
            run(feeds[number % count])
            now = clock()
            note(now - begin)
            number += 1
            if now >= end or number == runs:
                return took
    finally:
        gc.enable()


class _Worker(object):
    def __init__(self) -> None:
        self.build: Any = None
        self.feeds: List[Any] = []

    def answer(self, command: Dict[str, Any]) -> Dict[str, Any]:
        from tfleet.measure import builds

        if "open" in command:
            from tfleet.server import executor

            executor.tensorflow()  # its own memory is not the model's
            before = memory()
            self.build = builds.LocalBuild(command["open"], command["signature"], command["tags"])
            return {
                "signature": base64.b64encode(self.build.signature.SerializeToString()).decode("ascii"),
                "signature_name": self.build.signature_name,
                "memory": before,
            }
        if "requests" in command:
            self.feeds = [self.build.feeds(payloads.decode(request)) for request in read_requests(command["requests"])]
            return {}
        if "warm" in command:
            gc.collect()  # what loading left; it takes longer than many a turn
            return {"seconds": repeat(self.build.run, self.feeds, command["limit"], command["warm"])}
        used = sum(os.times()[:2])
        took = repeat(self.build.run, self.feeds, command["run"])
        return {"seconds": took, "cpu": sum(os.times()[:2]) - used, "memory": memory()}


def main() -> None:
    """Answers commands until its input ends. Native code prints on stdout: what it prints goes to stderr."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = _Worker()
    for line in sys.stdin:
        try:
            answer = worker.answer(json.loads(line))
        except TfleetError as error:
            answer = dict(error.result, error=str(error))
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
