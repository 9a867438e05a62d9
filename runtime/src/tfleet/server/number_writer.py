"""Writes float32 arrays as JSON lists, many numbers at once: several times as fast as the json module, to the same digits as
`json_text.decimals`, which writes the few that are not plain (very large or small, not finite, or half way between two texts).

The digits of all numbers are worked out as integers and looked up four at a time, written into a table of bytes with one
row for each number, and what is not wanted of each row (zeros in front and behind, the sign) is left out in one step.
"""
from typing import Any, Optional, Sequence, Tuple

import numpy as np

from . import json_text

_CHUNK = 1 << 14  # numbers that are worked on at once
_LEAST = 256  # numbers: below, a list of texts is as fast

_LOW, _HIGH = -4, 5  # powers of ten of the first digit, for which %g writes no exponent
_TENS = np.array([float(10 ** power) for power in range(13)])
_LIMITS = [1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4, 1e5]
_WHOLE_TENS = np.array([10 ** power for power in range(13)], np.int64)

# A row: minus, eight places, point, twelve places; in groups of four, hence the gaps.
_SIGN, _POINT, _WIDTH = 3, 12, 28
_FOURS = np.array([list(b"%04d" % value) for value in range(10000)], np.uint8).view(np.uint32)[:, 0].copy()
_ENDING_ZEROS = np.array([next((zeros for zeros in range(4, 0, -1) if value % 10 ** zeros == 0), 0) for value in range(10000)], np.int64)


def _wanted_places() -> Any:
    """[negative, digits before the point, digits after it] -> which bytes of a row to write."""
    wanted = np.zeros((2, 9, 13, _WIDTH), np.bool_)
    for before in range(1, 9):
        for after in range(1, 13):
            wanted[1, before, after, _SIGN] = True
            wanted[:, before, after, _POINT - before:_POINT + 1] = True
            wanted[:, before, after, 16:16 + after] = True
    return wanted.reshape(-1, _WIDTH)


_WANTED = _wanted_places()


def takes(array: Any) -> bool:
    """Whether nested() is for this array."""
    return bool(array.dtype == np.float32 and array.size >= _LEAST)


def nested(array: Any, depth: Optional[int]) -> str:
    """The array as nested JSON lists: what json_text.nested makes of the texts of its numbers."""
    inner, outer = [], []
    for level in range(array.ndim):
        inner.append("" if depth is None else "\n" + json_text.INDENT * (depth + level + 1))
        outer.append("" if depth is None else "\n" + json_text.INDENT * (depth + level))
    comma = ", " if depth is None else ","

    def opened(count: int) -> str:
        return "".join("[" + inner[level] for level in range(array.ndim - count, array.ndim))

    def closed(count: int) -> str:
        return "".join(outer[level] + "]" for level in range(array.ndim - 1, array.ndim - 1 - count, -1))

    separators = [closed(count) + comma + inner[array.ndim - 1 - count] + opened(count) for count in range(array.ndim)]
    return opened(array.ndim) + _numbers(array, [text.encode("ascii") for text in separators]).decode("ascii") + closed(array.ndim)


def _numbers(array: Any, separators: Sequence[bytes]) -> bytes:
    """The numbers in row-major order. separators[k] stands where k inner lists end and begin again."""
    levels = _levels(array.shape)
    flat = np.ascontiguousarray(array).reshape(-1)
    width = max(map(len, separators))
    between = np.zeros((len(separators), width), np.uint8)
    wanted = np.zeros((len(separators), width), np.bool_)
    for level, text in enumerate(separators):
        between[level, :len(text)] = list(text)
        wanted[level, :len(text)] = True
    parts = []
    for start in range(0, flat.size, _CHUNK):
        level = levels[start:start + _CHUNK]
        rows, mask = _rows(flat[start:start + _CHUNK], width)
        rows[:, :width] = between[level]
        mask[:, :width] = wanted[level]
        if not start:
            mask[0, :width] = False
        parts.append(rows[mask].tobytes())
    return b"".join(parts)


def _levels(shape: Tuple[int, ...]) -> Any:
    """For each element, how many inner lists begin with it."""
    levels = np.zeros(1, np.uint8)
    for size in reversed(shape):
        levels = np.tile(levels, size)
        levels[0] += 1
    return np.minimum(levels, np.uint8(len(shape) - 1))


def _rows(values: Any, width: int) -> Tuple[Any, Any]:
    """The bytes of each number, after so many for its separator, and which of them to write."""
    count = len(values)
    digits, power, odd = _digits(values)
    decimals = 8 - power
    before, after = np.divmod(digits, _WHOLE_TENS[decimals])
    after *= _WHOLE_TENS[12 - decimals]
    rows = np.zeros((count, (width + 3) // 4 * 4 + _WIDTH), np.uint8)
    body = rows[:, -_WIDTH:]
    groups = rows.view(np.uint32)[:, -_WIDTH // 4:]
    high, low = np.divmod(before, 10000)
    groups[:, 1] = _FOURS[high]
    groups[:, 2] = _FOURS[low]
    first, rest = np.divmod(after, 10 ** 8)
    second, third = np.divmod(rest, 10000)
    for place, group in ((4, first), (5, second), (6, third)):
        groups[:, place] = _FOURS[group]
    body[:, _SIGN] = ord("-")
    body[:, _POINT] = ord(".")
    zeros = _ENDING_ZEROS[third]
    zeros += np.where(third == 0, _ENDING_ZEROS[second], 0)
    zeros += np.where(rest == 0, _ENDING_ZEROS[first], 0)
    index = np.signbit(values) * 9 + np.maximum(power + 1, 1)
    index = index * 13 + np.maximum(12 - zeros, 1)
    mask = np.zeros(rows.shape, np.bool_)
    mask[:, -_WIDTH:] = _WANTED[index]
    places = np.flatnonzero(odd)
    if places.size:
        texts = np.array(json_text.decimals(values[places]), "S%d" % _WIDTH).view(np.uint8).reshape(-1, _WIDTH)
        body[places] = texts
        mask[places, -_WIDTH:] = texts != 0
    return rows, mask


def _digits(values: Any) -> Tuple[Any, Any, Any]:
    """Nine digits of each number as an integer, the power of ten of the first, and which numbers must be written otherwise.

    Six digits, followed by zeros, if these are the number's, as with %g.
    """
    with np.errstate(invalid="ignore"):
        sizes = np.abs(values).astype(np.float64)
    zero = sizes == 0
    odd = ~((sizes >= 1e-4) & (sizes < 1e6) | zero)
    sizes[odd | zero] = 1.0
    power = np.full(len(values), _LOW, np.int64)
    for limit in _LIMITS:
        power += sizes >= limit
    # Products of a float32 and a power of ten are rounded once: only near a half can that change the digits.
    scaled = sizes * _TENS[8 - power]
    nine = np.rint(scaled)
    odd |= np.abs(np.abs(scaled - nine) - 0.5) < 1e-6
    scale = _TENS[_HIGH - power]
    scaled = sizes * scale
    six = np.rint(scaled)
    short = (six / scale).astype(np.float32) == sizes
    odd |= (np.abs(np.abs(scaled - six) - 0.5) < 1e-6) | (nine >= 1e9)
    digits = np.where(short, six * 1000, nine)
    carried = short & (six >= 1e6)
    digits[carried] = 1e8
    power += carried
    odd |= power > _HIGH
    digits[zero | odd] = 0
    power[zero | odd] = 0
    return digits.astype(np.int64), power, odd
