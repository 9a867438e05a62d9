"""Cold start of the client: `make bench SUITE=client`, or `python -m tests.bench.client`. About two minutes of one core.

Measures `tfleet predict --help`, and a smoke call (process start to the judged answer, server warm), beside the same in a
script with tensorflow and tensorflow-serving-api, in wall seconds and peak memory; then arrays to messages and back beside
TensorFlow's own functions. Writes build/bench/client.json and client.png; exits with 1 if a target is missed.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile

from tests.bench import harness

ROUNDS = 9
SECONDS, MEGABYTES = 0.3, 75
MODEL = os.path.join(harness.ROOT, "models", "digits", "1")
SIGNATURES = {
    "serving_default": {"inputs": {"images": "images:0"}, "outputs": {"scores": "scores:0", "classes": "classes:0"}},
}


def tfleet(*arguments):
    """The command as a user starts it: the console script beside this interpreter, else the module."""
    script = os.path.join(os.path.dirname(sys.executable), "tfleet")
    return ([script] if os.path.exists(script) else [sys.executable, "-m", "tfleet"]) + list(arguments)


def cold_starts(address):
    """Rows for the four processes, started in turn."""
    golden = os.path.join(MODEL, "golden.npz")
    call = ["--address", address, "--model", "digits", "--golden", golden]
    reference = [sys.executable, os.path.join(os.path.dirname(__file__), "reference_client.py")]
    commands = {
        "help": tfleet("predict", "--help"),
        "help, reference": reference + ["--help"],
        "call": tfleet("predict", "--json", *call),
        "call, reference": reference + call,
    }
    env = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
    runs = {name: (lambda command=command: harness.run_process(command, env)) for name, command in commands.items()}
    results = harness.interleaved(ROUNDS, runs)
    if not all(json.loads(out)["ok"] for *_, out in results["call"]):
        raise RuntimeError("a smoke call was not ok")
    rows = []
    for name, measure in (("help", "tfleet predict --help"), ("call", "smoke call")):
        for place, unit, target in ((0, "s", SECONDS), (1, "MB", MEGABYTES), (2, "CPU s", None)):
            ours = [result[place] for result in results[name]]
            theirs = [result[place] for result in results[name + ", reference"]]
            rows.append(harness.row(measure, unit, ours, theirs, target))
    return rows


def tensor_speeds():
    """Rows for tensors, which should not be slower than TensorFlow's own, give or take a tenth."""
    *_, out = harness.run_process([sys.executable, "-m", "tests.bench.tensors"], dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"))
    rows = []
    for measure, speeds in json.loads(out).items():
        line = harness.row(measure, "MB/s", speeds["ours"], speeds["theirs"], more_is_better=True)
        target = 0.9 * line["baseline"]
        rows.append(dict(line, target=target, ok=line["value"] >= target))
    return rows


def main():
    harness.warn_if_busy()
    with tempfile.TemporaryDirectory(prefix="tfleet-bench-") as directory:
        model = os.path.join(directory, "digits", "1")
        os.mkdir(os.path.dirname(model))
        graph = os.path.join(MODEL, "frozen_graph.pb")
        harness.run_process(tfleet("export", graph, model, "--signatures", json.dumps(SIGNATURES), "--json"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        address = "127.0.0.1:%d" % port
        with open(os.path.join(directory, "log"), "wb") as log:
            server = subprocess.Popen(
                tfleet("serve", "--port=%d" % port, "--model_name=digits", "--model_base_path=" + os.path.dirname(model)),
                stdout=log,
                stderr=log,
            )
        try:
            harness.run_process(tfleet("status", "--address", address, "--wait", "digits=1", "--timeout", "60"))
            rows = cold_starts(address)
        finally:
            server.terminate()
            server.wait(30)
    return harness.report("client", rows + tensor_speeds(), ("tfleet", "tensorflow"))


if __name__ == "__main__":
    sys.exit(main())
