"""Protocol buffer varints for whole numpy arrays at once."""

from typing import Sequence, Tuple

import numpy as np

LONGEST = 10
"""Bytes of 64 bits, seven to a byte. Reading more would let a short message cost much time."""


def decode(payload: bytes) -> np.ndarray:
    """Decodes consecutive varints into a uint64 vector. Raises ValueError if the last one is cut off."""
    octets = np.frombuffer(payload, np.uint8)
    if octets.size == 0:
        return np.zeros(0, np.uint64)
    if octets[-1] & 0x80:
        raise ValueError("a packed field ends in the middle of a number")
    ends = np.flatnonzero(octets < 0x80)
    if ends.size == octets.size:
        return octets.astype(np.uint64)
    starts = np.concatenate((np.zeros(1, ends.dtype), ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > LONGEST:
        raise ValueError("a packed field has a number longer than %d bytes" % LONGEST)
    values = np.zeros(ends.size, np.uint64)
    for place in range(int(lengths.max())):
        longer = lengths > place
        septets = (octets[starts[longer] + place] & 0x7F).astype(np.uint64)
        values[longer] |= septets << np.uint64(7 * place)
    return values


def encode(values: np.ndarray) -> bytes:
    """Encodes a vector of integers or bools as consecutive varints; negative numbers take ten bytes, as int32 and int64 fields do."""
    values = values.astype(np.int64).view(np.uint64) if values.dtype.kind == "i" else values.astype(np.uint64)
    if values.size == 0 or int(values.max()) < 0x80:
        return values.astype(np.uint8).tobytes()
    lengths = np.ones(values.size, np.int64)
    for place in range(1, 10):
        more = values >= np.uint64(1) << np.uint64(7 * place)
        if not more.any():
            break
        lengths += more
    ends = np.cumsum(lengths)
    starts = ends - lengths
    octets = np.empty(int(ends[-1]), np.uint8)
    for place in range(int(lengths.max())):
        longer = lengths > place
        octet = (values[longer] >> np.uint64(7 * place)).astype(np.uint8) & 0x7F
        octets[starts[longer] + place] = octet | np.where(lengths[longer] > place + 1, 0x80, 0).astype(np.uint8)
    return octets.tobytes()


def encode_one(value: int) -> bytes:
    """Encodes one non-negative integer."""
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def decode_one(data: Sequence[int], position: int) -> Tuple[int, int]:
    """The integer that begins at a position, and the position after it. Raises ValueError if it is cut off or too long."""
    value = shift = 0
    while position < len(data) and shift < 7 * LONGEST:
        octet = data[position]
        position += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, position
        shift += 7
    raise ValueError("a number is cut off or longer than %d bytes" % LONGEST)
