"""Class names by number, from the files in which people keep them."""

import json
import re
from typing import Any, Dict

from tfleet import files
from tfleet.errors import TfleetError

_ITEM = re.compile(r"\bitem\s*:?\s*\{((?:[^{}\"']|\"[^\"]*\"|'[^']*')*)\}")
_ENTRY = re.compile(r"(\w+)\s*:\s*(?:\"([^\"]*)\"|'([^']*)'|(-?\d+))")

_BACKGROUND = ("background", "dummy", "__background__", "???")
_IMAGENET_WITH_BACKGROUND = 1001


def load(path: str) -> Dict[int, str]:
    """Reads {class number: name} from one of

    * JSON: an object {"1": "one"}, or a list whose first name is class 0,
    * the Object Detection API's text form: item { id: 1 name: "n1" display_name: "one" }, where display_name wins,
    * plain text: one name a line, the first line being class 0.

    Raises TfleetError, naming the file and what is wrong in it.
    """
    try:
        with open(path, "rb") as stream:
            text = stream.read().decode("utf-8-sig")
    except OSError as error:
        raise TfleetError("Could not read the label map %s: %s." % (path, files.reason(error)))
    except UnicodeDecodeError:
        raise TfleetError("The label map %s is not text in UTF-8." % path)
    if text.lstrip().startswith(("{", "[")):
        try:
            return from_json(json.loads(text))
        except ValueError as error:
            raise TfleetError('The label map %s is not JSON such as {"1": "one"} or ["zero", "one"]: %s.' % (path, error))
    if _ITEM.search(text):
        return _from_items(path, text)
    labels = {number: line.strip() for number, line in enumerate(text.splitlines()) if line.strip()}
    if not labels:
        raise TfleetError("The label map %s is empty." % path)
    return labels


def from_json(value: Any) -> Dict[int, str]:
    """{number: name} from a JSON object or list. Raises ValueError for anything else."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values()):
        raise ValueError("names by class number are expected")
    return {int(number): name for number, name in value.items()}


def fitted(labels: Dict[int, str], classes: int) -> Dict[int, str]:
    """Names for a classifier with so many classes: ImageNet's are 1000, or 1001 with `background` as the first, and files have either.

    A list of names that has one more or less for that reason is moved by one; all others stay as they are.
    """
    size = len(labels)
    if abs(size - classes) != 1 or size < 3 or sorted(labels) != list(range(size)):
        return labels
    background = labels[0].strip().lower() in _BACKGROUND
    if size == classes + 1 and background:
        return {number - 1: labels[number] for number in range(1, size)}
    if size + 1 == classes and classes == _IMAGENET_WITH_BACKGROUND and not background:
        return {number + 1: name for number, name in labels.items()}
    return labels


def _from_items(path: str, text: str) -> Dict[int, str]:
    labels = {}
    for item in _ITEM.finditer(re.sub(r"(?m)^\s*#.*$", "", text)):
        entries = {key: double or single or number for key, double, single, number in _ENTRY.findall(item.group(1))}
        name = entries.get("display_name") or entries.get("name")
        if name is None or not entries.get("id", "").isdigit():
            raise TfleetError("The label map %s has an item without an id and a name: { %s }." % (path, item.group(1).strip()))
        labels[int(entries["id"])] = name
    return labels
