"""Pictures with one JSON file for all, as COCO has them."""

import json
import os
from typing import Any, Dict, List, Optional, Tuple

from tfleet import files
from tfleet.errors import TfleetError
from tfleet.examples.features import Example
from tfleet.examples.labelled import Collected, Finder, Problem, labelled, objects_of


def is_source(source: str) -> bool:
    """Whether this is a JSON file."""
    return os.path.isfile(source) and source.lower().endswith(".json")


def collect(source: str, images: Optional[str], label_map: Optional[Dict[int, str]]) -> Collected:
    """All pictures of the file. Classes keep the numbers of its categories, which the label map may name anew.

    Pictures are looked for below ``images``, by default below the folder of the file or, of COCO's own layout, beside annotations/.
    """
    content = files.read_json(source)
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in ("images", "annotations", "categories")):
        raise TfleetError("%s is not COCO's JSON: it needs the lists images, annotations and categories." % source)
    try:
        return _collect(content, _root(source, images), label_map)
    except (KeyError, TypeError, AttributeError) as error:
        raise TfleetError("%s is not COCO's JSON: an entry lacks %s, or has it in another form." % (source, error))


def _root(source: str, images: Optional[str]) -> str:
    folder = os.path.dirname(os.path.abspath(source))
    return images or (os.path.dirname(folder) if os.path.basename(folder) == "annotations" else folder)


def _collect(content: Dict[str, Any], root: str, label_map: Optional[Dict[int, str]]) -> Collected:
    labels = {int(category["id"]): str(category["name"]) for category in content["categories"]}
    if label_map is not None:
        labels = {number: label_map.get(number, name) for number, name in labels.items()}
    problems: List[Problem] = []
    sizes = {image["id"]: (int(image["height"]), int(image["width"])) for image in content["images"]}
    rows: Dict[Any, List[Dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    refused = set()
    for annotation in content["annotations"]:
        where, image, number = "annotation %s" % annotation.get("id"), annotation["image_id"], int(annotation["category_id"])
        if image not in rows:
            problems.append(Problem("missing_picture", where, "its image %s is not in the file" % image))
        elif number not in labels:
            problems.append(Problem("unknown_label", where, "its category %d is not in the file" % number))
            refused.add(image)
        else:
            box = _shares(annotation["bbox"], sizes[image])
            rows[image].append({"box": box, "number": number, "name": labels[number], "difficult": bool(annotation.get("iscrowd"))})
    finder = Finder(root)
    examples: List[Tuple[Optional[str], Example]] = []
    for image in content["images"]:
        picture, why = finder.find(image["file_name"])
        if picture is None:
            problems.append(Problem("missing_picture", "image %s" % json.dumps(image["id"]), "it is %s, but %s" % (image["file_name"], why)))
        elif image["id"] not in refused:
            # An image without annotations is one without objects: all of COCO's were labelled.
            examples.append((picture, labelled(image["file_name"], sizes[image["id"]], objects=objects_of(rows[image["id"]]))))
    return Collected("coco", examples, labels, problems)


def _shares(box: List[float], size: Tuple[int, int]) -> Tuple[float, ...]:
    """Edges in shares of the sides from COCO's left, top, width, height in pixels."""
    left, top, width, height = (float(value) for value in box)
    rows, columns = max(1, size[0]), max(1, size[1])
    return top / rows, left / columns, (top + height) / rows, (left + width) / columns
