"""A benchmark's result for people: a table, a CSV file, a picture."""

import csv
import io
import os
from typing import Any, Dict, List, Optional

from tfleet import files
from tfleet.measure import chart

_PERCENTILES = ("p50", "p90", "p99", "p99.9")
_COLUMNS = ("name", "batch_size", "concurrency", "rate", "throughput", "requests_per_second", "requests", "errors", "cpu_ms")
_LATENCIES = ("mean", "p50", "p90", "p95", "p99", "p99.9", "max")


def table(result: Dict[str, Any]) -> str:
    """The results by setting, the comparisons below them, and the notes."""
    lines: List[str] = []
    names = max([len(row["name"]) for row in result["results"]] + [8])
    setting = ""
    for row in result["results"]:
        if chart.setting_text(row) != setting:
            setting = chart.setting_text(row)
            lines += ["", setting, "  %s %12s %10s %10s %10s %10s %9s %9s" % (("build".ljust(names), "rows/s") + _heads() + ("requests", "memory"))]
        latency = ["%.3f" % row["latency_ms"][name] if row["latency_ms"] else "-" for name in _PERCENTILES]
        memory = "%.0f MB" % row["memory_mb"].get("model", row["memory_mb"]["resident"]) if row["memory_mb"] else "-"
        lines.append("  %s %12.5g %10s %10s %10s %10s %9d %9s" % tuple([row["name"].ljust(names), row["throughput"]] + latency + [row["requests"], memory]))
        if row["errors"]:
            lines.append("    errors: %s" % ", ".join("%s %d" % item for item in sorted(row["errors"].items())))
    for line in result["comparisons"]:
        lines.append("%s%s: %s" % ("" if line is not result["comparisons"][0] else "\n", chart.setting_text(line), line["reason"]))
    if result["summary"]:
        lines += ["", *("%s: %s" % (line["verdict"], line["reason"]) for line in result["summary"])]
    if result.get("batching"):
        lines += _batching(result["batching"])
    machine = result["conditions"]
    known = [("power mode", machine["power_mode"]), ("hottest", machine["hottest_celsius"]), ("load before", machine["load"])]
    lines += ["", "  ".join("%s %s" % item for item in known if item[1] is not None)]
    lines += ["note: " + note for note in machine["notes"]]
    return "\n".join(lines).strip("\n")


def write(result: Dict[str, Any], table_path: Optional[str], plot_path: Optional[str]) -> None:
    """Writes the files that are wanted. Raises TfleetError."""
    if table_path:
        files.atomic_write(_path(table_path), as_csv(result))
    if plot_path:
        files.atomic_write(_path(plot_path), result["chart"] + "\n")


def as_csv(result: Dict[str, Any]) -> str:
    """One line for each build and setting; the ratio to the first build stands in the same line."""
    compared = {(line["name"], line["batch_size"], line["concurrency"], line["rate"]): line for line in result["comparisons"]}
    stream = io.StringIO()
    out = csv.writer(stream, lineterminator="\n")
    out.writerow(_COLUMNS + tuple("latency_%s_ms" % name for name in _LATENCIES) + ("resident_mb", "ratio", "low", "high", "verdict"))
    for row in result["results"]:
        line = compared.get((row["name"], row["batch_size"], row["concurrency"], row["rate"]), {})
        values = [sum(row["errors"].values()) if name == "errors" else row.get(name) for name in _COLUMNS]
        values += [row["latency_ms"].get(name) for name in _LATENCIES]
        values += [(row["memory_mb"] or {}).get("resident"), line.get("ratio"), line.get("low"), line.get("high"), line.get("verdict")]
        out.writerow(["" if value is None else value for value in values])
    return stream.getvalue()


def _heads() -> Any:
    return tuple(name + " ms" for name in _PERCENTILES)


def _batching(found: Dict[str, Any]) -> List[str]:
    lines = ["", "%d parameters were tried for p%g within %g ms." % (len(found["tried"]) - 1, found["percentile"], found["latency_target_ms"]), found["reason"]]
    return lines + ["", found["file"]] if found["file"] else lines


def _path(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))
