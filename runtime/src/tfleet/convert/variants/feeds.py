"""What a conversion feeds the model: made-up inputs of the shapes that engines are built for, and real ones for calibration."""

from typing import Any, Callable, Dict, Iterator, List

import numpy as np

from tfleet.convert.framework import shape_text
from tfleet.convert.signatures import did_you_mean
from tfleet.convert.variants.request import Request
from tfleet.errors import TfleetError

# {alias: {"dtype", "shape"}}
Inputs = Dict[str, Dict[str, Any]]
Arrays = Dict[str, np.ndarray]


def shapes(request: Request, inputs: Inputs) -> List[Dict[str, List[int]]]:
    """The shapes of all inputs, once for each engine that is to be built. Raises TfleetError for a free size that nobody gave."""
    unknown = sorted(set(request.shapes) - set(inputs))
    if unknown:
        raise TfleetError("The signature has no input `%s`.%s Its inputs are: %s." % (unknown[0], did_you_mean(unknown[0], inputs), ", ".join(inputs)))
    counts = {len(listed) for listed in request.shapes.values()}
    if len(counts) > 1:
        raise TfleetError("The inputs have different numbers of shapes: give as many --shape for each of them, in the same order.")
    found = []
    for number in range(max(counts or {1})):
        sizes: List[Any] = list(request.batch_sizes) or [None]
        for size in sizes:
            shape = {alias: _shape(alias, info, request, number, size) for alias, info in inputs.items()}
            if shape not in found:
                found.append(shape)
    return found


def _shape(alias: str, info: Dict[str, Any], request: Request, number: int, batch: Any) -> List[int]:
    declared, given = info["shape"], request.shapes.get(alias)
    if given:
        shape = list(given[number])
        if declared is not None and (len(declared) != len(shape) or any(free not in (-1, size) for free, size in zip(declared, shape))):
            raise TfleetError("The shape %s does not fit the input `%s`, which is %s. Correct --shape." % (shape_text(shape), alias, shape_text(declared)))
        return [batch] + shape[1:] if batch and (declared is None or declared[0] == -1) else shape
    if declared is None or any(size == -1 for size in declared[1:]):
        raise TfleetError(
            "The input `%s` is %s, and an engine has fixed sizes: give the shapes that clients send, for example --shape %s=1x300x300x3 (several "
            "of them and --dynamic-shape make a profile), or leave the building to the first requests (--no-build)." % (alias, shape_text(declared), alias)
        )
    if declared and declared[0] not in (-1, batch or 1) and batch:
        sentence = "The input `%s` is %s: its batch is fixed, so there can be no engine for a batch of %d. Leave --batch-sizes out."
        raise TfleetError(sentence % (alias, shape_text(declared), batch))
    return [batch or 1] + declared[1:] if declared and declared[0] == -1 else list(declared)


def made_up(request: Request, inputs: Inputs, report: Callable[..., None]) -> Iterator[Arrays]:
    """Random inputs of each shape. Raises TfleetError for an input that cannot be made up."""
    strings = sorted(alias for alias, info in inputs.items() if info["dtype"] == "string")
    if strings:
        raise TfleetError(
            "The input `%s` is text or encoded pictures, which cannot be made up to build engines. Convert a signature that takes pixels, or "
            "leave the building to the first requests (--no-build; warm-up requests beside the model bring them before clients do)." % strings[0]
        )
    wanted = shapes(request, inputs)
    generator = np.random.RandomState(0)
    for done, listed in enumerate(wanted):
        report("building engines", done=done, total=len(wanted))
        yield {alias: _values(generator, listed[alias], np.dtype(inputs[alias]["dtype"])) for alias in inputs}
    report("building engines", done=len(wanted), total=len(wanted))


def _values(generator: Any, shape: List[int], dtype: Any) -> np.ndarray:
    if dtype.kind == "f":
        return generator.random_sample(shape).astype(dtype)
    return generator.randint(0, 2, shape).astype(dtype)


def calibration(request: Request, inputs: Inputs, report: Callable[..., None], batch: int) -> Iterator[Arrays]:
    """Batches of calibration data, all of the same shape, as TF-TRT wants them. Raises TfleetError for a file that does not fit the inputs."""
    from tfleet import examples

    done, first = 0, None
    for arrays, shown in examples.batches(request.calibration, inputs, batch, request.calibration_examples, (request.values[0], request.values[1])):
        shape = {alias: array.shape for alias, array in arrays.items()}
        if first is None:
            first = shape
        elif shape != first:
            continue  # the last batch, which is smaller
        yield arrays
        done += len(shown)
        report("calibrating", done=done, total=request.calibration_examples)
    if first is None:
        raise TfleetError("The calibration file %s holds no examples. Write them with `tfleet tfrecord write`." % ", ".join(request.calibration))
