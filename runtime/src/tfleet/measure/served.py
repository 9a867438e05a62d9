"""Benchmarks served builds over gRPC: settled first, then each measured in turn, in many windows."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from tfleet.errors import TfleetError
from tfleet.measure import builds, comparing, inprocess, load, payloads, statistics
from tfleet.measure.progress import Progress
from tfleet.measure.servers import Server

Setting = NamedTuple("Setting", [("batch_size", int), ("concurrency", Optional[int]), ("rate", Optional[float])])
Served = NamedTuple("Served", [("name", str), ("source", str), ("address", builds.Address), ("server", Optional[Server])])

_MOST_WINDOWS = 10
_BEHIND = 0.005
"""Seconds: a generator that is later than this at a fixed rate measures itself."""


def measure(
    served: Sequence[Served], signature: str, settings: Sequence[Setting], source: Any, plan: inprocess.Plan, timeout: float
) -> Dict[str, Any]:
    """Measures each served build with each setting; the result is inprocess.measure()'s, with notes."""
    from tfleet.measure.builds import ServedBuild

    with ServedBuild(served[0].source, served[0].address, signature, timeout) as first:
        described, name = first.signature, first.signature_name
    results: List[Dict[str, Any]] = []
    comparisons: List[Dict[str, Any]] = []
    logs: Dict[str, List[List[float]]] = {one.name: [] for one in served[1:]}
    notes: List[str] = []
    with Progress("measuring", len(settings) * plan.rounds * len(served)) as progress:
        for setting in settings:
            requests = payloads.make(source(described, setting.batch_size), described, setting.batch_size)
            targets = []
            try:
                for one in served:
                    mine = [payloads.addressed(request, one.address, name) for request in requests]
                    targets.append(load.Target(one.name, one.address, mine, timeout, setting.concurrency or 1))
                notes += [note for note in (settle(target, setting, plan) for target in targets) if note]
                windows = rounds(targets, served, setting, plan, progress)
            finally:
                for target in targets:
                    target.close()
            rows = [row(one, setting, windows[one.name]) for one in served]
            results += rows
            notes += late(rows, windows)
            seconds = [[per_request(window, setting) for window, _ in windows[one.name]] for one in served]
            found = comparing.compare(rows, seconds, plan.margin)
            comparisons += found.rows
            for name_of, values in found.logs.items():
                logs[name_of].append(values)
    return {
        "results": results,
        "comparisons": comparisons,
        "summary": comparing.summary(served[0].name, logs, len(settings), plan.margin),
        "builds": [{"name": one.name, "source": one.source, "memory_mb": one.server.memory() if one.server else None} for one in served],
        "notes": notes,
    }


def ask(target: load.Target, setting: Setting, seconds: float) -> load.Window:
    """One window of a setting."""
    if setting.rate is not None:
        return target.rate(setting.rate, seconds)
    return target.clients(setting.concurrency or 1, seconds)


def settle(target: load.Target, setting: Setting, plan: inprocess.Plan) -> str:
    """Asks until three windows in a row agree in throughput and median to a tenth. Returns a note if they never do.

    Raises TfleetError if the server answers nothing at all.
    """
    speeds: List[float] = []
    medians: List[float] = []
    for _ in range(_MOST_WINDOWS):
        window = ask(target, setting, plan.window / 2)
        if not window.took:
            codes = ", ".join(sorted(window.errors)) or "no answer in time"
            raise TfleetError("%s answers no request: %s. Try one with tfleet predict, and look at the server's log." % (target.name, codes), **_code(window))
        speeds.append(len(window.took) / window.seconds)
        medians.append(statistics.percentile(sorted(window.took), 50))
        if statistics.settled(speeds) and statistics.settled(medians):
            return ""
    return "%s did not settle in %d windows of %g s: it answered from %.4g to %.4g requests/s, the median in %.3g to %.3g ms." % (
        target.name, _MOST_WINDOWS, plan.window / 2, min(speeds), max(speeds), 1e3 * min(medians), 1e3 * max(medians))  # fmt: skip


def rounds(targets: Sequence[load.Target], served: Sequence[Served], setting: Setting, plan: inprocess.Plan, progress: Any) -> Dict[str, List[Any]]:
    """{name: [(window, CPU seconds of the server)]}, in turns there and back again."""
    taken: Dict[str, List[Any]] = {target.name: [] for target in targets}
    pairs = list(zip(targets, served))
    for number in range(plan.rounds):
        for target, one in pairs if number % 2 == 0 else list(reversed(pairs)):
            before = one.server.cpu() if one.server else 0.0
            window = ask(target, setting, plan.window)
            taken[target.name].append((window, one.server.cpu() - before if one.server else None))
            progress.step(note=one.name)
    return taken


def per_request(window: load.Window, setting: Setting) -> float:
    """The seconds by which builds are compared: of clients that wait, by their throughput; at a fixed rate, the mean latency."""
    if not window.took:
        return 0.0
    return sum(window.took) / len(window.took) if setting.rate is not None else window.seconds / len(window.took)


def row(one: Served, setting: Setting, windows: Sequence[Any]) -> Dict[str, Any]:
    """One line of the results."""
    took = [value for window, _ in windows for value in window.took]
    whole = sum(window.seconds for window, _ in windows)
    errors: Dict[str, int] = {}
    for window, _ in windows:
        for code, number in window.errors.items():
            errors[code] = errors.get(code, 0) + number
    used = [cpu for _, cpu in windows if cpu is not None]
    return {
        "name": one.name,
        "batch_size": setting.batch_size,
        "concurrency": setting.concurrency,
        "rate": setting.rate,
        "throughput": round(setting.batch_size * len(took) / whole, 3),
        "requests_per_second": round(len(took) / whole, 3),
        "latency_ms": statistics.latency(took),
        "requests": len(took),
        "errors": errors,
        "cpu_ms": round(1e3 * sum(used) / len(took), 4) if used and took else None,
        "memory_mb": one.server.memory() if one.server else None,
    }


def late(rows: Sequence[Dict[str, Any]], windows: Dict[str, List[Any]]) -> List[str]:
    """A note for each row at a fixed rate that the generator could not keep."""
    notes = []
    for line in rows:
        behind = max(window.late for window, _ in windows[line["name"]])
        if behind > _BEHIND:
            notes.append(
                "At %g requests/s the load generator itself was up to %.1f ms behind while it asked %s: its latencies are too long. Ask from another host."
                % (line["rate"], 1e3 * behind, line["name"])
            )
    return notes


def _code(window: load.Window) -> Dict[str, Any]:
    return {"code": sorted(window.errors)[0]} if window.errors else {}
