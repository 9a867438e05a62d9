"""A few answered examples beside what was expected of them, small enough to keep in the record of a rollout and whole enough to be drawn."""

import json
from typing import Any, Dict, Iterable, List, Tuple

import numpy as np

from tfleet.client import results

MOST = 3
MOST_BYTES = 8192
_BEST, _LONGEST, _FEW = 8, 2000, 64
_BOXES = 12
_DETECTOR = ("detection_boxes", "detection_classes", "detection_scores")


def shortened(examples: Iterable[Tuple[str, Dict[str, np.ndarray], Dict[str, np.ndarray]]]) -> List[Dict[str, Any]]:
    """[{"input": name, "output": {alias: list}, "expected": {alias: list}}] of the first examples, as many as MOST_BYTES hold.

    Of a batch the first row. Of a detector the best objects; of many scores the best of either side, all others are 0; of anything large a few values.

    examples: (name, outputs, expected outputs).
    """
    found: List[Dict[str, Any]] = []
    for name, outputs, expected in examples:
        found.append(_sample(name, outputs, expected))
        if len(json.dumps(found)) > MOST_BYTES:
            # One that is too large alone says nothing in parts.
            return found[:-1]
        if len(found) == MOST:
            break
    return found


def _sample(name: str, outputs: Dict[str, np.ndarray], expected: Dict[str, np.ndarray]) -> Dict[str, Any]:
    if results.is_detector(expected) and results.is_detector(outputs):
        sides = [{alias: _plain(side[alias][:1, :_BOXES]) for alias in _DETECTOR if alias in side} for side in (outputs, expected)]
    else:
        common = [alias for alias in sorted(expected) if alias in outputs]
        pairs = {alias: _pair(outputs[alias], expected[alias]) for alias in common}
        sides = [{alias: pairs[alias][side] for alias in common} for side in (0, 1)]
    return {"input": name, "output": sides[0], "expected": sides[1]}


def _pair(output: np.ndarray, expected: np.ndarray) -> List[Any]:
    rows = [array[:1] if array.ndim > 1 else array for array in (output, expected)]
    sizes = [row.size for row in rows]
    if sizes[0] == sizes[1] and _FEW < sizes[0] <= _LONGEST and all(row.dtype.kind == "f" and row.ndim == 2 for row in rows):
        flat = [row.reshape(-1) for row in rows]
        best = sorted({int(number) for row in flat for number in np.argsort(-row, kind="stable")[:_BEST]})
        return [_only(row, best) for row in flat]
    return [_plain(row if row.size <= _FEW else row.reshape(-1)[:_BEST]) for row in rows]


def _only(row: np.ndarray, places: List[int]) -> List[Any]:
    values: List[Any] = [0] * row.size
    for place in places:
        values[place] = _plain(row[place])
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.ndim:
        return [_plain(item) for item in value]
    value = value.item() if isinstance(value, (np.ndarray, np.generic)) else value
    if isinstance(value, (bytes, str)):
        return results.as_text(value[:80])
    if isinstance(value, float):
        return float("%.4g" % value) if np.isfinite(value) else str(value)
    return value if isinstance(value, (int, bool)) else str(value)
