"""Which runs of a model are so light that the thread of the request should make them itself.

Handing a run to TensorFlow's threads and waiting for it costs 30 microseconds, and giving up Python's lock meanwhile and getting
it back among other requests up to 100: many times what a small model takes. So a run like one that was finished quickly is
made in the thread of the request, and if that takes next to no time, without giving up the lock. Nothing can stop such a run,
so those whose time depends on more than the shapes of their inputs, or that wait for something, never are. Once the lock is kept,
the thread's own CPU time counts: on a busy machine most of the wall's is that of others, and the place would be lost again and again.
"""
import re
import time
from typing import Dict, Iterable, Optional, Sequence, Tuple

NORMAL, IN_CALLER, WITH_LOCK = range(3)

_QUICK_SECONDS = 0.0005  # to be run in the thread of the request
_INSTANT_SECONDS = 0.0001  # there, to keep the lock
_SLOW_FACTOR = 10  # so much above its limit a run loses its place
_LEAST_TIMEOUT_MS = 100
_MOST_KINDS = 64  # kinds of runs that are remembered: clients choose the outputs
_WAITING = re.compile("While|Enter|NextIteration|Queue|Barrier|Stage|Iterator|Dataset|PyFunc|Batch$|BatchFunction|Collective|Recv|Mutex")
# What takes the size of its output from values: tf.range(n) is 8 bytes of request and any number of bytes of work.
_SIZED_BY_VALUES = re.compile("Range|Fill|Tile|BroadcastTo|LinSpace|Random|Multinomial|Resize|ImageProjective|OneHot|Pad|Sparse|Scatter|Bincount|"
                              "Segment|Ragged|Diag|Empty|BackpropInput|ToSpace|ToBatch|TensorList|Histogram|FFT")

Shapes = Tuple[Tuple[int, ...], ...]


def may_wait(ops: Iterable[str]) -> bool:
    """Whether a graph with these kinds of operations may loop or wait, or work for as long as a value in the request says."""
    return any(_WAITING.search(op) or _SIZED_BY_VALUES.search(op) for op in ops)


class LightRuns:
    """What is known of one model's runs. allowed: False for a model whose runs may wait."""

    def __init__(self, allowed: bool) -> None:
        self._allowed = allowed
        self._known: Dict[Tuple[str, ...], Tuple[Shapes, int]] = {}  # fetches -> shapes of the inputs, how to run

    @staticmethod
    def clock(how: int) -> float:
        """Seconds, to take the difference for learn()."""
        return time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID) if how == WITH_LOCK else time.perf_counter()

    def choose(self, fetches: Tuple[str, ...], shapes: Optional[Shapes], timeout_ms: Optional[int]) -> int:
        """How to run. shapes: of the inputs, None if the time depends on more than these."""
        if not self._allowed or shapes is None or (timeout_ms is not None and timeout_ms < _LEAST_TIMEOUT_MS):
            return NORMAL
        known = self._known.get(fetches)
        return known[1] if known is not None and _within(shapes, known[0]) else NORMAL

    def learn(self, fetches: Tuple[str, ...], shapes: Optional[Shapes], how: int, seconds: float) -> None:
        """A run that was made so took so long."""
        if not self._allowed or shapes is None:
            return
        if how == NORMAL:
            if seconds < _QUICK_SECONDS and (fetches in self._known or len(self._known) < _MOST_KINDS):
                self._known[fetches] = (shapes, IN_CALLER)
        elif seconds > _SLOW_FACTOR * _QUICK_SECONDS:
            self._known.pop(fetches, None)
        elif how == IN_CALLER and seconds < _INSTANT_SECONDS:
            self._known[fetches] = (shapes, WITH_LOCK)
        elif how == WITH_LOCK and seconds > _SLOW_FACTOR * _INSTANT_SECONDS:
            self._known[fetches] = (shapes, IN_CALLER)


def shapes_of(arrays: Sequence) -> Optional[Shapes]:
    """The shapes of numeric arrays, None if there are strings: what these hold may take any time."""
    shapes = []
    for array in arrays:
        if array.dtype.kind == "O":
            return None
        shapes.append(array.shape)
    return tuple(shapes)


def _within(shapes: Shapes, known: Shapes) -> bool:
    # Not by their bytes: [n] and [n] are n sums, [n, 1] and [1, n] as many bytes and n * n.
    if shapes == known:
        return True
    return len(shapes) == len(known) and all(
        len(shape) == len(limits) and all(size <= limit for size, limit in zip(shape, limits)) for shape, limits in zip(shapes, known))


def run_options(how: int, timeout_ms: Optional[int]) -> bytes:
    """A serialized RunOptions: inter_op_thread_pool -1 (field 3) is the caller; timeout_in_ms is int64 field 2, where zero means
    no limit, so 1 is the least."""
    if how != NORMAL:
        return b"\x18" + b"\xff" * 9 + b"\x01"
    if timeout_ms is None:
        return b""
    answer = bytearray(b"\x10")
    value = max(timeout_ms, 1)
    while value > 127:
        answer.append(value & 127 | 128)
        value >>= 7
    answer.append(value)
    return bytes(answer)
