"""The requests of a benchmark, each of so many rows, as serialized PredictRequests: what workers and servers are both given."""

from typing import Any, Dict, Iterator, List

import numpy as np

from tfleet import wire
from tfleet.client.answers import shape_of
from tfleet.errors import TfleetError
from tfleet.measure import builds
from tfleet.measure.requests import Source

Arrays = Dict[str, np.ndarray]

MOST = 8
"""So many different requests are asked in turn: a model with non-maximum suppression takes longer for some pictures than for others."""


def make(source: Source, signature: Any, rows: int) -> List[bytes]:
    """Up to MOST requests of `rows` rows. Rows are used again where there are fewer. Raises TfleetError if the model takes another number."""
    if not builds.rows_are_free(signature):
        return [encode(arrays) for arrays in _fixed(source, signature, rows)]
    found: List[Arrays] = []
    for arrays in _cut(source, rows):
        found.append(arrays)
        if len(found) == MOST:
            break
    if not found:
        raise TfleetError("There is nothing to ask: the golden file, the TFRecord files or the list of pictures are empty.")
    return [encode(arrays) for arrays in found]


def encode(arrays: Arrays) -> bytes:
    """A PredictRequest without a model."""
    request = wire.PredictRequest()
    for alias, array in arrays.items():
        request.inputs[alias].CopyFrom(wire.tensors.to_proto(array))
    return bytes(request.SerializeToString())


def decode(request: bytes) -> Arrays:
    """The arrays of a PredictRequest."""
    message = wire.PredictRequest.FromString(request)
    return {alias: wire.tensors.to_numpy(message.inputs[alias]) for alias in message.inputs}


def addressed(request: bytes, address: builds.Address, signature_name: str) -> bytes:
    """The same request for a served model."""
    message = wire.PredictRequest.FromString(request)
    message.model_spec.name = address.model
    message.model_spec.signature_name = signature_name
    if address.version is not None:
        message.model_spec.version.value = address.version
    elif address.label:
        message.model_spec.version_label = address.label
    return bytes(message.SerializeToString())


def _cut(source: Source, rows: int) -> Iterator[Arrays]:
    """Pieces of exactly `rows` rows; the first is filled up by repetition if there are not even as many."""
    held: Arrays = {}
    count = 0
    some = False
    for batch in source.batches():
        same = not held or all(held[alias].shape[1:] == array.shape[1:] for alias, array in batch.arrays.items())
        held = {alias: np.concatenate([held[alias], array]) if held and same else array for alias, array in batch.arrays.items()}
        count = len(next(iter(held.values())))
        while count >= rows:
            some = True
            yield {alias: array[:rows] for alias, array in held.items()}
            held = {alias: array[rows:] for alias, array in held.items()}
            count -= rows
        if not count:
            held = {}
    if not some and count:
        yield {alias: np.concatenate([array] * (-(-rows // count)))[:rows] for alias, array in held.items()}


def _fixed(source: Source, signature: Any, rows: int) -> List[Arrays]:
    sizes = sorted({shape[0] for shape in (shape_of(info) for info in signature.inputs.values()) if shape and shape[0] > 0})
    if sizes and sizes != [rows]:
        raise TfleetError("The model takes exactly %s rows at once: a batch size of %d cannot be measured." % (" or ".join(map(str, sizes)), rows))
    found = []
    for batch in source.batches():
        found.append(batch.arrays)
        if len(found) == MOST:
            break
    return found
