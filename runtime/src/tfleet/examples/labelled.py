"""What the readers of labelled pictures hand over: where each picture is and what is known of it, and what is wrong with the labels."""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from tfleet.errors import TfleetError
from tfleet.examples.features import Example, Objects

PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")

Problem = NamedTuple("Problem", [("code", str), ("where", str), ("text", str)])
Collected = NamedTuple(
    "Collected",
    [
        ("kind", str),  # voc, coco, folders, golden
        ("examples", List[Tuple[Optional[str], Example]]),  # the picture's path (None: nothing to load), and the Example without its picture
        ("labels", Dict[int, str]),  # class names by number
        ("problems", List[Problem]),
    ],
)


def labelled(name: str, size: Optional[Tuple[int, int]] = None, label: Optional[int] = None, text: str = "", objects: Optional[Objects] = None) -> Example:
    """An Example whose picture is still in its file."""
    return Example(name=name, image=None, size=size, label=label, text=text, objects=objects, arrays={})


def objects_of(rows: List[Dict[str, Any]]) -> Objects:
    """Objects of rows ``{"box": (ymin, xmin, ymax, xmax), "number", "name", "difficult"}``."""
    return Objects(
        boxes=np.array([row["box"] for row in rows], dtype=np.float32).reshape(len(rows), 4),
        classes=np.array([row["number"] for row in rows], dtype=np.int64),
        names=[row["name"] for row in rows],
        difficult=np.array([row["difficult"] for row in rows], dtype=bool),
    )


def pictures_below(root: str) -> List[str]:
    """The paths of the pictures in a folder and its folders, relative to it and sorted."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [os.path.relpath(os.path.join(folder, name), root) for name in sorted(names) if name.lower().endswith(PICTURES) and not name.startswith(".")]
    return found


class Finder(object):
    """Finds the file of a picture that an annotation names, below ``root``: by its path, else by its name, else by its name without the ending."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._names: Dict[str, List[str]] = {}
        for path in pictures_below(root):
            for name in {os.path.basename(path), _stem(path)}:
                self._names.setdefault(name, []).append(path)

    def find(self, name: str, stem: str = "") -> Tuple[Optional[str], str]:
        """``(path, "")``, or ``(None, why not)``."""
        # Labels are strangers' text: a name that leads out of the folder is not followed.
        inside = os.path.normpath(name)
        if name and not os.path.isabs(inside) and not inside.startswith("..") and os.path.isfile(os.path.join(self.root, inside)):
            return os.path.join(self.root, inside), ""
        for key in (os.path.basename(name), _stem(name), stem):
            found = self._names.get(key, []) if key else []
            if len(found) == 1:
                return os.path.join(self.root, found[0]), ""
            if found:
                return None, "there are several pictures of that name: %s" % ", ".join(found[:3])
        return None, "there is no such picture below %s" % self.root


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def numbers_of(names: List[str], label_map: Optional[Dict[int, str]], first: int) -> Dict[str, int]:
    """The number of each class name: the label map's, else counted from ``first`` in the order of the names.

    Raises TfleetError for a label map that has a name twice.
    """
    if label_map is None:
        return {name: number for number, name in enumerate(sorted(names), first)}
    numbers: Dict[str, int] = {}
    for number, name in sorted(label_map.items()):
        if name in numbers:
            raise TfleetError("The label map has `%s` twice, as %d and %d. Keep one." % (name, numbers[name], number))
        numbers[name] = number
    return numbers
