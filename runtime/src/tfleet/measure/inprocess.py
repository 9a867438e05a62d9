"""Benchmarks builds in-process: each in a process of its own, which runs while the others wait, in many short turns."""

import base64
import json
import os
import subprocess
import sys
import tempfile
from typing import Any, Callable, Dict, List, NamedTuple, Sequence

from tfleet import wire
from tfleet.errors import TfleetError
from tfleet.measure import comparing, payloads, statistics, worker
from tfleet.measure.progress import Progress

Named = NamedTuple("Named", [("name", str), ("source", str)])
Plan = NamedTuple(
    "Plan",
    [
        ("rounds", int),
        ("window", float),  # seconds that a build is measured in each round
        ("warmup", int),  # runs before it
        ("margin", float),
    ],
)

_WARM_SECONDS = 60.0


class Worker(object):
    """The process of one build. A context manager. Methods raise TfleetError."""

    def __init__(self, named: Named, signature: str, tags: str = "serve") -> None:
        if not os.path.exists(os.path.expanduser(named.source)):
            raise TfleetError("There is no model %s. Give the folder of a SavedModel, a .tflite file, or grpc://host:port/model." % named.source, missing=True)
        self.name = named.name
        self.source = named.source
        env = dict(os.environ, TF_CPP_MIN_LOG_LEVEL=os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"))
        self.memory: Dict[str, float] = {}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tfleet.measure.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=env
        )
        self._tell(open=named.source, signature=signature, tags=tags)

    def wait(self) -> None:
        """Returns when the build is loaded. Raises TfleetError if it cannot be."""
        opened = self._answer()
        self.signature = wire.SignatureDef.FromString(base64.b64decode(opened["signature"]))
        self.base = opened["memory"].get("resident")

    def ask(self, **command: Any) -> Dict[str, Any]:
        """One command and its answer."""
        self._tell(**command)
        return self._answer()

    def _tell(self, **command: Any) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # it is a pipe
        try:
            stdin.write(json.dumps(command).encode("utf-8") + b"\n")
            stdin.flush()
        except BrokenPipeError:  # _answer() says what happened
            pass

    def _answer(self) -> Dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None  # it is a pipe
        line = stdout.readline()
        if not line:
            raise TfleetError(self._ended())
        answer: Dict[str, Any] = json.loads(line.decode("utf-8"))
        if "error" in answer:
            raise TfleetError(answer.pop("error"), **answer)
        return answer

    def run(self, seconds: float) -> Dict[str, Any]:
        """Runs the model for so many seconds."""
        answer = self.ask(run=seconds)
        now = answer["memory"]
        if now and self.base is not None:
            self.memory = {"model": round(now["resident"] - self.base, 1), "resident": now["resident"], "peak": now["peak"]}
        return answer

    def _ended(self) -> str:
        code = self._process.wait()
        self._log.seek(0)
        said = self._log.read().decode("utf-8", "replace").strip().splitlines()[-3:]
        why = "was killed, most likely because memory ran out: free some, or measure a smaller batch" if code == -9 else "ended with status %d" % code
        return "The process that ran %s (%s) %s.%s" % (self.name, self.source, why, " It said last: " + " ".join(said) if said else "")

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *unused: Any) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except OSError:
                pass
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()


def measure(
    builds: Sequence[Named], signature: str, sizes: Sequence[int], source: Callable[[Any, int], Any], plan: Plan
) -> Dict[str, Any]:
    """Measures each build with each batch size. `source(signature, rows)` makes the requests.Source.

    Returns {"results", "comparisons", "summary", "builds"}; the first build is what the others are compared with.
    """
    workers: List[Worker] = []
    results: List[Dict[str, Any]] = []
    logs: Dict[str, List[List[float]]] = {named.name: [] for named in builds[1:]}
    comparisons = []
    try:
        # They load side by side: what takes longest is TensorFlow itself.
        for named in builds:
            workers.append(Worker(named, signature))
        for one in workers:
            one.wait()
        total = len(sizes) * plan.rounds * len(workers)
        with tempfile.TemporaryDirectory(prefix="tfleet-benchmark-") as directory, Progress("measuring", total) as progress:
            for size in sizes:
                file = os.path.join(directory, "requests")
                worker.write_requests(file, payloads.make(source(workers[0].signature, size), workers[0].signature, size))
                for one in workers:
                    one.ask(requests=file)
                    one.ask(warm=max(plan.warmup, 1), limit=_WARM_SECONDS)
                taken = _rounds(workers, plan, progress)
                rows = [_result(one, size, taken[one.name]) for one in workers]
                results += rows
                found = comparing.compare(rows, [[_median(turn["seconds"]) for turn in taken[one.name]] for one in workers], plan.margin)
                comparisons += found.rows
                for name, values in found.logs.items():
                    logs[name].append(values)
    finally:
        for one in workers:
            one.close()
    return {
        "results": results,
        "comparisons": comparisons,
        "summary": comparing.summary(builds[0].name, logs, len(sizes), plan.margin),
        "builds": [{"name": one.name, "source": one.source, "memory_mb": one.memory or None} for one in workers],
    }


def _rounds(workers: Sequence[Worker], plan: Plan, progress: Progress) -> Dict[str, List[Dict[str, Any]]]:
    taken: Dict[str, List[Dict[str, Any]]] = {one.name: [] for one in workers}
    for number in range(plan.rounds):
        # There and back again: what drifts (a clock, a temperature) is as often for a build as against it.
        for one in workers if number % 2 == 0 else list(reversed(workers)):
            taken[one.name].append(one.run(plan.window))
            progress.step(note=one.name)
    return taken


def _result(one: Worker, size: int, turns: List[Dict[str, Any]]) -> Dict[str, Any]:
    seconds = [value for turn in turns for value in turn["seconds"]]
    whole = sum(seconds)
    return {
        "name": one.name,
        "batch_size": size,
        "concurrency": None,
        "rate": None,
        "throughput": round(size * len(seconds) / whole, 3),
        "requests_per_second": round(len(seconds) / whole, 3),
        "latency_ms": statistics.latency(seconds),
        "requests": len(seconds),
        "errors": {},
        "cpu_ms": round(1e3 * sum(turn["cpu"] for turn in turns) / len(seconds), 4),
        "memory_mb": dict(one.memory) or None,
    }


def _median(values: Sequence[float]) -> float:
    return statistics.percentile(sorted(values), 50)
