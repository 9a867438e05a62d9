"""The inputs of a golden file as Examples: one for each row, with a feature for each input."""

import os
from typing import Dict, List, Optional, Tuple

import numpy as np

from tfleet.client import golden
from tfleet.errors import TfleetError
from tfleet.examples.features import Example
from tfleet.examples.labelled import Collected


def is_source(source: str) -> bool:
    """Whether this is an .npz file."""
    return os.path.isfile(source) and source.lower().endswith(".npz")


def collect(source: str, _images: Optional[str], _label_map: Optional[Dict[int, str]]) -> Collected:
    """A row of each input array is an Example. Raises TfleetError for inputs without a common batch dimension."""
    examples: List[Tuple[Optional[str], Example]] = []
    for number, (inputs, _outputs) in enumerate(golden.read(source).examples):
        sizes = {len(array) if array.ndim else -1 for array in inputs.values()}
        if len(sizes) != 1 or -1 in sizes:
            raise TfleetError("%s: the inputs of its example %d have no common batch dimension, so they cannot be cut into rows." % (source, number))
        for row in range(sizes.pop()):
            arrays = {alias: _flat(array[row]) for alias, array in inputs.items()}
            examples.append((None, Example("%s-%d-%d" % (os.path.basename(source), number, row), None, None, None, "", None, arrays)))
    return Collected("golden", examples, {}, [])


def _flat(array: np.ndarray) -> np.ndarray:
    """What tf.train.Example holds of it: bytes, 64-bit whole numbers, 32-bit fractions."""
    flat = np.asarray(array).reshape(-1)
    return flat.astype({"f": np.float32, "O": object, "S": object, "U": object}.get(flat.dtype.kind, np.int64))
