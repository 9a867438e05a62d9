"""What is wrong with an Example or with a TFRecord file, as problems that name the place and say what to do."""

import hashlib
import os
from typing import Any, Callable, Dict, List, Optional, Set

import numpy as np

from tfleet.client import inputs as client_inputs
from tfleet.errors import TfleetError
from tfleet.examples import shards
from tfleet.examples.features import Example, decode, image_format
from tfleet.examples.labelled import Problem

_ORIENTATION = 0x0112  # EXIF
# Boxes drawn by hand leave the picture by a fraction of a pixel.
_OUTSIDE = 0.01


def of_example(example: Example, where: str, labels: Optional[Dict[int, str]] = None) -> List[Problem]:
    """The problems of one Example; ``labels`` are the classes that may occur (None: any)."""
    found: List[Problem] = []
    if example.image is not None:
        found += _of_picture(example, where)
    elif not example.arrays:
        found.append(Problem("no_content", where, "it holds neither a picture nor arrays"))
    if example.image is not None and example.label is None and example.objects is None:
        found.append(Problem("missing_label", where, "it has neither a class nor boxes: label it, or leave it out"))
    found += _of_labels(example, where, labels)
    return found


def _of_picture(example: Example, where: str) -> List[Problem]:
    assert example.image is not None
    if image_format(example.image) is None:
        return [Problem("unknown_format", where, "it is no JPEG, PNG, GIF or BMP, which is what TensorFlow decodes: convert it")]
    try:
        from PIL import Image

        picture = client_inputs.decode_image(example.image, "the picture")
        turned = Image.open(_stream(example.image)).getexif().get(_ORIENTATION, 1)
    except ImportError:
        raise TfleetError("Pictures need Pillow, which this environment lacks: pip install 'Pillow>=8.4'.")
    except TfleetError as error:
        return [Problem("undecodable", where, str(error))]
    except (OSError, SyntaxError, ValueError):
        turned = 1  # EXIF data that nobody can read turns nothing
    found = []
    size = (picture.height, picture.width)
    if turned not in (0, 1):
        text = "its EXIF data turns it (orientation %d), which TensorFlow ignores: store it upright" % turned
        found.append(Problem("rotated", where, text))
    elif example.size is not None and size != example.size:
        text = "its label tells %d x %d pixels, the picture has %d x %d: its boxes would be shifted" % (example.size[1], example.size[0], size[1], size[0])
        found.append(Problem("wrong_size", where, text))
    return found


def _stream(content: bytes) -> Any:
    import io

    return io.BytesIO(content)


def _of_labels(example: Example, where: str, labels: Optional[Dict[int, str]]) -> List[Problem]:
    found = []
    numbers = [] if example.label is None else [example.label]
    if example.objects is not None:
        numbers += example.objects.classes.tolist()
        boxes = example.objects.boxes
        empty = (boxes[:, 0] >= boxes[:, 2]) | (boxes[:, 1] >= boxes[:, 3])
        outside = (boxes < -_OUTSIDE).any(axis=1) | (boxes > 1 + _OUTSIDE).any(axis=1) | ~np.isfinite(boxes).all(axis=1)
        for code, rows, text in (("empty_box", empty, "has no area"), ("outside_box", outside, "leaves the picture (edges are shares from 0 to 1)")):
            if rows.any():
                row = int(np.argmax(rows))
                found.append(Problem(code, where, "its box %d, %s, %s" % (row, [round(float(edge), 4) for edge in boxes[row]], text)))
    unknown = sorted(set(numbers) - set(labels)) if labels is not None else [number for number in numbers if number < 0]
    if unknown:
        found.append(Problem("unknown_label", where, "its class %s is not in the label map" % ", ".join(map(str, unknown))))
    return found


class _Totals(object):
    """What `check` counts beside the problems."""

    def __init__(self) -> None:
        self.examples = self.objects = 0
        self.classes: Dict[str, int] = {}
        self._seen: Set[bytes] = set()

    def add(self, example: Example, record: bytes) -> bool:
        """Count an Example. False if the same one was there already."""
        self.examples += 1
        names = [example.text or str(example.label)] if example.label is not None else []
        if example.objects is not None:
            self.objects += len(example.objects.names)
            names += [name or str(number) for name, number in zip(example.objects.names, example.objects.classes.tolist())]
        for name in names:
            self.classes[name] = self.classes.get(name, 0) + 1
        digest = hashlib.sha256(example.image or record).digest()
        new = digest not in self._seen
        self._seen.add(digest)
        return new


def check(paths: shards.Paths, labels: Optional[Dict[int, str]] = None, progress: Optional[Callable[[int], None]] = None) -> Dict[str, Any]:
    """Read every record of the files and list what is wrong: damage, pictures that cannot be decoded, sizes, labels, boxes, doubles.

    ``progress`` is called with the number of Examples read. Returns ``{"files", "bytes", "examples", "objects", "classes", "problems"}``;
    raises TfleetError only where no file is found.
    """
    totals = _Totals()
    problems: List[Problem] = []
    located = shards.locate(paths)
    for path in located:
        name = os.path.basename(path)
        try:
            for _path, place, record in shards.records(path):
                where = "%s, byte %d" % (name, place)
                try:
                    example = decode(record)
                except ValueError as error:
                    problems.append(Problem("no_example", where, str(error)))
                    continue
                where += " (%s)" % example.name if example.name else ""
                problems += of_example(example, where, labels)
                if not totals.add(example, record):
                    problems.append(Problem("double", where, "the same content was there before"))
                if progress is not None:
                    progress(totals.examples)
        except TfleetError as error:
            problems.append(Problem("damaged", name, str(error)))
    return {
        "files": located,
        "bytes": sum(os.path.getsize(path) for path in located),
        "examples": totals.examples,
        "objects": totals.objects,
        "classes": dict(sorted(totals.classes.items())),
        "problems": told(problems),
    }


def told(problems: List[Problem]) -> List[Dict[str, str]]:
    """Problems for JSON."""
    return [dict(problem._asdict()) for problem in problems]
