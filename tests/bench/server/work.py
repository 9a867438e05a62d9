"""Rows of the table that compare the work on requests: CPU, latency and rate, beside the model in-process and the echo server."""

import os
import statistics

from tests.bench import harness
from tests.bench.server.processes import Server, load

WORKERS = 4 * (os.cpu_count() or 1)  # gRPC threads of the server by default
BATCHING = """max_batch_size { value: 32 }
batch_timeout_micros { value: 100000 }
num_batch_threads { value: 1 }
max_enqueued_batches { value: 64 }
"""


def compared(measure, unit, values, baseline, limit, more_is_better=False):
    """A row whose target is so many times the baseline's median."""
    line = harness.row(measure, unit, values, baseline, more_is_better=more_is_better)
    line["target"] = float("%.4g" % (limit * line["baseline"]))
    line["ok"] = line["value"] >= line["target"] if more_is_better else line["value"] <= line["target"]
    line["limit"] = "%s%g x baseline" % (">= " if more_is_better else "<= ", limit)
    return line


def pick(results, name, key):
    return [key(result) for result in results[name]]


def cpu_ms(result):
    return result["cpu"] * 1e3


def p50_ms(result):
    return statistics.median(result["took"]) * 1e3


def rate(result):
    return result["rate"]


def cnn_rows(bench, server, worker, threads):
    """A picture through a small CNN, one client."""
    path = bench.model("cnn")
    bench.payloads.check(server, worker, "cnn", path)
    runs = {
        "model": lambda: worker(model=path, input=bench.payloads.array("cnn"), seconds=bench.seconds),
        "server": lambda: load(server, bench.payloads.message("cnn"), bench.seconds),
    }
    results = harness.interleaved(bench.rounds, runs)
    name = "small CNN, %s" % threads
    return [
        compared(name + ", CPU a request", "ms", pick(results, "server", cpu_ms), pick(results, "model", cpu_ms), 1.10),
        compared(name + ", p50", "ms", pick(results, "server", p50_ms), pick(results, "model", p50_ms), 1.15),
    ]


def trivial_rows(bench, server, echo):
    """half_plus_two against the echo server, 8 clients."""
    message = bench.payloads.message("half_plus_two")
    echo.answer_with(bench.payloads.answer(server, "half_plus_two").SerializeToString())
    runs = {
        "echo": lambda: load(echo, message, bench.seconds, clients=8),
        "server": lambda: load(server, message, bench.seconds, clients=8),
    }
    results = harness.interleaved(bench.rounds, runs)
    return [
        compared("half_plus_two, 8 clients", "requests/s", pick(results, "server", rate), pick(results, "echo", rate), 0.60, True),
        harness.row("half_plus_two, 8 clients, CPU", "ms", pick(results, "server", cpu_ms), pick(results, "echo", cpu_ms)),
    ]


def payload_rows(bench, server, echo, worker):
    """A request of 17 MB: the server's CPU beyond the model, against a copy in memory and the echo server."""
    path, message, array = bench.model("first_pixel"), bench.payloads.message("first_pixel"), bench.payloads.array("first_pixel")
    bench.payloads.check(server, worker, "first_pixel", path)
    echo.answer_with(bench.payloads.answer(server, "first_pixel").SerializeToString())
    runs = {
        "model": lambda: worker(model=path, input=array, seconds=bench.seconds / 3),
        "copy": lambda: worker(copy=array, seconds=bench.seconds / 3),
        "echo": lambda: load(echo, message, bench.seconds),
        "server": lambda: load(server, message, bench.seconds),
    }
    results = harness.interleaved(bench.rounds, runs)
    model, copy, floor, ours = (pick(results, name, cpu_ms) for name in ("model", "copy", "echo", "server"))
    beyond = [one - other for one, other in zip(ours, model)]
    return [
        compared("16x300x300x3, server beyond the model", "ms", beyond, [one + other for one, other in zip(copy, floor)], 2.0),
        harness.row("16x300x300x3, one copy and the echo server", "ms", copy, floor),
    ]


def json_rows(bench, server, worker):
    """The same images over REST, against json.loads + numpy.array + json.dumps: to a small answer, and to images again."""
    rows = []
    document = bench.payloads.document("first_pixel")
    pixels = bench.payloads.check(server, worker, "first_pixel", bench.model("first_pixel"))
    answers = {"first_pixel": ("a pixel", pixels), "brighter": ("images", bench.payloads.array("first_pixel"))}
    for model, (what, output) in answers.items():
        runs = {
            "by hand": lambda output=output: worker(json=document, output=output, seconds=0),
            "server": lambda model=model: load(server, document, 0.01, path="/v1/models/%s:predict" % model),
        }
        results = harness.interleaved(max(bench.rounds // 2, 1), runs)
        name = "REST 16x300x300x3 to %s" % what
        rows.append(compared(name, "ms", pick(results, "server", p50_ms), pick(results, "by hand", p50_ms), 1 / 3.0))
    return rows


def batching_rows(bench, worker):
    """32 clients and a model that gains from batching: what of the gain in-process arrives."""
    path = bench.model("recurrent")
    file = os.path.join(bench.directory, "batching.config")
    with open(file, "w", encoding="ascii") as stream:
        stream.write(BATCHING)
    one, many = bench.payloads.array("recurrent"), bench.payloads.array("recurrent_32")
    models = {"recurrent": os.path.dirname(path)}
    plain = Server(os.path.join(bench.directory, "plain"), models, "--grpc_max_threads=40")
    batched = Server(
        os.path.join(bench.directory, "batched"),
        models,
        "--grpc_max_threads=40",
        "--enable_batching",
        "--batching_parameters_file=" + file,
    )
    with plain, batched:
        for server in (plain, batched):
            bench.payloads.check(server, worker, "recurrent", path)
        message = bench.payloads.message("recurrent")
        runs = {
            "one": lambda: worker(model=path, input=one, seconds=bench.seconds),
            "many": lambda: worker(model=path, input=many, seconds=bench.seconds),
            "plain": lambda: load(plain, message, bench.seconds, clients=32),
            "batched": lambda: load(batched, message, 2 * bench.seconds, clients=32),
        }
        results = harness.interleaved(bench.rounds, runs)
    single = [1e3 / took for took in pick(results, "one", p50_ms)]
    joined = [32e3 / took for took in pick(results, "many", p50_ms)]
    unbatched, ours = pick(results, "plain", rate), pick(results, "batched", rate)
    base = statistics.median(single)
    return [
        harness.row("recurrent in-process, batch of 32 against 1", "rows/s", joined, single, more_is_better=True),
        compared(
            "batching, 32 clients: gain over one row in-process", "x", [r / base for r in ours], [r / base for r in joined], 0.9, True
        ),
        compared("batching, 32 clients, against unbatched", "rows/s", ours, unbatched, 1.0, True),
    ]
