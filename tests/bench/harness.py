"""What every benchmark suite shares: interleaved runs, medians with spread, build/bench/<suite>.json and a plot.

A suite is a module `tests.bench.<name>`, run as `make bench SUITE=<name>` or `python -m tests.bench.<name>`.
Only the standard library is imported here: a child's peak memory, as Linux counts it, is never below that of the process
which started it, so the process that measures has to stay small.
"""

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), os.pardir, os.pardir))
RESULTS = os.path.join(ROOT, "build", "bench")


def run_process(command, env=None):
    """Runs a command to its end. Returns (wall seconds, peak resident MB, CPU seconds, stdout); raises RuntimeError if it fails."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    out, err = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.stdout.close()
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError("%s ended with %s: %s" % (" ".join(command), process.returncode, (err or out).decode()[-2000:]))
    return seconds, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime, out.decode()


def interleaved(rounds, runs):
    """Calls each of {name: function} once per round, after one round that does not count. Returns {name: [results]}."""
    results = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            result = run()
            if number:
                results[name].append(result)
    return results


def warn_if_busy():
    """Says so on stderr if other processes will share the cores: wall times then tell little, CPU seconds more."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > 0.25 * cores:
        sys.stderr.write("The machine is busy (load %.1f on %d cores): wall times will be too long.\n" % (load, cores))


def row(measure, unit, values, baseline=None, target=None, more_is_better=False):
    """A line of the result: medians; ratio says how many times better than the baseline; spread is [min, max]."""
    value = statistics.median(values)
    reference = statistics.median(baseline) if baseline else None
    ratio = None
    if reference:
        ratio = value / reference if more_is_better else reference / value
    ok = None
    if target is not None:
        ok = value >= target if more_is_better else value <= target
    return {
        "measure": measure,
        "value": _rounded(value),
        "spread": [_rounded(min(values)), _rounded(max(values))],
        "unit": unit,
        "baseline": _rounded(reference),
        "baseline_spread": [_rounded(min(baseline)), _rounded(max(baseline))] if baseline else None,
        "ratio": _rounded(ratio),
        "target": target,
        "ok": ok,
    }


def report(suite, rows, names, note=None):
    """Writes build/bench/<suite>.json and .png and prints a table.

    `names` is (ours, baseline), `note` what must be known of the runs. Returns the exit code.
    """
    os.makedirs(RESULTS, exist_ok=True)
    path = os.path.join(RESULTS, suite)
    with open(path + ".json", "w", encoding="utf-8") as stream:
        json.dump({"machine": machine(), **({"note": note} if note else {}), "rows": rows}, stream, indent=2)
        stream.write("\n")
    _plot(path + ".png", rows, names)
    print("%-46s %12s %12s %8s %8s" % ("measure", names[0], names[1], "ratio", "target"))
    for line in rows:
        shown = [line["value"], line["baseline"], line["ratio"], line["target"]]
        verdict = {True: "ok", False: "MISSED", None: ""}[line["ok"]]
        texts = tuple("-" if value is None else "%.4g" % value for value in shown)
        print("%-46s %12s %12s %8s %8s %s" % (("%s [%s]" % (line["measure"], line["unit"]),) + texts + (verdict,)))
    print("%s.json, %s.png" % (path, path))
    return 1 if any(line["ok"] is False for line in rows) else 0


def machine():
    """What the numbers were measured on, in a line."""
    with open("/proc/cpuinfo", encoding="utf-8") as stream:
        models = [line.partition(":")[2].strip() for line in stream if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = {found.metadata["Name"]: found.version for found in importlib.metadata.distributions()}
    versions = ["%s %s" % (name, packages[name]) for name in ("tensorflow", "tensorflow-cpu", "grpcio", "protobuf", "numpy") if name in packages]
    hardware = "%d x %s, %.0f GiB" % (os.cpu_count() or 1, models[0] if models else platform.machine(), memory)
    return ", ".join([hardware, "Linux " + platform.release(), "Python " + platform.python_version()] + versions)


def _rounded(value):
    return None if value is None else float("%.4g" % value)


def _plot(path, rows, names):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    units = sorted({line["unit"] for line in rows})
    heights = [sum(line["unit"] == unit for line in rows) for unit in units]
    figure, panels = pyplot.subplots(
        len(units), 1, figsize=(9, 1.2 * len(units) + 0.55 * len(rows)), gridspec_kw={"height_ratios": heights}, squeeze=False
    )
    for unit, panel in zip(units, panels[:, 0]):
        lines = [line for line in rows if line["unit"] == unit][::-1]
        for place, line in enumerate(lines):
            for shift, key, colour in ((0.2, "", "#2a6fdb"), (-0.2, "baseline_", "#b8bec8")):
                value = line["baseline"] if key else line["value"]
                if value is None:
                    continue
                low, high = line[key + "spread"]
                panel.barh(place + shift, value, 0.36, color=colour, xerr=[[value - low], [high - value]], ecolor="#444444", capsize=2)
                text = panel.annotate(" %g" % float("%.3g" % value), (high, place + shift), va="center", fontsize=8)
                text.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5})  # the target's line may be there
            if line["target"] is not None:
                panel.plot([line["target"]] * 2, [place - 0.45, place + 0.45], color="#d33c3c", linewidth=1.5)
        panel.set_yticks(range(len(lines)))
        panel.set_yticklabels([line["measure"] for line in lines], fontsize=9)
        panel.set_xlabel(unit)
        panel.set_xscale("log")
        values = [line[key] for line in lines for key in ("value", "baseline") if line[key]]
        panel.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0,) if max(values) > 1000 * min(values) else (1.0, 2.0, 5.0)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter(ticker.NullFormatter())
        panel.margins(x=0.2, y=0.02)
        panel.spines[["top", "right"]].set_visible(False)
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colour) for colour in ("#2a6fdb", "#b8bec8", "#d33c3c")]
    figure.legend(handles, [names[0], names[1], "target"], loc="upper right", ncol=3, frameon=False, fontsize=9)
    figure.suptitle("medians of interleaved runs, with smallest and largest\n" + machine(), x=0.01, ha="left", fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
