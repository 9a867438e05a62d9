"""From Examples to what a model takes: pictures in its dtype, size and range of values, arrays in its shape, in batches."""

from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np

from tfleet.client import inputs as client_inputs
from tfleet.errors import TfleetError
from tfleet.examples.features import Example
from tfleet.examples.shards import Paths, read

# The inputs of a signature as `tfleet inspect` tells them: {alias: {"dtype": "float32", "shape": [-1, 28, 28, 1]}}
Inputs = Dict[str, Dict[str, Any]]
Batch = Tuple[Dict[str, np.ndarray], List[Example]]


def value_range(text: str) -> Tuple[float, float]:
    """``(0.0, 1.0)`` of ``0..1``. Raises ValueError."""
    low, dots, high = text.partition("..")
    if not dots or float(low) >= float(high):
        raise ValueError("a range of values is written LOW..HIGH, such as 0..1, -1..1 or 0..255, not %r" % text)
    return float(low), float(high)


def batches(
    paths: Paths, inputs: Inputs, batch_size: int, limit: Optional[int] = None, values: Tuple[float, float] = (0.0, 1.0)
) -> Iterator[Batch]:
    """``(arrays by alias, Examples in their rows)`` for a model's ``inputs``, at most ``batch_size`` rows each, ``limit`` Examples in all.

    An input is filled by the feature of its name, else by the picture: its file's bytes for a string, its pixels for numbers, resized to
    the input's height and width, in grey where it has one channel, from 0 to 255 for integers and over the range ``values`` for floats.
    A batch ends early where the next picture has another size and the input takes any. An input with a fixed batch gets exactly that:
    what is left over in the end is repeated to fill it, and ``shown`` tells how many rows are real.

    Raises TfleetError, naming the Example and the input, where they do not match.
    """
    fixed = {info["shape"][0] for info in inputs.values() if info["shape"] and _batched(info) and info["shape"][0] > 0}
    if len(fixed) > 1:
        raise TfleetError("The model's inputs have different fixed batches (%s): no Examples fill them." % ", ".join(map(str, sorted(fixed))))
    size = fixed.pop() if fixed else max(1, batch_size)
    rows: List[Dict[str, np.ndarray]] = []
    shown: List[Example] = []
    for number, example in enumerate(read(paths)):
        if limit is not None and number >= limit:
            break
        row = {alias: _row(example, number, alias, info, values) for alias, info in inputs.items()}
        if rows and (len(rows) == size or any(row[alias].shape != rows[0][alias].shape for alias in row)):
            yield _stacked(rows, inputs, size), shown
            rows, shown = [], []
        rows.append(row)
        shown.append(example)
    if rows:
        yield _stacked(rows, inputs, size), shown


def _batched(info: Dict[str, Any]) -> bool:
    """Whether the input's first dimension counts examples: in all inputs but scalars and single pictures, [?, ?, 3] or [8, 8, 1]."""
    shape = info["shape"]
    if shape is None or len(shape) != 3 or shape[2] not in (1, 3, 4):
        return shape is None or len(shape) > 0
    return bool(shape[0] < 0 < shape[1])


def _stacked(rows: List[Dict[str, np.ndarray]], inputs: Inputs, size: int) -> Dict[str, np.ndarray]:
    arrays = {}
    for alias, info in inputs.items():
        if not _batched(info):
            if len(rows) > 1:
                raise TfleetError("Input `%s` takes one example at a time (its shape %s has no batch): ask for a batch size of 1." % (alias, info["shape"]))
            arrays[alias] = rows[0][alias]
            continue
        filled = [row[alias] for row in rows]
        if info["shape"] and info["shape"][0] > 0:
            filled += [filled[-1]] * (size - len(filled))
        arrays[alias] = np.stack(filled)
    return arrays


def _row(example: Example, number: int, alias: str, info: Dict[str, Any], values: Tuple[float, float]) -> np.ndarray:
    """What one Example gives one input, without the batch dimension."""
    where = "Example %d%s" % (number, " (%s)" % example.name if example.name else "")
    wanted = None if info["shape"] is None else list(info["shape"][1:] if _batched(info) else info["shape"])
    if alias in example.arrays:
        return _reshaped(example.arrays[alias], where, alias, info, wanted)
    if example.image is None:
        raise TfleetError(
            "%s has neither a feature `%s` nor a picture for that input. Its features are: %s. Write the file for this model: an input is filled by "
            "the feature of its name, or by image/encoded." % (where, alias, ", ".join(sorted(example.arrays)) or "none")
        )
    if info["dtype"] == "string":
        array = np.empty((), dtype=object)
        array[()] = example.image
        return array
    if wanted is not None and len(wanted) != 3:
        raise TfleetError(
            "%s is a picture, but the input `%s` is %s %s, which takes none. Write Examples with a feature `%s`, or name the input that takes "
            "pictures." % (where, alias, info["dtype"], info["shape"], alias)
        )
    picture = client_inputs.decode_image(example.image, where)
    return client_inputs.pixels(picture, wanted or [-1, -1, -1], np.dtype(info["dtype"]), values, "%s, input `%s`" % (where, alias))


def _reshaped(array: np.ndarray, where: str, alias: str, info: Dict[str, Any], wanted: Optional[List[int]]) -> np.ndarray:
    strings = info["dtype"] == "string"
    if (array.dtype.kind == "O") != strings:
        raise TfleetError("%s: its feature `%s` is %s, but the input is %s." % (where, alias, "text" if array.dtype.kind == "O" else "numbers", info["dtype"]))
    wanted = wanted if wanted is not None else [len(array)]
    try:
        # One free dimension can be told from the number of values, two cannot.
        array = array.reshape(wanted)
    except ValueError:
        raise TfleetError(
            "%s: its feature `%s` has %d values, which do not fill the input's shape %s (without the batch)." % (where, alias, array.size, wanted)
        )
    return array if strings else array.astype(np.dtype(info["dtype"]))
