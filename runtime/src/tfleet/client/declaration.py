"""What a model's signature does not say: how its pictures are prepared and how its raw outputs are read. A JSON file beside the model.

    {
      "preprocessing": {"size": [640, 640], "fit": "letterbox", "colours": "BGR", "values": [0, 255], "mean": [104, 117, 123]},
      "decoder": {"kind": "ssd", "anchors": "anchors.npy", "activation": "softmax"},
      "suppression": {"classes": "per-class", "method": "hard", "iou": 0.45, "score": 0.1},
      "labels": "names.txt"
    }

All parts and fields may be left out. Paths are relative to the file.
"""

import json
import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from tfleet import files
from tfleet.client import boxes, preprocessing
from tfleet.client.boxes import Suppression
from tfleet.client.preprocessing import Preprocessing
from tfleet.errors import TfleetError

Declaration = NamedTuple(
    "Declaration",
    [
        ("preprocessing", Preprocessing),
        ("decoder", Any),  # decoders.Decoder, or None for outputs of the Object Detection API and of classifiers
        ("suppression", Suppression),
        ("labels", Optional[str]),  # path of a label map
    ],
)

DEFAULT = Declaration(preprocessing.DEFAULT, None, boxes.DEFAULT, None)


def load(text: str) -> Declaration:
    """A declaration from a JSON file, or from JSON itself. Raises TfleetError, naming the field that is wrong."""
    inline = text.lstrip().startswith("{")
    if inline:
        try:
            value = json.loads(text)
        except ValueError as error:
            raise TfleetError("The declaration is not valid JSON: %s." % error)
    else:
        value = files.read_json(text)
    where, folder = ("The declaration", "") if inline else ("The declaration %s" % text, os.path.dirname(text))
    _known(where, "", value, ("preprocessing", "decoder", "suppression", "labels"))
    labels = value.get("labels")
    if labels is not None and not isinstance(labels, str):
        raise TfleetError("%s: labels is the path of a label map." % where)
    return Declaration(
        preprocessing.DEFAULT._replace(**_fields(where, "preprocessing", value, _PREPROCESSING)),
        _decoder(where, folder, value) if "decoder" in value else None,
        boxes.DEFAULT._replace(**_fields(where, "suppression", value, _SUPPRESSION)),
        os.path.join(folder, labels) if labels else None,
    )


def _decoder(where: str, folder: str, value: Dict[str, Any]) -> Any:
    from tfleet.client import decoders

    fields = _fields(where, "decoder", value, _DECODER)
    if "kind" not in fields:
        raise TfleetError("%s: decoder needs a kind: %s." % (where, ", ".join(sorted(decoders.DEFAULTS))))
    if "anchors" in fields:
        fields["anchors"] = _anchors(where, folder, fields["anchors"])
    return decoders.DEFAULTS[fields["kind"]]._replace(**fields)


def _anchors(where: str, folder: str, value: Any) -> Any:
    import numpy as np

    from tfleet.client import decoders

    if isinstance(value, dict):
        try:
            return decoders.ssd_anchors(**value)
        except (TypeError, ValueError) as error:
            raise TfleetError('%s: decoder.anchors is not {"feature_maps": [[19, 19], …], "min_scale": 0.2, …}: %s.' % (where, error))
    if isinstance(value, str) and value.endswith((".npy", ".json")):
        from tfleet.client import inputs

        path = os.path.join(folder, value)
        value = inputs.read_npy(path) if path.endswith(".npy") else files.read_json(path)
    if isinstance(value, str):
        return value
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        array = np.zeros(0, np.float32)
    if array.ndim != 2 or array.shape[1] != 4:
        raise TfleetError("%s: decoder.anchors are not rows of four numbers." % where)
    return array


def _fields(where: str, part: str, value: Dict[str, Any], checks: Dict[str, Callable[[Any], Any]]) -> Dict[str, Any]:
    given = value.get(part, {})
    _known(where, part, given, tuple(checks))
    found = {}
    for name in given:
        try:
            found[name] = checks[name](given[name])
        except (TypeError, ValueError) as error:
            raise TfleetError("%s: %s.%s is %s, not %s." % (where, part, name, json.dumps(given[name]), error))
    return found


def _known(where: str, part: str, value: Any, names: Tuple[str, ...]) -> None:
    if not isinstance(value, dict):
        raise TfleetError("%s: %s is not a JSON object." % (where, part or "it"))
    for name in value:
        if name not in names:
            import difflib

            close = difflib.get_close_matches(name, names, 1)
            advice = "did you mean '%s'?" % close[0] if close else "its fields are: %s." % ", ".join(names)
            raise TfleetError("%s: %s has no field '%s': %s" % (where, part or "it", name, advice))


def _one_of(*names: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in names:
            raise ValueError("one of %s" % ", ".join(names))
        return str(value)

    return check


def _numbers(what: str, count: Tuple[int, ...], low: float = -float("inf"), whole: bool = False) -> Callable[[Any], Tuple[Any, ...]]:
    kinds: Any = int if whole else (int, float)

    def check(value: Any) -> Tuple[Any, ...]:
        several: List[Any] = value if isinstance(value, list) else [value]
        if len(several) not in count or not all(isinstance(one, kinds) and not isinstance(one, bool) and one > low for one in several):
            raise ValueError(what)
        return tuple(several)

    return check


def _one(what: str, low: float, high: float = float("inf"), whole: bool = False) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not low <= value <= high:
            raise ValueError(what)
        return value

    return check


def _values(value: Any) -> Tuple[float, float]:
    low, high = _numbers("[low, high]", (2,))(value)
    if low >= high:
        raise ValueError("[low, high]")
    return float(low), float(high)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("the name of an output")
    return value


_PREPROCESSING = {
    "size": _numbers("[height, width]", (2,), 0, whole=True),
    "fit": _one_of(preprocessing.STRETCH, preprocessing.LETTERBOX),
    "fill": _one("a grey from 0 to 255", 0, 255, whole=True),
    "colours": _one_of(preprocessing.RGB, preprocessing.BGR),
    "values": _values,
    "mean": _numbers("a number for each channel", (1, 3, 4)),
    "std": _numbers("a number over 0 for each channel", (1, 3, 4), 0),
}
_SUPPRESSION = {
    "classes": _one_of(boxes.PER_CLASS, boxes.AGNOSTIC),
    "method": _one_of(boxes.HARD, boxes.LINEAR, boxes.GAUSSIAN),
    "iou": _one("a number from 0 to 1", 0, 1),
    "score": _one("a number", -float("inf")),
    "sigma": _one("a number over 0", 1e-6),
    "most": _one("a whole number from 1", 1, whole=True),
    "most_per_class": _one("a whole number from 1", 1, whole=True),
}
_DECODER = {
    "kind": _one_of("boxes", "ssd", "faster_rcnn"),
    "boxes": _text,
    "scores": _text,
    "rois": _text,
    "anchors": lambda value: value,
    "order": _one_of("yxyx", "xyxy"),
    "form": _one_of("corners", "centre"),
    "units": _one_of("shares", "pixels"),
    "activation": _one_of("none", "sigmoid", "softmax"),
    "background": _flag,
    "first_class": _one("a whole number", 0, whole=True),
    "scale_factors": _numbers("four numbers over 0", (4,), 0),
    "plus_one": _flag,
}
