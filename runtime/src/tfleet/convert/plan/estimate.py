"""``tfleet plan``: the segmenter's answer as segments, shares, reasons and advice. No TensorFlow here."""

import os
import tempfile
from typing import Any, Dict, List, Optional

from tfleet.convert import source as sources
from tfleet.convert.plan import advice, report, stand_in
from tfleet.convert.variants import job as jobs
from tfleet.convert.variants import tensorrt
from tfleet.convert.variants.request import Request
from tfleet.errors import TfleetError

# Nodes that compute nothing: they would make every share look better or worse than it is.
_IDLE = frozenset(("Const", "Placeholder", "PlaceholderWithDefault", "Identity", "IdentityN", "NoOp", "_Arg", "_Retval", "StopGradient"))


def plan(request: Request, source: str, time_limit: float = 600, watch: Optional[jobs.Watcher] = None) -> Dict[str, Any]:
    """What TF-TRT would take of the SavedModel folder `source`; the answer of `tfleet plan`.

    Raises TfleetError: no TF-TRT in this TensorFlow, no compiler, no such model or signature.
    """
    found = sources.identify(source, None)
    path = found.path or ""
    if not os.path.isdir(path) or not sources.is_saved_model(path):
        raise TfleetError("`%s` is not a SavedModel folder, which a plan is made for: make one with `tfleet export` first." % found.shown)
    known = tensorrt.probe()
    tensorrt.check_version(known)
    linked = known["tensorrt"]["linked"]
    libraries = os.pathsep.join([stand_in.folder(linked)] + [part for part in [os.environ.get("LD_LIBRARY_PATH")] if part])
    environment = dict(report.ENVIRONMENT, LD_LIBRARY_PATH=libraries, CUDA_VISIBLE_DEVICES="-1")
    with tempfile.TemporaryDirectory(prefix="tfleet-plan-") as folder:
        environment["TMPDIR"] = folder
        job = jobs.Job("tfleet.convert.plan.worker", {"request": request._asdict(), "source": os.path.abspath(path)}, os.path.join(folder, "log"), environment)
        result = job.run(time_limit, watch)
        verdicts = report.parse(job.log_lines())
    return dict(_answer(request, result, verdicts), source_sha256=found.sha256, tensorrt=linked)


def _answer(request: Request, result: Dict[str, Any], verdicts: Dict[str, report.Verdict]) -> Dict[str, Any]:
    nodes = {name: op for name, op in result["nodes"].items() if op not in _IDLE}
    taken = {name: segment for name, segment in result["taken"].items() if name in nodes}
    flops = {name: number or 0 for name, number in result["flops"].items()}
    uncounted = sum(1 for name, number in result["flops"].items() if number is None and name in nodes)
    total = sum(flops.values())
    segments = []
    for segment in result["segments"]:
        inside = {name: op for name, op in segment["nodes"].items() if op not in _IDLE}
        computes = sum(flops.get(name, 0) for name in inside)
        segments.append({"name": segment["name"], "nodes": len(inside), "operations": _counted(inside.values()), "flops": computes})
    small = _too_small(nodes, taken, verdicts)
    answer = {
        "ok": True,
        "estimate": "An estimate by the segmenter of TensorFlow %s: no TensorRT was asked and no engine was built." % result["tensorflow"],
        "tensorflow": result["tensorflow"],
        "precision": request.precision,
        "dynamic_shape": request.dynamic_shape,
        "minimum_segment_size": request.minimum_segment_size,
        "segments": sorted(segments, key=lambda segment: (-segment["flops"], -segment["nodes"], segment["name"])),
        "nodes": {"total": len(nodes), "taken": len(taken), "share": _share(len(taken), len(nodes))},
        "flops": {
            "total": total,
            "taken": sum(segment["flops"] for segment in segments),
            "share": _share(sum(segment["flops"] for segment in segments), total) if result["flops"] else None,
            "uncounted_nodes": uncounted,
        },
        "left": report.reasons({name: verdict for name, verdict in verdicts.items() if name in nodes and name not in taken}),
        "too_small": {
            "count": len(small),
            "operations": _counted(nodes[name] for name in small),
            "flops": sum(flops.get(name, 0) for name in small),
            "nodes": sorted(small)[:5],
        },
        "notes": result["notes"],
    }
    if result["functions"]:
        note = "%d loops, branches or calls are one operation each here: what is inside of them was not looked at."
        answer["notes"] = answer["notes"] + [note % result["functions"]]
    answer["advice"] = advice.of(answer)
    return answer


def _too_small(nodes: Dict[str, str], taken: Dict[str, str], verdicts: Dict[str, report.Verdict]) -> List[str]:
    """Nodes that TensorRT could take, left because their segment would be smaller than the minimum."""
    return [name for name in nodes if name not in taken and name in verdicts and not verdicts[name].reason]


def _counted(operations: Any) -> Dict[str, int]:
    counted: Dict[str, int] = {}
    for operation in operations:
        counted[operation] = counted.get(operation, 0) + 1
    return counted


def _share(part: float, whole: float) -> Optional[float]:
    return round(float(part) / whole, 4) if whole else None


def render(answer: Dict[str, Any]) -> str:
    """The answer as a table for people."""
    shares = "%d of %d operations (%s)" % (answer["nodes"]["taken"], answer["nodes"]["total"], _percent(answer["nodes"]["share"]))
    if answer["flops"]["share"] is not None:
        shares += ", %s of %s" % (_percent(answer["flops"]["share"]), _flops(answer["flops"]["total"]))
    rows: List[Any] = [("segment", "operations", "computes", "most of it")]
    for segment in answer["segments"]:
        most = sorted(segment["operations"].items(), key=lambda item: (-item[1], item[0]))[:4]
        rows.append((segment["name"], str(segment["nodes"]), _flops(segment["flops"]), ", ".join("%d %s" % (count, op) for op, count in most)))
    lines = ["TF-TRT for TensorRT %s, %s: takes %s" % (answer["tensorrt"], answer["precision"], shares), "(%s)" % answer["estimate"], ""]
    lines += _table(rows) if answer["segments"] else ["no segments: TF-TRT would take nothing"]
    if answer["left"] or answer["too_small"]["count"]:
        rows = [("stays", "operation", "why")]
        rows += [(str(entry["count"]), entry["op"], entry["reason"]) for entry in answer["left"]]
        if answer["too_small"]["count"]:
            operations = ", ".join("%d %s" % (count, op) for op, count in sorted(answer["too_small"]["operations"].items()))
            why = "in segments of fewer than %d operations: %s" % (answer["minimum_segment_size"], operations)
            rows.append((str(answer["too_small"]["count"]), "(several)", why))
        lines += [""] + _table(rows)
    for title, texts in (("advice", [entry["text"] for entry in answer["advice"]]), ("note", answer["notes"])):
        lines += ["", *("%s: %s" % (title, text) for text in texts)] if texts else []
    return "\n".join(lines)


def _table(rows: List[Any]) -> List[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return ["  ".join([cell.ljust(width) for cell, width in zip(row, widths)] + [row[-1]]) for row in rows]


def _percent(share: Optional[float]) -> str:
    return "-" if share is None else "%.1f %%" % (100 * share)


def _flops(number: float) -> str:
    for unit, size in (("GFLOP", 1e9), ("MFLOP", 1e6), ("kFLOP", 1e3)):
        if number >= size:
            return "%.1f %s" % (number / size, unit)
    return "%d FLOP" % number
