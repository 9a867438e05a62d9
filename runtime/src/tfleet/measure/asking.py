"""Asks a build for a batch, in the portions it takes, and cuts the answers to the rows that were asked for."""

import time
from typing import Dict, List

import numpy as np

from tfleet.client.answers import shape_of
from tfleet.measure.builds import Build
from tfleet.measure.requests import Batch

Arrays = Dict[str, np.ndarray]


class Asker(object):
    """One build, with the seconds that it has spent in answering."""

    def __init__(self, build: Build) -> None:
        self.build = build
        self.seconds = 0.0
        self._fixed = _fixed_rows(build)

    def __call__(self, batch: Batch) -> Arrays:
        """All outputs of the batch, the rows that only fill a fixed batch left out. Raises TfleetError."""
        wanted = sum(batch.sizes)
        held = max((len(array) for array in batch.arrays.values() if array.ndim), default=1)
        if self._fixed and held > self._fixed and held % self._fixed == 0:
            answers = [self.predict(part) for part in _parts(batch.arrays, self._fixed)]
            answer = {alias: np.concatenate([part[alias] for part in answers]) for alias in answers[0]}
        else:
            answer = self.predict(batch.arrays)
        if wanted == held:
            return answer
        return {alias: array[:wanted] if array.ndim and len(array) == held else array for alias, array in answer.items()}

    def predict(self, arrays: Arrays) -> Arrays:
        """One request as it is."""
        begin = time.perf_counter()
        answer = self.build.predict(arrays)
        self.seconds += time.perf_counter() - begin
        return answer


def split(outputs: Arrays, sizes: List[int]) -> List[Arrays]:
    """The outputs of each request of a batch."""
    if len(sizes) == 1:
        return [outputs]
    ends = np.cumsum(sizes)[:-1]
    pieces = {alias: np.split(array, ends) for alias, array in outputs.items()}
    return [{alias: pieces[alias][place] for alias in pieces} for place in range(len(sizes))]


def _parts(arrays: Arrays, rows: int) -> List[Arrays]:
    held = max(len(array) for array in arrays.values() if array.ndim)
    return [
        {alias: array[start : start + rows] if array.ndim and len(array) == held else array for alias, array in arrays.items()}
        for start in range(0, held, rows)
    ]


def _fixed_rows(build: Build) -> int:
    """The rows that a build takes at once, 0 for any number: a converted model may have lost its free batch."""
    shapes = [shape_of(info) for info in build.signature.inputs.values()]
    sizes = {shape[0] for shape in shapes if shape}
    only = sizes.pop() if len(sizes) == 1 else -1
    return max(only, 0)
