"""Rows of the table about loading: the latency of other models meanwhile, and the memory that stays after unloading."""

import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import time

from tests.bench import harness
from tests.bench.server.processes import Server, config
from tests.bench.server.work import compared
from tfleet import wire

CYCLES = 50
GROWTH = 10.0  # MB: a tenth of the model
_CLIENTS, _PAUSE = 2, 0.003


def loading_rows(bench, form):
    """p99 of half_plus_two while versions of 200 MB are loaded, against the time between."""
    name = "heavy_" + form
    base = os.path.join(bench.directory, "swapped_" + form)
    _release(bench.model(name), base, 1)
    models = {"half_plus_two": os.path.dirname(bench.model("half_plus_two")), "heavy": base}
    versions = range(2, 3 + max(bench.rounds, 2))
    with Server(os.path.join(bench.directory, "loading_" + form), models) as server:
        seconds = 5 * len(versions)
        command = {"address": server.address, "request": bench.payloads.message("half_plus_two"), "seconds": seconds}
        command.update(clients=_CLIENTS, pause=_PAUSE)
        generator = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.server.load", json.dumps(command)], cwd=harness.ROOT, stdout=subprocess.PIPE
        )
        try:
            time.sleep(1.5)
            for version in versions:
                _release(bench.model(name), base, version)
                server.wait("Done unloading servable version {name: heavy version: %d}" % (version - 1))
                time.sleep(1.5)
            out = generator.stdout.read()
        finally:
            generator.stdout.close()
            generator.wait(seconds + 60)
        result = json.loads(out)
        busy, quiet = _windows(server.lines(), result["sent"])
    requests = sorted(zip(result["sent"], result["took"]))
    during, between = (
        [_p99([took for sent, took in requests if begin - took < sent < end]) for begin, end in windows] for windows in (busy, quiet)
    )
    return [compared("p99 of half_plus_two while 200 MB of %s load" % form, "ms", during, between, 2.0)]


def _release(source, base, version):
    """Puts a version there at once, without copying its files."""
    os.makedirs(base, exist_ok=True)
    staging = os.path.join(base, "staging")
    shutil.copytree(source, staging, copy_function=os.link)
    os.rename(staging, os.path.join(base, str(version)))


def _windows(lines, sent):
    """When the log says that versions of heavy were loading, and the second before each of them. Not the first, loaded at start."""
    moments = {}
    for line in lines:
        match = re.match(r"(\S+ \S+): .*\] (Loading|Successfully loaded) servable version {name: heavy version: (\d+)}", line)
        if match:
            stamp = datetime.datetime.strptime(match.group(1), "%Y-%m-%d %H:%M:%S.%f").timestamp()
            moments.setdefault(int(match.group(3)), []).append(stamp)
    busy = [tuple(moments[version]) for version in sorted(moments)[1:] if moments[version][1] < max(sent)]
    return busy, [(begin - 1.0, begin) for begin, _ in busy]


def _p99(took):
    took = sorted(took)
    return took[int(len(took) * 0.99)] * 1e3


def memory_rows(bench):
    """Resident memory over cycles of loading and unloading a model of 100 MB, measured when it is unloaded."""
    base = os.path.join(bench.directory, "cycled")
    aside = os.path.join(base, "aside")
    os.mkdir(base)
    shutil.copytree(bench.model("heavy_100"), aside, copy_function=os.link)
    small = {"half_plus_two": os.path.dirname(bench.model("half_plus_two"))}
    reload = wire.ReloadConfigRequest(config=config(dict(small, heavy=base)))  # lets the server look at the directories at once
    cycles = CYCLES if bench.rounds > 2 else 5
    unloaded, loaded = [], []
    with Server(os.path.join(bench.directory, "memory"), small, "--tfleet_reload_polls_at_once") as server:
        empty = server.resident()
        for cycle in range(1, cycles + 1):
            place = os.path.join(base, str(cycle))
            for source, target, done, sizes in ((aside, place, "Successfully loaded", loaded), (place, aside, "Done unloading", unloaded)):
                os.rename(source, target)
                server.ask(wire.RELOAD_CONFIG, reload)
                server.wait("%s servable version {name: heavy version: %d}" % (done, cycle))
                sizes.append(server.resident())
    line = harness.row("memory growth, %d loads of 100 MB" % (cycles - 1), "MB", [max(unloaded[-1] - unloaded[0], 0.01)], target=GROWTH)
    line["resident"] = {"empty": round(empty), "loaded": round(loaded[0]), "after each": [round(value) for value in unloaded]}
    return [line]
