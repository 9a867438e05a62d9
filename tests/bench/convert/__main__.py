"""What a conversion holds in memory, and what comparing and measuring builds costs beside running them: `make bench SUITE=convert`.

Or `python -m tests.bench.convert [--quick] [--only NAME …]`. About six minutes of both cores. Writes build/bench/convert.json and
convert.png; exits with 1 if a target is missed.
"""

import argparse
import json
import os
import sys
import tempfile

from tests.bench import harness
from tests.bench.convert import memory

PARITY, GOLDEN, OVERHEAD = 1.2, 1.2, 1.02


def child(module, *arguments):
    """The JSON that a module of this suite prints, run in a process that holds TensorFlow in our stead."""
    *_, out = harness.run_process([sys.executable, "-m", "tests.bench.convert." + module, *arguments], dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"))
    return json.loads(out.splitlines()[-1])


def measuring(directory, rounds):
    """Parity, golden and the benchmark's own loop, each as a ratio to the bare runs of the same rounds."""
    found = child("measuring", directory, str(rounds))
    targets = {"parity": PARITY, "golden": GOLDEN, "benchmark loop": OVERHEAD}
    for measure, rows in found.items():
        target = next(value for name, value in targets.items() if measure.startswith(name))
        ratios = [ours / bare for ours, bare in zip(rows["ours"], rows["bare"])]
        yield harness.row(measure, "x of bare runs", ratios, target=target)
        yield harness.row(measure, rows["unit"], rows["ours"], rows["bare"])


PARTS = {"measuring": measuring, "memory": memory.rows}


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench.convert", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds, for a look")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts")
    arguments = parser.parse_args()
    harness.warn_if_busy()
    with tempfile.TemporaryDirectory(prefix="tfleet-bench-") as directory:
        rows = []
        for name in arguments.only:
            sys.stderr.write("%s…\n" % name)
            rows.extend(PARTS[name](directory, 2 if arguments.quick else 9))
    return harness.report("convert", rows, ("tfleet", "bare runs"))


if __name__ == "__main__":
    sys.exit(main())
