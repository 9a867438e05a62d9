"""Speed bars as an SVG, for a report or a file of its own: light and dark, without any library."""

import math
from typing import Any, Dict, List, Sequence
from xml.sax.saxutils import escape

_WIDTH, _LEFT, _RIGHT = 760, 210, 130
_BAR, _GAP, _HEAD, _BLANK = 20, 5, 30, 14
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1a1d21}.dim{fill:#626a73}.base{fill:#98a2ad}.bar{fill:#2a6fdb}.spread{stroke:#1a1d21;stroke-width:1.5}"
    ".title{font-weight:600}"
    "@media(prefers-color-scheme:dark){text{fill:#e8eaed}.dim{fill:#9aa4af}.base{fill:#6b7580}.bar{fill:#5b9bf5}.spread{stroke:#e8eaed}}"
)


def bars(results: Sequence[Dict[str, Any]], comparisons: Sequence[Dict[str, Any]]) -> str:
    """The throughput of each build in each setting, the ratio to the first with its spread beside it."""
    groups: List[List[Dict[str, Any]]] = []
    for row in results:
        if not groups or _setting(groups[-1][0]) != _setting(row):
            groups.append([])
        groups[-1].append(row)
    compared = {(line["name"], _setting(line)): line for line in comparisons}
    fastest = max([row["throughput"] for row in results] or [0]) or 1
    # An interval may be so wide that beside it no bar could be seen: it leaves the picture then, without an end.
    longest = min(1.6 * fastest, max([fastest] + [_upper(row, compared.get((row["name"], _setting(row)))) for row in results]))
    parts: List[str] = []
    top = 4
    for group in groups:
        parts.append('<text class="title" x="0" y="%d">%s</text>' % (top + 16, escape(setting_text(group[0]))))
        top += _HEAD
        for place, row in enumerate(group):
            parts += _bar(row, compared.get((row["name"], _setting(row))), place, top, longest)
            top += _BAR + _GAP
        top += _BLANK
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="rows per second of each build"><style>%s</style>%s</svg>'
        % (_WIDTH, top, _STYLE, "".join(parts))
    )


def setting_text(row: Dict[str, Any]) -> str:
    """`4 clients, batches of 1`"""
    batch = "one row a request" if row["batch_size"] == 1 else "%d rows a request" % row["batch_size"]
    if row["rate"] is not None:
        return "%g requests/s, %s" % (row["rate"], batch)
    if row["concurrency"] is not None:
        return "%d client%s, %s" % (row["concurrency"], "" if row["concurrency"] == 1 else "s", batch)
    return "in-process, %s" % batch


def _bar(row: Dict[str, Any], line: Any, place: int, top: int, longest: float) -> List[str]:
    width = (_WIDTH - _LEFT - _RIGHT) * row["throughput"] / longest
    middle = top + _BAR * 0.72
    parts = [
        '<text x="%d" y="%.1f" text-anchor="end">%s</text>' % (_LEFT - 10, middle, escape(_short(row["name"]))),
        '<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>' % ("bar" if place else "base", _LEFT, top, max(width, 1), _BAR),
    ]
    note = "%.4g/s" % row["throughput"]
    if line and line["ratio"] is not None:
        note += "  ×%.2f" % line["ratio"]
        scale, at = float(_WIDTH - _LEFT - _RIGHT), top + _BAR / 2.0
        low = _LEFT + min((line["low"] or 0) / line["ratio"] * width, width)
        upper = _upper(row, line)
        high = _LEFT + scale * min(upper / longest, 1)
        ends = [low, high] if upper <= longest else [low]
        parts.append('<path class="spread" d="M%.1f %.1fH%.1f%s" fill="none"/>' % (low, at, high, "".join("M%.1f %.1fv8" % (end, at - 4) for end in ends)))
        width = max(width, high - _LEFT)
    parts.append('<text class="dim" x="%.1f" y="%.1f">%s</text>' % (_LEFT + width + 8, middle, escape(note)))
    return parts


def _upper(row: Dict[str, Any], line: Any) -> float:
    """Rows per second at the upper end of a comparison's interval, which may have none; without a comparison, what was measured."""
    if not line or line["ratio"] is None:
        return float(row["throughput"])
    return math.inf if line["high"] is None else float(row["throughput"] * max(1.0, line["high"] / line["ratio"]))


def _setting(row: Dict[str, Any]) -> Any:
    return row["batch_size"], row["concurrency"], row["rate"]


def _short(name: str) -> str:
    return name if len(name) <= 28 else name[:13] + "…" + name[-14:]
