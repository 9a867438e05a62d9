"""Records golden answers: the inputs and outputs of a reference build, run in batches, one example for each request."""

import os
from typing import Any, Dict, List

import numpy as np

from tfleet import files
from tfleet.client import golden
from tfleet.errors import TfleetError
from tfleet.measure import diagnosis
from tfleet.measure.asking import Asker, split
from tfleet.measure.builds import Build
from tfleet.measure.progress import Progress
from tfleet.measure.requests import Source

_FLOATS = {"abs": 1e-4, "rel": 1e-3}
"""What another processor, or another batch, makes of float32. Whole numbers and texts have to be equal."""


def record(
    build: Build,
    source: Source,
    path: str,
    meta: Dict[str, Any],
    tolerance: Dict[str, Dict[str, float]],
) -> Dict[str, Any]:
    """Asks the build and writes the golden file. `meta` holds model, and labels if there are any.

    Returns {"golden", "changed", "examples", "rows", "outputs", "tolerance", "seconds", "bytes"}. Raises TfleetError, and writes nothing, if a
    tolerance is for an output that the model does not have, or if the build is not the same each time: nobody could be held to its answers.
    """
    asker = Asker(build)
    examples: List[Any] = []
    rows = 0
    with Progress("recording", None) as progress:
        for batch in source.batches():
            answer = asker(batch)
            if not examples:
                _check(build, answer, tolerance)
                unsound = diagnosis.repeats(asker, batch, answer, "model")
                if unsound:
                    raise TfleetError("Nothing was recorded from %s. %s" % (build.source, unsound[0]["message"]), diagnoses=unsound)
            examples += zip(_inputs(batch), split(answer, batch.sizes))
            rows += sum(batch.sizes)
            progress.step(sum(batch.sizes))
    if not examples:
        raise TfleetError("There was nothing to record from %s: no request was given." % build.source)
    outputs = examples[0][1]
    chosen = {alias: tolerance.get(alias) or _default(outputs[alias]) for alias in sorted(outputs)}
    whole = dict(meta, signature_name=build.signature_name, tolerance=chosen)
    content = golden.encode(path, whole, examples)
    changed = not _holds(path, content)
    if changed:
        files.atomic_write(path, content)
    return {
        "golden": path,
        "changed": changed,
        "signature": build.signature_name,
        "examples": len(examples),
        "rows": rows,
        "outputs": sorted(outputs),
        "tolerance": chosen,
        "seconds": round(asker.seconds, 4),
        "bytes": len(content),
    }


def tolerances(options: List[str]) -> Dict[str, Dict[str, float]]:
    """{output: {"abs", "rel"}} from texts OUTPUT=ABS or OUTPUT=ABS,REL. Raises TfleetError."""
    found = {}
    for option in options:
        alias, equals, text = option.partition("=")
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if not equals or not alias or len(numbers) not in (1, 2) or not all(0 <= number < float("inf") for number in numbers):
            raise TfleetError("'%s' is not a tolerance: write OUTPUT=ABSOLUTE or OUTPUT=ABSOLUTE,RELATIVE, such as scores=1e-4,1e-3." % option)
        found[alias] = {"abs": numbers[0], "rel": numbers[1] if len(numbers) == 2 else 0.0}
    return found


def _check(build: Build, answer: Dict[str, np.ndarray], tolerance: Dict[str, Any]) -> None:
    unknown = sorted(set(tolerance) - set(answer))
    if unknown:
        raise TfleetError("There is a tolerance for output '%s', which %s does not have. Its outputs are: %s." % (
            unknown[0], build.source, ", ".join(sorted(answer))))  # fmt: skip


def _inputs(batch: Any) -> List[Dict[str, np.ndarray]]:
    rows = sum(batch.sizes)
    if len(batch.sizes) == 1:
        return [batch.arrays]
    return split({alias: array[:rows] for alias, array in batch.arrays.items()}, batch.sizes)


def _default(array: np.ndarray) -> Dict[str, float]:
    return dict(_FLOATS) if array.dtype.kind in "fc" else {"abs": 0.0, "rel": 0.0}


def _holds(path: str, content: bytes) -> bool:
    try:
        if os.path.getsize(path) != len(content):
            return False
        with open(path, "rb") as stream:
            return stream.read() == content
    except OSError:
        return False
