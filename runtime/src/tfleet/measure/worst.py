"""The worst examples as one picture: what the reference sees on the left, what the candidate sees on the right."""

import io
from typing import Any, Dict, List, Optional, Sequence

from tfleet import files
from tfleet.client import drawing, inputs, pictures
from tfleet.errors import TfleetError
from tfleet.measure.parity import Worst

_LONGEST = 480
"""Pixels of a picture's longer side: a report with four pairs stays below a megabyte."""


def draw(path: str, rows: Sequence[Worst], titles: Sequence[str], labels: Dict[int, str], min_score: float) -> bool:
    """Writes a PNG of the worst rows; returns False, and writes nothing, if their inputs are no pictures."""
    pairs = [pair for pair in (_pair(row, titles, labels, min_score) for row in rows) if pair is not None]
    if not pairs:
        return False
    buffer = io.BytesIO()
    drawing.columns(pairs, 1 if len(pairs) == 1 else 2).save(buffer, "PNG", optimize=True)
    files.atomic_write(path, buffer.getvalue())
    return True


def _pair(found: Worst, titles: Sequence[str], labels: Dict[int, str], min_score: float) -> Optional[Any]:
    image = _image(found)
    if image is None:
        return None
    sides: List[Any] = []
    for outputs in (found.reference, found.candidate):
        sides.append(_small(pictures.annotated(pictures.Shown(image, 0, outputs, None), labels, min_score)))
    return drawing.side_by_side(sides, titles, found.name)


def _image(found: Worst) -> Optional[Any]:
    images = pictures.images_in(found.inputs)
    if images:
        return images[0]
    texts = [array for array in found.inputs.values() if array.dtype.kind == "O" and array.size == 1]
    if len(texts) == 1 and isinstance(texts[0].reshape(-1)[0], bytes):
        try:
            return inputs.decode_image(texts[0].reshape(-1)[0], found.name)
        except TfleetError:  # bytes of another kind
            return None
    return None


def _small(picture: Any) -> Any:
    scale = _LONGEST / float(max(picture.size))
    if scale >= 1:
        return picture
    return picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), drawing.FILTER.LANCZOS)
