"""What builds are asked: golden inputs, pictures, labelled Examples or random numbers, put together to batches.

A Source is read once for each build that is compared; what fits into memory is decoded once.
"""

from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from tfleet.client import golden as goldens
from tfleet.client import inputs as client_inputs
from tfleet.errors import TfleetError
from tfleet.measure import builds

Arrays = Dict[str, np.ndarray]

Batch = NamedTuple(
    "Batch",
    [
        ("arrays", Arrays),
        ("sizes", List[int]),  # rows of each request in it; together fewer than there are where a fixed batch was filled up
        ("names", List[str]),  # of each request
        ("examples", Optional[List[Any]]),  # tfleet.examples.Example of each row
        ("expected", Optional[Arrays]),  # recorded outputs
    ],
)

_KEPT = 256 * 1024 * 1024
_FREE_SIZE = 224
"""Random pictures have this size where a model takes any."""
_SEED = 20
_INTEGERS = {"uint8": 256, "int8": 128}


class Source(object):
    """Batches of requests, the same ones each time; `make` gives a fresh iterator of them."""

    def __init__(self, make: Any) -> None:
        self._make = make
        self._kept: List[Batch] = []
        self._complete = False

    def batches(self) -> Iterator[Batch]:
        """All batches, in their order. Raises TfleetError for files that cannot be used."""
        for batch in self._kept:
            yield batch
        if self._complete:
            return
        size = sum(_bytes(batch) for batch in self._kept)
        full = False
        for place, batch in enumerate(self._make()):
            if place < len(self._kept):
                continue
            size += _bytes(batch)
            full = full or size > _KEPT
            if not full:
                self._kept.append(batch)
            yield batch
        self._complete = not full


def of_golden(recorded: goldens.Golden, free: bool, batch_size: int, limit: Optional[int] = None) -> Source:
    """The inputs of a golden file with its recorded outputs. Examples are put together where `free` (see rows_are_free)."""
    examples = recorded.examples[:limit]
    requests = [("example %d" % number, sent, expected) for number, (sent, expected) in enumerate(examples)]
    return Source(lambda: _together(requests, free, batch_size))


def of_arrays(requests: Sequence[Tuple[str, Arrays]], free: bool, batch_size: int, limit: Optional[int] = None) -> Source:
    """Requests that are in memory, by name."""
    named = [(name, arrays, None) for name, arrays in requests[:limit]]
    return Source(lambda: _together(named, free, batch_size))


def of_images(
    paths: Sequence[str], signature: Any, batch_size: int, limit: Optional[int] = None, values: Tuple[float, float] = (0.0, 1.0)
) -> Source:
    """Pictures, one request each, as `tfleet predict --image` sends them; `values` as in of_tfrecord."""

    def make() -> Iterator[Batch]:
        lazy = ((path, client_inputs.from_image(path, signature, values)[0], None) for path in paths[:limit])
        return _together(lazy, builds.rows_are_free(signature), batch_size)

    return Source(make)


def of_tfrecord(
    paths: Sequence[str], signature: Any, batch_size: int, limit: Optional[int], values: Tuple[float, float] = (0.0, 1.0)
) -> Source:
    """Examples of TFRecord files, with their labels. `values` is the range of a picture's numbers where the input takes floats."""

    def make() -> Iterator[Batch]:
        from tfleet import examples

        size = batch_size if builds.rows_are_free(signature) else 1
        number = 0
        for arrays, shown in examples.batches(list(paths), builds.described_inputs(signature), size, limit, values):
            names = [example.name or "example %d" % (number + place) for place, example in enumerate(shown)]
            number += len(shown)
            yield Batch(arrays, [1] * len(shown), names, list(shown), None)

    return Source(make)


def of_random(signature: Any, rows: int, batch_size: int) -> Source:
    """Seeded random rows of the signature's shapes and dtypes: floats from 0 to 1, small whole numbers, every value of a byte."""
    described = builds.described_inputs(signature)
    free = builds.rows_are_free(signature)

    def make() -> Iterator[Batch]:
        # RandomState: the same numbers in every numpy.
        random = np.random.RandomState(_SEED)
        size = min(batch_size, rows) if free else 1
        for start in range(0, rows, size):
            count = min(size, rows - start)
            arrays = {alias: _random(random, alias, described[alias], count) for alias in sorted(described)}
            first = next(iter(arrays.values()))
            held = count if free else (len(first) if first.ndim else 1)
            sizes = [1] * count if free else [held]
            yield Batch(arrays, sizes, ["random row %d" % (start + place) for place in range(len(sizes))], None, None)

    return Source(make)


def _random(random: Any, alias: str, info: Dict[str, Any], rows: int) -> np.ndarray:
    if info["dtype"] == "string" or info["shape"] is None:
        raise TfleetError("Input '%s' (%s %s) cannot be filled with random values: give golden examples, pictures or a TFRecord file." % (
            alias, info["dtype"], info["shape"]))
    shape = list(info["shape"])
    if shape and shape[0] < 0:
        shape[0] = rows
    shape = [_FREE_SIZE if size < 0 else size for size in shape]
    dtype = np.dtype(info["dtype"])
    if dtype.kind == "b":
        return np.asarray(random.rand(*shape) < 0.5)
    if dtype.kind in "iu":
        return np.asarray(random.randint(0, _INTEGERS.get(dtype.name, 10), shape)).astype(dtype)
    return np.asarray(random.rand(*shape)).astype(dtype)


def _together(requests: Any, free: bool, batch_size: int) -> Iterator[Batch]:
    """Batches of requests of the same form; each alone where the rows are not free."""
    waiting: List[Any] = []
    for request in requests:
        rows = sum(_rows(sent) for _, sent, _ in waiting)
        if waiting and (not free or _form(request) != _form(waiting[0]) or rows + _rows(request[1]) > batch_size):
            yield _batch(waiting)
            waiting = []
        waiting.append(request)
    if waiting:
        yield _batch(waiting)


def _batch(requests: List[Any]) -> Batch:
    names = [name for name, _, _ in requests]
    expected = None if requests[0][2] is None else _joined([recorded for _, _, recorded in requests])
    return Batch(_joined([sent for _, sent, _ in requests]), [_rows(sent) for _, sent, _ in requests], names, None, expected)


def _joined(several: List[Arrays]) -> Arrays:
    if len(several) == 1:
        return several[0]
    return {alias: np.concatenate([arrays[alias] for arrays in several]) for alias in several[0]}


def _form(request: Any) -> Any:
    """What must be equal of two requests in one batch."""
    _, sent, expected = request
    return [(alias, array.shape[1:], array.dtype.kind) for arrays in (sent, expected or {}) for alias, array in sorted(arrays.items())]


def _rows(arrays: Arrays) -> int:
    first = next(iter(arrays.values()))
    return len(first) if first.ndim else 1


def _bytes(batch: Batch) -> int:
    size = 0
    for array in list(batch.arrays.values()) + list((batch.expected or {}).values()):
        size += sum(map(len, array.reshape(-1))) if array.dtype.kind == "O" else array.nbytes
    return size + sum(len(example.image or b"") for example in batch.examples or ())
