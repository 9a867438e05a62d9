# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Sample predictions of a gate as something that can be drawn: bars of classes, boxes of objects, or a few numbers. Pure functions.

    {"kind": "bars", "rows": [{"name", "output", "expected"}]}       shares of the longest bar, and "top": what that is
    {"kind": "boxes", "output": [box], "expected": [box]}            {"x", "y", "width", "height", "text"} in shares of the picture's sides
    {"kind": "numbers", "rows": [{"name", "output", "expected"}]}
"""
from collections import OrderedDict
from typing import Any, Dict, List, Optional

MOST_ROWS = 5
MOST_BOXES = 12
LOWEST_SCORE = 0.3
_SCORES = ("scores", "probabilities")


def drawn(sample: Dict[str, Any]) -> Dict[str, Any]:
    """Return how a sample is drawn.

    :param sample: {"input": its name, "output": {name: values}, "expected": the same}, values with or without a dimension of one example before them.
    """
    output, expected = (OrderedDict((str(name), _alone(value)) for name, value in sorted(sample[side].items())) for side in ("output", "expected"))
    made: Dict[str, Any] = {"input": str(sample["input"])}
    boxes = [_boxes(side) for side in (output, expected)]
    if boxes[0] is not None and boxes[1] is not None:
        made.update(kind="boxes", output=boxes[0], expected=boxes[1])
        return made
    name = _scores_of(expected)
    if name is not None and name in output:
        made.update(_bars(_vector(output[name]) or [], _vector(expected[name]) or []), kind="bars")
        return made
    rows = []
    for name in expected:
        got, wanted = (_flat(side.get(name)) for side in (output, expected))
        rows += [{"name": name if len(wanted) == 1 else "%s[%d]" % (name, index), "output": _text(got, index), "expected": _text(wanted, index)}
                 for index in range(min(len(wanted), MOST_ROWS))]
    made.update(kind="numbers", rows=rows[:2 * MOST_ROWS])
    return made


def _bars(output: List[float], expected: List[float]) -> Dict[str, Any]:
    """The best classes that were expected, and the best that was answered."""
    best = sorted(range(len(expected)), key=lambda number: -expected[number])[:MOST_ROWS - 1]
    best += [number for number in sorted(range(len(output)), key=lambda number: -output[number])[:MOST_ROWS] if number not in best]
    rows = [{"name": str(number), "output": _at(output, number), "expected": _at(expected, number)} for number in best[:MOST_ROWS]]
    # Scores that are no shares, such as logits, get the space of the largest of them.
    return {"rows": rows, "top": max([1.0] + [abs(side[number]) for number in best for side in (output, expected) if number < len(side)])}


def _boxes(side: Dict[str, Any]) -> Optional[List[Dict[str, Any]]]:
    """The objects that are worth a look, from the outputs of the Object Detection API; None if these are others."""
    boxes, scores = side.get("detection_boxes"), _vector(side.get("detection_scores"))
    if not isinstance(boxes, list) or scores is None or any(len(_vector(box) or ()) != 4 for box in boxes):
        return None
    classes = _vector(side.get("detection_classes")) or []
    found = []
    for index, (box, score) in enumerate(zip(boxes, scores)):
        if score >= LOWEST_SCORE:
            # As shares of the sides: ymin, xmin, ymax, xmax.
            top, left, bottom, right = (min(1.0, max(0.0, float(edge))) for edge in box)
            text = "%.0f %.2f" % (_at(classes, index), score) if classes else "%.2f" % score
            found.append({"x": left, "y": top, "width": max(0.0, right - left), "height": max(0.0, bottom - top), "text": text})
    return found[:MOST_BOXES]


def _scores_of(side: Dict[str, Any]) -> Optional[str]:
    """The output that holds a score for each class: named so, or shares that add up to one."""
    vectors = {name: _vector(value) for name, value in side.items()}
    for name, vector in vectors.items():
        shares = vector is not None and min(vector or [-1]) >= 0 and abs(sum(vector) - 1) < 0.01
        if vector is not None and len(vector) > 1 and (name in _SCORES or shares):
            return name
    return None


def _alone(value: Any) -> Any:
    """Values without the dimension of the one example."""
    return value[0] if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list) else value


def _vector(value: Any) -> Optional[List[float]]:
    numbers = isinstance(value, list) and all(isinstance(item, (int, float)) and not isinstance(item, bool) and abs(item) < 1e300 for item in value)
    return value if numbers else None


def _flat(value: Any) -> List[Any]:
    if not isinstance(value, list):
        return [value]
    return [item for part in value for item in _flat(part)]


def _at(values: List[float], index: int) -> float:
    return float(values[index]) if index < len(values) else 0.0


def _text(values: List[Any], index: int) -> str:
    value = values[index] if index < len(values) else None
    return "–" if value is None else "%.4g" % value if isinstance(value, float) else str(value)
