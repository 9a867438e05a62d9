"""Pictures with an XML file each, as PASCAL VOC, ImageNet and LabelImg write them."""

import os
from typing import Any, Dict, List, Optional, Tuple
from xml.etree import ElementTree

from tfleet.examples.features import Example
from tfleet.examples.labelled import Collected, Finder, Problem, labelled, numbers_of, objects_of

_EDGES = ("ymin", "xmin", "ymax", "xmax")
_MOST_BYTES = 2**24


def is_source(source: str) -> bool:
    """Whether the folder holds VOC's Annotations, or XML files."""
    return os.path.isdir(source) and bool(_files(source))


def collect(source: str, images: Optional[str], label_map: Optional[Dict[int, str]]) -> Collected:
    """All pictures that have an XML file below ``source``; boxes become shares of the size the XML file tells.

    Classes are numbered by the label map, else from 1 in the order of their names: 0 is the background of detectors.
    """
    problems: List[Problem] = []
    parsed: List[Tuple[str, Any]] = []
    for path in _files(source):
        relative = os.path.relpath(path, source)
        try:
            parsed.append((relative, _parse(path)))
        except (ValueError, OSError) as error:
            problems.append(Problem("bad_annotation", relative, "it cannot be read: %s" % error))
    names = {row["name"] for _relative, annotation in parsed for row in annotation["objects"]}
    numbers = numbers_of(sorted(names), label_map, 1)
    finder = Finder(images or source)
    examples: List[Tuple[Optional[str], Example]] = []
    for relative, annotation in parsed:
        stem = os.path.splitext(os.path.basename(relative))[0]
        picture, why = finder.find(annotation["filename"], stem)
        if picture is None:
            problems.append(Problem("missing_picture", relative, "it is about %s, but %s" % (annotation["filename"] or stem, why)))
            continue
        unknown = sorted({row["name"] for row in annotation["objects"]} - set(numbers))
        if unknown:
            problems.append(Problem("unknown_label", relative, "its class %s is not in the label map" % ", ".join(unknown)))
            continue
        height, width = annotation["size"]
        rows = [dict(row, box=_shares(row["pixels"], height, width), number=numbers[row["name"]]) for row in annotation["objects"]]
        examples.append((picture, labelled(os.path.basename(picture), annotation["size"], objects=objects_of(rows))))
    return Collected("voc", examples, {number: name for name, number in numbers.items()}, problems)


def _files(source: str) -> List[str]:
    root = os.path.join(source, "Annotations")
    found = []
    for folder, folders, names in os.walk(root if os.path.isdir(root) else source):
        folders.sort()
        found += [os.path.join(folder, name) for name in sorted(names) if name.lower().endswith(".xml")]
    return found


def _parse(path: str) -> Dict[str, Any]:
    """``{"filename", "size": (height, width), "objects": [{"name", "pixels", "difficult"}]}``. Raises ValueError."""
    if os.path.getsize(path) > _MOST_BYTES:
        raise ValueError("it is larger than an annotation can be")
    with open(path, "rb") as stream:
        content = stream.read()
    # Entities, by which a small file grows without end, need a document type; in an encoding with zero bytes it would not be found.
    if b"\0" in content or b"<!DOCTYPE" in content:
        raise ValueError("it has a document type or is no UTF-8, unlike annotations")
    try:
        root = ElementTree.fromstring(content)  # noqa: S314
    except ElementTree.ParseError as error:
        raise ValueError("it is no XML: %s" % error)
    size = _number(root, "size/height"), _number(root, "size/width")
    if min(size) < 1:
        raise ValueError("it tells the size %g x %g" % (size[1], size[0]))
    objects = [_object(element) for element in root.findall("object")]
    return {"filename": (root.findtext("filename") or "").strip(), "size": (int(size[0]), int(size[1])), "objects": objects}


def _object(element: Any) -> Dict[str, Any]:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise ValueError("an object has no name")
    pixels = tuple(_number(element, "bndbox/" + edge) for edge in _EDGES)
    return {"name": name, "pixels": pixels, "difficult": (element.findtext("difficult") or "0").strip() not in ("0", "")}


def _number(element: Any, path: str) -> float:
    text = element.findtext(path)
    try:
        return float(text)
    except (TypeError, ValueError):
        raise ValueError("%s is %s, not a number" % (path, "missing" if text is None else repr(text[:40])))


def _shares(pixels: Tuple[float, ...], height: int, width: int) -> Tuple[float, ...]:
    return pixels[0] / height, pixels[1] / width, pixels[2] / height, pixels[3] / width
