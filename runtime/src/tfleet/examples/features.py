"""One picture with its labels, and the tf.train.Example that holds it."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from tfleet import wire

Objects = NamedTuple(
    "Objects",
    [
        ("boxes", np.ndarray),  # float32 [N, 4]: ymin, xmin, ymax, xmax in shares of the picture's sides
        ("classes", np.ndarray),  # int64 [N]; -1 where the file holds names only
        ("names", List[str]),  # N class names; empty texts where the file holds numbers only
        ("difficult", np.ndarray),  # bool [N]: VOC's `difficult` and COCO's `iscrowd`, which nobody is blamed for missing
    ],
)
Example = NamedTuple(
    "Example",
    [
        ("name", str),  # its file's name, for messages and reports
        ("image", Optional[bytes]),  # as encoded in its file: JPEG, PNG, GIF or BMP
        ("size", Optional[Tuple[int, int]]),  # height and width in pixels, as recorded
        ("label", Optional[int]),  # class of the whole picture
        ("text", str),  # and its name
        ("objects", Optional[Objects]),  # None: nobody looked for objects. No rows: somebody did, and there are none
        ("arrays", Dict[str, np.ndarray]),  # every other feature, 1-d: float32, int64, or object (bytes)
    ],
)

_BOX = ("ymin", "xmin", "ymax", "xmax")
_EDGE = "image/object/bbox/%s"
# What an Example repeats of its picture, and `encode` works out again.
_DERIVED = frozenset(("image/format", "image/key/sha256", "image/source_id", "image/channels", "image/colorspace"))


def encode(example: Example) -> bytes:
    """The serialised tf.train.Example; equal examples give equal bytes."""
    features: Dict[str, Any] = {}
    if example.image is not None:
        features["image/encoded"] = [example.image]
        features["image/format"] = [(image_format(example.image) or "").encode("ascii")]
    if example.size is not None:
        features["image/height"], features["image/width"] = [example.size[0]], [example.size[1]]
    name = example.name.encode("utf-8", "surrogateescape")
    features["image/filename"], features["image/source_id"] = [name], [name]
    if example.label is not None:
        features["image/class/label"] = [example.label]
        features["image/class/text"] = [example.text.encode("utf-8")]
    if example.objects is not None:
        features.update(_object_features(example.objects))
    features.update(example.arrays)
    message = wire.Example()
    for key in sorted(features):
        message.features.feature[key].CopyFrom(_feature(features[key]))
    return bytes(message.SerializeToString(deterministic=True))


def decode(record: bytes) -> Example:
    """The Example in a record. Raises ValueError if it is no tf.train.Example, or one whose parts do not fit together."""
    message = wire.Example()
    try:
        message.ParseFromString(record)
    except Exception:  # noqa: BLE001 (DecodeError, and what hostile input makes older parsers raise)
        raise ValueError("it is no tf.train.Example")
    if not message.features.feature:
        raise ValueError("it holds no features: it is no tf.train.Example, or an empty one")
    features = {key: _values(feature) for key, feature in message.features.feature.items()}
    return Example(
        name=_text(_one(features, "image/filename", _one(features, "image/source_id", b""))),
        image=_one(features, "image/encoded", None),
        size=_size(features),
        label=_one(features, "image/class/label", None),
        text=_text(_one(features, "image/class/text", b"")),
        objects=_objects(features),
        arrays={key: values for key, values in features.items() if key not in _KNOWN},
    )


def image_format(content: bytes) -> Optional[str]:
    """``jpeg``, ``png``, ``gif`` or ``bmp``, which TensorFlow decodes; None for anything else."""
    for head, name in ((b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"GIF8", "gif"), (b"BM", "bmp")):
        if content.startswith(head):
            return name
    return None


def _object_features(objects: Objects) -> Dict[str, Any]:
    features: Dict[str, Any] = {_EDGE % edge: objects.boxes[:, column].astype(np.float32) for column, edge in enumerate(_BOX)}
    features["image/object/class/label"] = objects.classes.astype(np.int64)
    features["image/object/class/text"] = np.array([name.encode("utf-8") for name in objects.names], dtype=object)
    features["image/object/difficult"] = objects.difficult.astype(np.int64)
    return features


_KNOWN = _DERIVED | {
    "image/encoded",
    "image/filename",
    "image/height",
    "image/width",
    "image/class/label",
    "image/class/text",
    "image/object/class/label",
    "image/object/class/text",
    "image/object/difficult",
    "image/object/is_crowd",
    "image/object/bbox/ymin",
    "image/object/bbox/xmin",
    "image/object/bbox/ymax",
    "image/object/bbox/xmax",
}


def _feature(values: Any) -> Any:
    """A Feature of an array or list: floats, whole numbers or bytes. An empty one keeps its kind."""
    array = values if isinstance(values, np.ndarray) else np.array(values, dtype=object if values and isinstance(values[0], bytes) else None)
    if array.dtype.kind in "OS":
        return wire.Feature(bytes_list=wire.BytesList(value=[_bytes(value) for value in array.reshape(-1)]))
    if array.dtype.kind == "f":
        return wire.Feature(float_list=wire.FloatList(value=array.reshape(-1).astype(np.float32).tolist()))
    return wire.Feature(int64_list=wire.Int64List(value=array.reshape(-1).astype(np.int64).tolist()))


def _bytes(value: Any) -> bytes:
    return value.encode("utf-8") if isinstance(value, str) else bytes(value)


def _values(feature: Any) -> np.ndarray:
    kind = feature.WhichOneof("kind")
    if kind == "float_list":
        return np.array(feature.float_list.value, dtype=np.float32)
    if kind == "int64_list":
        return np.array(feature.int64_list.value, dtype=np.int64)
    values = np.empty(len(feature.bytes_list.value), dtype=object)
    values[:] = list(feature.bytes_list.value)
    return values


def _one(features: Dict[str, np.ndarray], key: str, default: Any) -> Any:
    """The only value of a feature, of the kind it has to have; ``default`` if there is none."""
    values = features.get(key)
    if values is None or values.size == 0:
        return default
    wanted = "i" if key.endswith(("label", "height", "width")) else "O"
    if values.size > 1 or values.dtype.kind != wanted:
        raise ValueError("its feature %s is not one %s" % (key, "whole number" if wanted == "i" else "text"))
    return int(values[0]) if wanted == "i" else values[0]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _size(features: Dict[str, np.ndarray]) -> Optional[Tuple[int, int]]:
    height, width = _one(features, "image/height", None), _one(features, "image/width", None)
    return None if height is None or width is None else (height, width)


def _objects(features: Dict[str, np.ndarray]) -> Optional[Objects]:
    edges = [features.get(_EDGE % edge) for edge in _BOX]
    present = [edge for edge in edges if edge is not None]
    if not present:
        return None
    count = max(len(edge) for edge in present)
    if len(present) < len(_BOX) or any(len(edge) != count or (count and edge.dtype.kind != "f") for edge in present):
        raise ValueError("its boxes are incomplete: image/object/bbox/ymin, xmin, ymax and xmax must be as many fractions each")
    classes = _column(features, "image/object/class/label", "i", count)
    names = _column(features, "image/object/class/text", "O", count)
    difficult = np.zeros(count, dtype=bool)
    for key in ("image/object/difficult", "image/object/is_crowd"):
        flags = _column(features, key, "i", count)
        if flags is not None:
            difficult |= flags != 0
    return Objects(
        boxes=np.stack([edge.astype(np.float32) for edge in present], axis=1),
        classes=np.full(count, -1, dtype=np.int64) if classes is None else classes,
        names=[""] * count if names is None else [_text(name) for name in names],
        difficult=difficult,
    )


def _column(features: Dict[str, np.ndarray], key: str, kind: str, count: int) -> Optional[np.ndarray]:
    """A feature with one value for each box; None if there is none."""
    values = features.get(key)
    if values is None or (values.size == 0 and count):
        return None
    if len(values) != count or (count and values.dtype.kind != kind):
        raise ValueError("its feature %s has %d values for %d boxes, or of another kind" % (key, len(values), count))
    return values
