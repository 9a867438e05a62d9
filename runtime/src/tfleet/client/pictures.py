"""One annotated picture of a run: each request's image with what the model saw in it."""

import io
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from tfleet import files
from tfleet.client import drawing, results
from tfleet.errors import TfleetError

MAX_PICTURES = 12

Shown = NamedTuple(
    "Shown",
    [
        ("image", Any),  # Pillow image
        ("row", int),  # which row of the outputs belongs to it
        ("outputs", Dict[str, np.ndarray]),
        ("expected", Optional[Dict[str, np.ndarray]]),  # golden outputs
    ],
)


def images_in(inputs: Dict[str, np.ndarray]) -> List[Any]:
    """Pillow images of a request's only array that looks like pictures, [N,H,W,1|3] in numbers; empty if there is none."""
    found = [
        array
        for array in inputs.values()
        if array.ndim == 4 and array.shape[3] in (1, 3) and array.dtype.kind in "uif" and min(array.shape[1:3]) >= 4
    ]
    return [drawing.from_array(image) for image in found[0]] if len(found) == 1 else []


def annotate(path: str, shown: Sequence[Shown], labels: Dict[int, str], min_score: float) -> None:
    """Writes a PNG: one picture, or a sheet of up to MAX_PICTURES. Raises TfleetError if there is nothing to draw."""
    pictures = [annotated(item, labels, min_score) for item in shown[:MAX_PICTURES]]
    if not pictures:
        raise TfleetError("There is nothing to draw in %s: the requests hold no images. Leave out --annotate." % path)
    buffer = io.BytesIO()
    drawing.contact_sheet(pictures).save(buffer, "PNG")
    files.atomic_write(path, buffer.getvalue())


def annotated(item: Shown, labels: Dict[int, str], min_score: float) -> Any:
    """A Pillow image of one request's picture with what was answered for it."""
    if results.is_detector(item.outputs):
        return drawing.draw_detections(item.image, results.detections(item.outputs, labels, min_score, item.row))
    classes = results.classify(item.outputs, labels)
    if item.row >= len(classes):
        values = results.short(item.outputs)
        return drawing.caption(item.image, ["%s: %s" % (alias, values[alias]["values"]) for alias in sorted(values)])
    best = classes[item.row]
    lines = ["%s  %.1f %%" % (best["label"], 100 * (best["score"] or 0))]
    expected = results.classify(item.expected, labels) if item.expected else []
    if item.row < len(expected):
        lines.append("expected: %s" % expected[item.row]["label"])
    return drawing.caption(item.image, lines)
