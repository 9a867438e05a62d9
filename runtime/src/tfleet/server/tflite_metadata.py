"""The signatures inside a .tflite file: a FlexBuffer in the model's metadata, name -> serialized SignatureDef.

Reads just that much of the two formats (FlatBuffers, and schema.fbs of TensorFlow Lite) from the bytes: the generated
readers are not in every TensorFlow that this server runs on.
"""
import struct
from typing import Any, Dict, List, Optional, Tuple

from google.protobuf.message import DecodeError

from .. import wire

_KEY = b"signature_defs_metadata"
_BUFFERS, _METADATA = 4, 6  # fields of table Model
_MAP, _TEXTS = 9, (5, 25)  # FlexBuffer types: map; string and blob


def signatures(model: bytes) -> Dict[str, Any]:
    """wire.SignatureDef by name; {} if the model has none. Raises ValueError for a damaged model."""
    try:
        found = _metadata(model, _KEY)
        stored = _flexbuffer_map(found) if found else {}
        return {name.decode("utf-8"): wire.SignatureDef.FromString(value) for name, value in stored.items()}
    except (struct.error, IndexError, KeyError, OverflowError, UnicodeDecodeError, DecodeError) as error:
        raise ValueError("its signatures are damaged: %s" % error)


def _metadata(model: bytes, name: bytes) -> Optional[bytes]:
    """The buffer of the metadata entry with that name."""
    root = _number(model, 0, "<I")
    for entry in _tables(model, root, _METADATA):
        field = _field(model, entry, 0)
        if field is not None and _bytes(model, _target(model, field)) == name:
            index = _field(model, entry, 1)
            buffer = _tables(model, root, _BUFFERS)[0 if index is None else _number(model, index, "<I")]
            data = _field(model, buffer, 0)
            return None if data is None else _bytes(model, _target(model, data))
    return None


def _number(data: bytes, place: int, form: str) -> int:
    if place < 0:
        raise IndexError("an offset leads out of the file")
    return int(struct.unpack_from(form, data, place)[0])


def _target(data: bytes, place: int) -> int:
    return place + _number(data, place, "<I")


def _field(data: bytes, table: int, number: int) -> Optional[int]:
    """Where a table keeps a field; None if it has its default."""
    layout = table - _number(data, table, "<i")
    if 4 + 2 * number >= _number(data, layout, "<H"):
        return None
    offset = _number(data, layout + 4 + 2 * number, "<H")
    return table + offset if offset else None


def _tables(data: bytes, table: int, number: int) -> List[int]:
    """A field that is a vector of tables."""
    field = _field(data, table, number)
    if field is None:
        return []
    vector = _target(data, field)
    count = _number(data, vector, "<I")
    if count > len(data):
        raise IndexError("a list is longer than the file")
    return [_target(data, vector + 4 + 4 * index) for index in range(count)]


def _bytes(data: bytes, vector: int) -> bytes:
    count = _number(data, vector, "<I")
    if vector + 4 + count > len(data):
        raise IndexError("a text is longer than the file")
    return data[vector + 4:vector + 4 + count]


def _flexbuffer_map(data: bytes) -> Dict[bytes, bytes]:
    """A FlexBuffer that is a map of texts. An element is the distance back to its value; types stand behind the elements."""
    width, kind = data[-1], data[-2]
    if kind >> 2 != _MAP:
        raise IndexError("the signatures are not a map")
    root = len(data) - 2 - width
    values, width = root - _unsigned(data, root, width), 1 << (kind & 3)
    count = _unsigned(data, values - width, width)
    keys = values - 3 * width
    keys_width = _unsigned(data, values - 2 * width, width)
    keys -= _unsigned(data, keys, width)
    answer = {}
    for index in range(count):
        key = keys + index * keys_width
        key -= _unsigned(data, key, keys_width)
        text, end = _text(data, values, index, width, data[values + count * width + index])
        answer[data[key:data.index(b"\0", key)]] = data[text:end]
    return answer


def _text(data: bytes, values: int, index: int, width: int, kind: int) -> Tuple[int, int]:
    if kind >> 2 not in _TEXTS:
        raise IndexError("a signature is not a text")
    place = values + index * width
    start = place - _unsigned(data, place, width)
    size = _unsigned(data, start - (1 << (kind & 3)), 1 << (kind & 3))
    if start + size > len(data):
        raise IndexError("a signature is cut short")
    return start, start + size


def _unsigned(data: bytes, place: int, width: int) -> int:
    return _number(data, place, {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}[width])
