"""Puts SignatureDefs into the metadata of a .tflite file, where TensorFlow Serving and `tfleet serve` look for them.

Without them a server makes signatures from tensor names (serving_default_images:0), and clients of the native variant would have to
change. Offsets in a FlatBuffer only lead forward, so a new root table with the new parts is put in front of the old file, which stays
as it is: nothing is unpacked, and a model is never in memory twice. No TensorFlow here.
"""

import struct
from typing import Dict, List, Optional, Tuple

from tfleet.errors import TfleetError

_KEY = b"signature_defs_metadata"
_FIELDS = 8  # of table Model in schema.fbs: version, operator_codes, subgraphs, description, buffers, metadata_buffer, metadata, signature_defs
_BUFFERS, _METADATA = 4, 6
_ALIGN = 64  # tensors' bytes are aligned to 16 and by newer converters to 64


def header(model: bytes, signatures: Dict[str, bytes]) -> bytes:
    """What precedes `model` (the whole old file) in a file that is the same model with `signatures` {name: serialized SignatureDef}."""
    if model[4:8] != b"TFL3":
        raise TfleetError("What TensorFlow's converter made is no TensorFlow Lite model: it does not begin with TFL3.")
    root = _u32(model, 0)
    # The header's length decides the offsets in it, but not how many there are.
    return _header(model, root, len(_header(model, root, 2**24, signatures)), signatures)


def _header(model: bytes, root: int, length: int, signatures: Dict[str, bytes]) -> bytes:
    """The header if the old file begins at `length`."""
    old_buffers, old_metadata = (_vector(model, root, field) for field in (_BUFFERS, _METADATA))
    out = _Out()
    out.u32(0)  # where the root table is, known below
    out.data += b"TFL3"
    layout = len(out.data)
    out.data += struct.pack("<HH", 4 + 2 * _FIELDS, 4 + 4 * _FIELDS)
    out.data += struct.pack("<%dH" % _FIELDS, *[4 + 4 * field if _place(model, root, field) or field in (_BUFFERS, _METADATA) else 0
                                                for field in range(_FIELDS)])
    out.align(4)
    table = len(out.data)
    struct.pack_into("<I", out.data, 0, table)
    out.data += struct.pack("<i", table - layout)
    fields = len(out.data)
    out.data += b"\0" * (4 * _FIELDS)
    for field in range(_FIELDS):
        place = _place(model, root, field)
        if place is None or field in (_BUFFERS, _METADATA):
            continue
        value = _u32(model, place)
        spot = fields + 4 * field
        struct.pack_into("<I", out.data, spot, value if field == 0 else length + place + value - spot)
    struct.pack_into("<I", out.data, fields + 4 * _BUFFERS, len(out.data) - (fields + 4 * _BUFFERS))
    new_buffer = out.vector([length + target for target in old_buffers])
    struct.pack_into("<I", out.data, fields + 4 * _METADATA, len(out.data) - (fields + 4 * _METADATA))
    new_entry = out.vector([length + target for target in old_metadata])
    out.point(new_buffer)
    out.table([None], _flexbuffer(signatures))
    out.point(new_entry)
    out.table([None, len(old_buffers)], _KEY + b"\0", len(_KEY))
    out.align(_ALIGN)
    return bytes(out.data)


class _Out(object):
    """A FlatBuffer being written front to back."""

    def __init__(self) -> None:
        self.data = bytearray()

    def u32(self, number: int) -> None:
        self.data += struct.pack("<I", number)

    def align(self, size: int) -> None:
        self.data += b"\0" * (-len(self.data) % size)

    def vector(self, targets: List[int]) -> int:
        """A vector of offsets to absolute places, and one more whose place is returned."""
        self.u32(len(targets) + 1)
        for target in targets:
            self.u32(target - len(self.data))
        self.u32(0)
        return len(self.data) - 4

    def point(self, place: int) -> None:
        """Let the offset at `place` lead to the table that comes next (its layout is written before it)."""
        self._pending = place

    def table(self, scalars: List[Optional[int]], content: bytes, size: Optional[int] = None) -> None:
        """A table whose first field is a vector of bytes, and the others 32-bit numbers."""
        self.align(4)
        layout = len(self.data)
        self.data += struct.pack("<HH", 4 + 2 * len(scalars), 4 + 4 * len(scalars))
        self.data += struct.pack("<%dH" % len(scalars), *[4 + 4 * number for number in range(len(scalars))])
        self.align(4)
        table = len(self.data)
        struct.pack_into("<I", self.data, self._pending, table - self._pending)
        self.data += struct.pack("<i", table - layout)
        first = len(self.data)
        self.u32(0)
        for number in scalars[1:]:
            self.u32(number or 0)
        # Bytes of a buffer are aligned to 16 behind their length.
        self.data += b"\0" * (-(len(self.data) + 4) % 16)
        struct.pack_into("<I", self.data, first, len(self.data) - first)
        self.u32(len(content) if size is None else size)
        self.data += content
        self.align(4)


def _flexbuffer(signatures: Dict[str, bytes]) -> bytes:
    """A FlexBuffer: a map of texts, with 32-bit numbers throughout. Offsets lead backwards from where they stand."""
    names = sorted(signatures)
    data = bytearray()
    keys, values = [], []
    for name in names:
        keys.append(len(data))
        data += name.encode("utf-8") + b"\0"
    for name in names:
        data += b"\0" * (-len(data) % 4)
        data += struct.pack("<I", len(signatures[name]))
        values.append(len(data))
        data += signatures[name] + b"\0"
    data += b"\0" * (-len(data) % 4)
    data += struct.pack("<I", len(names))
    key_vector = len(data)
    for place in keys:
        data += struct.pack("<I", len(data) - place)
    data += struct.pack("<III", len(data) - key_vector, 4, len(names))
    start = len(data)
    for place in values:
        data += struct.pack("<I", len(data) - place)
    text, mapping, width_4 = 5, 9, 2
    data += bytes([text << 2 | width_4] * len(names))
    data += b"\0" * (-len(data) % 4)
    data += struct.pack("<I", len(data) - start)
    return bytes(data) + bytes([mapping << 2 | width_4, 4])


def _u32(data: bytes, place: int) -> int:
    return int(struct.unpack_from("<I", data, place)[0])


def _place(model: bytes, table: int, field: int) -> Optional[int]:
    """Where a table keeps a field, None if it has its default."""
    layout = table - struct.unpack_from("<i", model, table)[0]
    if 4 + 2 * field >= struct.unpack_from("<H", model, layout)[0]:
        return None
    offset = struct.unpack_from("<H", model, layout + 4 + 2 * field)[0]
    return table + offset if offset else None


def _vector(model: bytes, table: int, field: int) -> Tuple[int, ...]:
    """The places of the tables in a field that is a vector of tables."""
    place = _place(model, table, field)
    if place is None:
        return ()
    start = place + _u32(model, place)
    return tuple(start + 4 + 4 * number + _u32(model, start + 4 + 4 * number) for number in range(_u32(model, start)))
