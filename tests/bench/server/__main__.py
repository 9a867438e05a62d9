"""What the model server costs: `make bench SUITE=server`, or `python -m tests.bench.server [--quick] [--only NAME …]`.

About fifteen minutes of both cores (--quick: three). Compares the server with the same model in-process, with a gRPC
server that does nothing, and with what a REST handler would do by hand, each in turn. Writes build/bench/server.json and
server.png; exits with 1 if a target is missed. docs/performance.md says what bounds each number.
"""

import argparse
import os
import subprocess
import sys
import tempfile

from tests.bench import harness
from tests.bench.server import life, work
from tests.bench.server.payloads import Payloads
from tests.bench.server.processes import Echo, Server, Worker

SERVED = ("cnn", "half_plus_two", "first_pixel", "brighter")


class Bench:
    """What the parts share: the models, the requests, and how long to measure."""

    def __init__(self, directory, rounds, seconds):
        self.directory = directory
        self.rounds = rounds
        self.seconds = seconds
        subprocess.check_call(
            [sys.executable, "-m", "tests.bench.server.models", os.path.join(directory, "models")],
            cwd=harness.ROOT,
            env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL="2"),
            stdout=sys.stderr,
        )
        self.payloads = Payloads(os.path.join(directory, "payloads"))

    def model(self, name):
        return os.path.join(self.directory, "models", name, "1")

    def server(self, name, *flags):
        models = {model: os.path.dirname(self.model(model)) for model in SERVED}
        return Server(os.path.join(self.directory, name), models, *flags)


def requests(bench):
    """Work on requests, with TensorFlow's own choice of threads."""
    with bench.server("server") as server, Worker(0) as worker, Echo(work.WORKERS) as echo:
        yield from work.cnn_rows(bench, server, worker, "%d threads" % (os.cpu_count() or 1))
        yield from work.trivial_rows(bench, server, echo)
        yield from work.payload_rows(bench, server, echo, worker)


def one_thread(bench):
    """The CNN again with one TensorFlow thread."""
    with bench.server("one_thread", "--tensorflow_session_parallelism=1") as server, Worker(1) as worker:
        yield from work.cnn_rows(bench, server, worker, "1 thread")


def rest(bench):
    """REST, in processes that hold nothing else."""
    with bench.server("rest") as server, Worker(0) as worker:
        yield from work.json_rows(bench, server, worker)


def batching(bench):
    """Batching, with two servers of its own."""
    with Worker(0) as worker:
        yield from work.batching_rows(bench, worker)


def loading(bench):
    """Other models while one loads: its weights as variables, and as constants of the graph."""
    for form in ("variables", "constants"):
        yield from life.loading_rows(bench, form)


PARTS = {part.__name__: part for part in (requests, one_thread, rest, batching, loading)}
PARTS["memory"] = life.memory_rows


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench.server", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two short rounds, for a look")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts")
    arguments = parser.parse_args()
    harness.warn_if_busy()
    rounds, seconds = (2, 1.5) if arguments.quick else (7, 4.0)
    with tempfile.TemporaryDirectory(prefix="tfleet-bench-") as directory:
        bench = Bench(directory, rounds, seconds)
        rows = []
        for name in arguments.only:
            sys.stderr.write("%s…\n" % name)
            rows.extend(PARTS[name](bench))
    return harness.report("server", rows, ("tfleet", "baseline"))


if __name__ == "__main__":
    sys.exit(main())
