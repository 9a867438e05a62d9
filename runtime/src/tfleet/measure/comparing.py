"""Rows of a benchmark against each other: paired rounds to ratios, ratios to verdicts."""

import math
from typing import Any, Dict, List, NamedTuple, Sequence

from tfleet.measure import statistics

Compared = NamedTuple("Compared", [("rows", List[Dict[str, Any]]), ("logs", Dict[str, List[float]])])


def compare(rows: Sequence[Dict[str, Any]], seconds: Sequence[Sequence[float]], margin: float) -> Compared:
    """Each row but the first with the first, from the seconds of a request in each round."""
    found = []
    logs = {}
    baseline = rows[0]
    for row, mine in zip(rows[1:], seconds[1:]):
        setting = {name: row[name] for name in ("batch_size", "concurrency", "rate")}
        failed = [one for one in (row, baseline) if one["errors"] or not all(mine) or not all(seconds[0])]
        if failed:
            found.append(dict(setting, name=row["name"], baseline=baseline["name"], ratio=None, low=None, high=None,
                              verdict=statistics.UNDECIDED, reason=_failed(failed[0])))  # fmt: skip
            continue
        told = statistics.verdict(statistics.ratio(seconds[0], mine), margin, row["name"], baseline["name"])
        found.append(dict(setting, name=row["name"], baseline=baseline["name"], **told))
        logs[row["name"]] = [math.log(slow / fast) for slow, fast in zip(seconds[0], mine)]
    return Compared(found, logs)


def summary(baseline: str, logs: Dict[str, List[List[float]]], settings: int, margin: float) -> List[Dict[str, Any]]:
    """One line for each build over all `settings`: the mean of their ratios, round by round. Nothing, if one of them could not be compared."""
    lines = []
    for name, compared in logs.items():
        if len(compared) < settings:
            lines.append({"name": name, "baseline": baseline, "ratio": None, "low": None, "high": None, "verdict": statistics.UNDECIDED,
                          "reason": "%s could not be compared with %s: see the rows." % (name, baseline)})  # fmt: skip
            continue
        rounds = [sum(values) / len(values) for values in zip(*compared)]
        lines.append(dict(statistics.verdict(statistics.interval(rounds), margin, name, baseline), name=name, baseline=baseline))
    return lines


def _failed(row: Dict[str, Any]) -> str:
    failed = sum(row["errors"].values())
    if not failed:
        return "%s answered nothing in some rounds: nothing is concluded. Measure with a longer window." % row["name"]
    codes = ", ".join("%s %d times" % item for item in sorted(row["errors"].items()))
    return "%d of %d requests to %s failed (%s): nothing is concluded." % (failed, row["requests"] + failed, row["name"], codes)
