"""The fields of a serialised message, without parsing it: to find or skip parts of messages that are too large to be copied."""

from typing import List, Sequence, Tuple

from tfleet.wire import varint

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
"""Wire types."""

MOST = 10000
"""Fields of one message: a walk in Python over more would take longer than protobuf's copies."""

Field = Tuple[int, int, int, int, int]
"""Number, wire type, start of its tag, start of its content, end."""


def fields(data: Sequence[int], start: int, end: int) -> List[Field]:
    """The fields of the message between two places. Raises ValueError if they do not end where it does, or are too many."""
    found = []
    position = start
    while position < end:
        first = position
        tag, position = varint.decode_one(data, position)
        kind = tag & 7
        content = position
        if kind == VARINT:
            _, position = varint.decode_one(data, position)
        elif kind == LENGTH_DELIMITED:
            length, content = varint.decode_one(data, position)
            position = content + length
        elif kind in (FIXED64, FIXED32):
            position += 8 if kind == FIXED64 else 4
        else:
            raise ValueError("a group")
        found.append((tag >> 3, kind, first, content, position))
        if position > end or len(found) > MOST:
            raise ValueError("the message is cut off, or has too many fields")
    return found
