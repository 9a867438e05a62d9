"""What TensorFlow's segmenter logs about each operation, read back. No TensorFlow here.

From TensorFlow 1.15 to 2.17 it says at this log level of every node whether it could go into TensorRT, and if not, why.
"""

import re
from typing import Any, Dict, Iterable, List, NamedTuple

# Set for the process that converts; the level of everything else stays as it was.
ENVIRONMENT = {"TF_CPP_VMODULE": "segment=2", "TF_CPP_MIN_LOG_LEVEL": "0"}

Verdict = NamedTuple("Verdict", [("op", str), ("reason", str)])  # reason: empty for a candidate

_VERDICT = re.compile(r"(Not a TF-TRT candidate|Accepted as a TF-TRT candidate),? \(Op type: ([^)]*)\), \(Op name: ([^)]*?)\)?(?:, \(Reason: (.*?)\)?)?$")
# The segmenter's own source and sink.
_ENDS = ("_SOURCE", "_SINK")


def parse(lines: Iterable[str]) -> Dict[str, Verdict]:
    """{node: Verdict}; the last word on a node counts."""
    verdicts: Dict[str, Verdict] = {}
    for line in lines:
        found = _VERDICT.search(line)
        if found and found.group(3) not in _ENDS:
            accepted = found.group(1).startswith("Accepted")
            verdicts[found.group(3)] = Verdict(found.group(2), "" if accepted else (found.group(4) or "no reason given"))
    return verdicts


def reasons(verdicts: Dict[str, Verdict]) -> List[Dict[str, Any]]:
    """[{"reason", "op", "count", "nodes": the first few}] of what cannot go into TensorRT, the most frequent first."""
    grouped: Dict[Any, List[str]] = {}
    for name, verdict in verdicts.items():
        if verdict.reason:
            grouped.setdefault((verdict.op, verdict.reason), []).append(name)
    ordered = sorted(grouped.items(), key=lambda item: (-len(item[1]), item[0]))
    return [{"op": op, "reason": reason, "count": len(names), "nodes": sorted(names)[:5]} for (op, reason), names in ordered]
