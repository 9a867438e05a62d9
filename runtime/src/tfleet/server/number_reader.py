"""Reads nested JSON lists of numbers into arrays, whole columns of digits at a time: several times as fast as the json module.

Only what is certain to mean the same is read here. Everything else (strings, true, ragged lists, mistakes of any kind) makes
the functions answer None, and the caller reads the text in the usual way, which also finds the words for what is wrong.

A number is cut at its point. The digits before and after it are taken eight at a time as one 64 bit integer, and three
multiplications turn such an integer into the value of its digits, for all numbers at once.
"""
import json
import re
from typing import Any, List, Optional, Tuple

import numpy as np

_LEAST = 4096  # bytes: below, the json module is faster
_CHUNK = 1 << 19  # bytes that are worked on at once
_MARGIN = 24  # bytes before a number that the loads of its digits may touch
_COMMA, _OPEN, _CLOSE, _POINT, _MINUS, _SPACE, _ZERO = b",[].- 0"
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_IN_NUMBERS = b"0123456789+-.eE"
_INSIDE = bytes(byte in _IN_NUMBERS for byte in range(256))
_OTHER = np.ones(256, np.bool_)
_OTHER[list(_IN_NUMBERS + b"[], \t\r\n")] = False
_PLACE = "\0%d"  # stands for a list in the rest of the document; no other string there can hold this character

# Which bits of eight bytes are the values of the last so many digits.
_MASKS = np.array([0x0F0F0F0F0F0F0F0F >> 8 * (8 - count) << 8 * (8 - count) for count in range(9)], np.uint64)
_MOST_DIMENSIONS = 32  # numpy's limit
_MOST_DIGITS = 19  # of a number: they fit into 64 bits
_POWERS = np.array([float(10 ** power) for power in range(_MOST_DIGITS + 2)])
_SHIFTS = np.array([10 ** power for power in range(_MOST_DIGITS + 1)] + [0], np.uint64)  # the last is for 0 in front of the point
_EXACT = np.uint64(1 << 53)  # integers up to here are exact as doubles, so that dividing them rounds once and right
_BELOW_FLOAT = np.uint64((1 << 29) - 1)  # the bits of a double that a float32 has not
_NEAR_HALF = np.uint64((1 << 28) - 8)


class Numbers:
    """A list of numbers in a document, not read yet."""

    def __init__(self, body: bytes, first: int, last: int) -> None:
        self._body = body
        self._first = first
        self._last = last

    def read(self, dtype: Any) -> Optional[Any]:
        """The array, in its shape. dtype: float32 or float64, rounded as a double that was cast; or int64, for which every
        number must be whole. None if the list is ragged, empty, no JSON, or has numbers that need the usual way."""
        sample = self._body[self._first:self._first + _LEAST]
        if any(blank in sample for blank in (b"\n", b"\r", b"\t", b"[ ", b" ]", b" ,")):
            text = self._body[self._first:self._last]
            dense = text.translate(None, b" \t\r\n")
            if _beginnings(dense) != _beginnings(text):
                return None  # a blank inside a number
            return _Reading(dense, 0, len(dense), np.dtype(dtype)).array()
        return _Reading(self._body, self._first, self._last, np.dtype(dtype)).array()


def split(body: bytes) -> Optional[Any]:
    """The document with Numbers in place of its long lists of numbers; None if there are none or that cannot be told surely."""
    if len(body) < _LEAST:
        return None
    found: List[Numbers] = []
    rest: List[bytes] = []
    position = 0
    for first, last in _lists(body):
        rest += [body[position:first], json.dumps(_PLACE % len(found)).encode("ascii")]
        found.append(Numbers(body, first, last))
        position = last
        # Without backslashes, which are refused below, an odd number of quotation marks means: inside a string.
        if rest[-2].count(b'"') % 2:
            return None
    rest.append(body[position:])
    if not found or any(b"\\" in part for part in rest[::2]):
        return None
    try:
        return _fill_in(json.loads(b"".join(rest).decode("utf-8")), found)
    except (ValueError, RecursionError):
        return None


def _fill_in(value: Any, found: List[Numbers]) -> Any:
    if isinstance(value, dict):
        return {name: _fill_in(item, found) for name, item in value.items()}
    if isinstance(value, list):
        return [_fill_in(item, found) for item in value]
    return found[int(value[1:])] if isinstance(value, str) and value[:1] == "\0" else value


def _lists(body: bytes) -> List[Tuple[int, int]]:
    """Where the long lists of numbers begin and end; empty if the document is not mainly made of them."""
    first, last = body.find(b"["), body.rfind(b"]") + 1
    if first < 0 or last < first:
        return []
    if body.find(b'"', first, last) < 0:  # one list, without names in it
        return [(first, last)]
    others = np.flatnonzero(_OTHER[np.frombuffer(body, np.uint8)])
    if len(others) > len(body) // 64:
        return []
    found = []
    for gap in np.flatnonzero(np.diff(others) > _LEAST // 4).tolist():
        first = body.find(b"[", others[gap], others[gap + 1])
        last = body.rfind(b"]", others[gap], others[gap + 1]) + 1
        if first < 0 or last <= first:
            return []
        found.append((first, last))
    return found


def _beginnings(text: bytes) -> int:
    """How many times a number begins."""
    inside = np.frombuffer(text.translate(_INSIDE), np.bool_)
    return int(np.count_nonzero(inside[1:] > inside[:-1]))


class _Reading:
    """The reading of one list, without blanks other than one after a comma, in chunks from bracket or comma to the same."""

    def __init__(self, text: bytes, first: int, last: int, dtype: Any) -> None:
        self._text = text
        self._first = first
        self._last = last
        self._dtype = dtype
        self._structure: List[bytes] = []  # the brackets and commas of each chunk
        self._values: List[Any] = []

    def array(self) -> Optional[Any]:
        octets = np.frombuffer(self._text, np.uint8)
        position, end = self._first, self._last - 1
        while position < end:
            stop = self._text.find(b",", position + _CHUNK, end)
            stop = end if stop < 0 else stop
            missing = np.zeros(max(_MARGIN - position, 0), np.uint8)
            chunk = octets[max(position - _MARGIN, 0):stop + 1]
            if not self._chunk(np.concatenate((missing, chunk)) if missing.size else chunk):
                return None
            position = stop
        if not self._values:
            return None
        shape = _shape(b"".join(self._structure) + self._text[end:end + 1])
        values = np.concatenate(self._values)
        return values.reshape(shape) if shape is not None and int(np.prod(shape, dtype=np.int64)) == values.size else None

    def _chunk(self, octets: Any) -> bool:
        """Takes the numbers of a chunk, which has a margin before it. False if the usual way must be gone."""
        content = octets[_MARGIN:]
        marked = content - np.uint8(_ZERO) > 9
        blank = content == _SPACE
        if blank.any():
            if (blank[1:] & (content[:-1] != _COMMA)).any():
                return False
            marked ^= blank
        marks = np.flatnonzero(marked)
        marks += _MARGIN
        kinds = octets[marks]
        structure = (kinds == _COMMA) | (kinds == _OPEN) | (kinds == _CLOSE)
        kept = structure | (kinds == _POINT)
        strange = marks[:0]
        if not kept.all():
            strange, marks, structure, kinds = _strange(octets, marks[~kept]), marks[kept], structure[kept], kinds[kept]
        bounds = np.flatnonzero(structure)
        places, kinds = marks[bounds], kinds[bounds]
        self._structure.append(kinds[:-1].tobytes())
        start = places[:-1] + 1
        start += octets[start] == _SPACE
        full = np.flatnonzero(places[1:] > start)
        if not full.size:
            return True
        if (kinds[full] == _CLOSE).any() or (kinds[full + 1] == _OPEN).any():
            return False
        steps = np.diff(bounds)[full]  # 1, or 2 with a point
        if steps.max() > 2:
            return False
        closing = places[full + 1]
        return self._numbers(octets, start[full], marks[bounds[full] + 1], closing, np.searchsorted(closing, strange))

    def _numbers(self, octets: Any, start: Any, point: Any, closing: Any, strange: Any) -> bool:
        """Takes numbers from start to closing, with a point, or at closing where there is none; strange: the not so plain ones."""
        negative = octets[start] == _MINUS
        signed = bool(negative.any())
        begin = start + negative if signed else start
        pointed = point < closing
        before, after = point - begin, closing - point - pointed
        odd = before + after > _MOST_DIGITS
        if odd.any():  # but zeros in front are no digits that count
            odd &= (before > 1) | (after > _MOST_DIGITS + 1) | (octets[begin] != _ZERO) | (octets[np.minimum(point + 1, closing)] != _ZERO)
        odd[strange] = True
        wrong = (before < 1) | (before > 1) & (octets[begin] == _ZERO) | pointed & (after < 1)
        any_odd = bool(odd.any())
        if any_odd:
            wrong &= ~odd
            before[odd] = after[odd] = 0
        if wrong.any():
            return False
        single = before.max() <= 1 and not any_odd
        digits = (octets[begin] - np.uint8(_ZERO)).astype(np.uint64) if single else _digits(octets, point, before)
        if self._dtype.kind == "i":
            if any_odd or pointed.any() or (digits >> np.uint64(63)).any():
                return False
            values = digits.view(np.int64)
            self._values.append(np.where(negative, -values, values))
            return True
        if pointed.any():
            digits = digits * _SHIFTS[after] + _digits(octets, closing, after)
        values = self._doubles(digits, after, odd)
        if signed:
            np.negative(values, out=values, where=negative)
            values[~pointed] += 0.0  # -0 is an integer, which has no sign; -0.0 keeps it
        if not self._one_by_one(values, octets, start, closing, np.flatnonzero(odd)):
            return False
        self._values.append(values.astype(self._dtype))
        return True

    def _doubles(self, digits: Any, after: Any, odd: Any) -> Any:
        """The values of so many digits, of which some stand after the point. Marks as odd what may be rounded wrongly."""
        values = digits.astype(np.float64)
        inexact = digits >= _EXACT
        if after.any():
            values /= _POWERS[after]
        if self._dtype.itemsize == 4:
            # Two roundings may leave the double one step off. That shows only if it is half way between two floats.
            inexact &= (values.view(np.uint64) & _BELOW_FLOAT) - _NEAR_HALF <= np.uint64(16)
        odd |= inexact
        return values

    def _one_by_one(self, values: Any, octets: Any, start: Any, closing: Any, places: Any) -> bool:
        largest = float(np.finfo(self._dtype).max)
        for place in places.tolist():
            text = octets[start[place]:closing[place]].tobytes()
            if _NUMBER.fullmatch(text) is None:
                return False
            values[place] = float(text)
            if not abs(values[place]) <= largest:
                return False
        return True


def _strange(octets: Any, marks: Any) -> Any:
    """Of marks that are neither structure nor points, those that are not a minus in front of a number."""
    before = octets[marks - 1]
    front = (before == _COMMA) | (before == _OPEN) | (before == _SPACE)
    return marks[~(front & (octets[marks] == _MINUS))]


def _digits(octets: Any, end: Any, count: Any) -> Any:
    """The values (uint64) of the so many digits, at most 20, that end before each place."""
    eights: Any = np.ndarray((len(octets) - 7,), "<u8", octets, 0, (1,))  # eight bytes from every position on
    most = int(count.max())
    values = _eight(eights[end - 8], np.minimum(count, 8) if most > 8 else count)
    if most > 8:
        values += _eight(eights[end - 16], np.clip(count - 8, 0, 8)) * np.uint64(10 ** 8)
    if most > 16:
        values += _eight(eights[end - 24], np.maximum(count - 16, 0)) * np.uint64(10 ** 16)
    return values


def _eight(eights: Any, count: Any) -> Any:
    """The value of the last so many of eight digits: first of pairs, then of fours, then of all."""
    eights &= _MASKS[count]
    eights *= np.uint64(10 * (1 << 8) + 1)
    eights >>= np.uint64(8)
    eights &= np.uint64(0x00FF00FF00FF00FF)
    eights *= np.uint64(100 * (1 << 16) + 1)
    eights >>= np.uint64(16)
    eights &= np.uint64(0x0000FFFF0000FFFF)
    eights *= np.uint64(10000 * (1 << 32) + 1)
    eights >>= np.uint64(32)
    return eights


def _shape(structure: bytes) -> Optional[Tuple[int, ...]]:
    """The shape of the regular list with these brackets and commas; None if it is not regular."""
    depth = len(structure) - len(structure.lstrip(b"["))
    if depth > _MOST_DIMENSIONS:
        return None
    sizes: List[int] = []
    pattern = b""
    for level in range(1, depth + 1):
        end = structure.find(b"]" * level) + level - 1  # where the first list of this level closes
        inside = end - (depth - level + 1)
        size = (inside + 1) // (len(pattern) + 1)
        if size < 1:
            return None
        sizes.insert(0, size)
        pattern = b"[" + (pattern + b",") * (size - 1) + pattern + b"]"
        if len(pattern) > len(structure):
            return None
    return tuple(sizes) if pattern == structure else None
