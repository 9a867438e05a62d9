"""Predict's messages as bytes, with the values of large tensors left where they are.

A parser copies tensor_content once into the message and once more when it is asked for; an answer is copied from array to
field to message to bytes. For a request of 17 MB that is most of a server's work. So the values of large tensors are cut out
of a request before it is parsed, as views of its bytes, and an answer, or a client's request, is put together from its parts in one step.
"""

from functools import lru_cache
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from tfleet.wire import tensors, varint
from tfleet.wire.fields import LENGTH_DELIMITED, fields
from tfleet.wire.messages import TYPES

_LEAST = 1 << 16
"""Bytes of a message, or of a field, from which on cutting pays."""

_REQUEST, _RESPONSE, _TENSOR = (TYPES[name] for name in ("PredictRequest", "PredictResponse", "TensorProto"))
_INPUTS = _REQUEST.DESCRIPTOR.fields_by_name["inputs"].number
_OUTPUTS = _RESPONSE.DESCRIPTOR.fields_by_name["outputs"].number
_KEY, _VALUE = 1, 2  # fields of every map entry
_CUT = {_TENSOR.DESCRIPTOR.fields_by_name[name].number: (name, size) for name, size in tensors.CUTTABLE.items()}

Cut = Tuple[str, memoryview]


def read_request(data: bytes) -> Tuple[Any, Dict[str, Cut]]:
    """A PredictRequest, and the values that were cut out of it: {alias: (field name, bytes)}, for tensors.to_numpy.

    Raises protobuf's DecodeError for what is no PredictRequest.
    """
    if len(data) >= _LEAST:
        try:
            found = _cut_request(memoryview(data))
        except ValueError:
            found = None  # damaged, or made in an unusual way: protobuf will say
        if found is not None:
            return _REQUEST.FromString(found[0]), found[1]
    return _REQUEST.FromString(data), {}


def _cut_request(data: memoryview) -> Optional[Tuple[bytes, Dict[str, Cut]]]:
    cuts: Dict[str, Cut] = {}
    aliases: List[str] = []
    rest: List[Any] = []
    for number, kind, start, content, end in fields(data, 0, len(data)):
        if number != _INPUTS or kind != LENGTH_DELIMITED:
            rest.append(data[start:end])
            continue
        alias, cut, parts = _cut_entry(data, content, end)
        aliases.append(alias)
        if cut is not None:
            cuts[alias] = cut
        rest += _delimited(_INPUTS, parts)
    if not cuts or len(set(aliases)) < len(aliases):  # of two entries with one key the last would count
        return None
    return b"".join(rest), cuts


def _cut_entry(data: memoryview, start: int, end: int) -> Tuple[str, Optional[Cut], List[Any]]:
    """The key of a map entry, the values of its tensor if they are large and in one piece, and the parts of the rest."""
    entry = fields(data, start, end)
    if sorted(field[0] for field in entry) != [_KEY, _VALUE] or any(field[1] != LENGTH_DELIMITED for field in entry):
        raise ValueError("an entry with something twice, or without a key")
    (_, _, key_start, key, key_end), (_, _, _, value, value_end) = sorted(entry)
    tensor = fields(data, value, value_end)
    values = [field for field in tensor if field[0] in _CUT]
    cut: Optional[Cut] = None
    if len(values) == 1:
        number, kind, _, content, content_end = values[0]
        name, size = _CUT[number]
        if kind == LENGTH_DELIMITED and content_end - content >= _LEAST // 4 and (content_end - content) % size == 0:
            cut = (name, data[content:content_end])
    kept = [data[field[2]:field[4]] for field in tensor if cut is None or field is not values[0]]
    return str(data[key:key_end], "utf-8"), cut, [data[key_start:key_end]] + _delimited(_VALUE, kept)


def _delimited(number: int, parts: List[Any]) -> List[Any]:
    return [varint.encode_one(number << 3 | LENGTH_DELIMITED), varint.encode_one(sum(map(len, parts)))] + parts


def request(spec: Any, inputs: Mapping[str, Any], outputs: Sequence[str] = ()) -> bytes:
    """A serialised PredictRequest with the values in tensor_content. spec: a ModelSpec; inputs: alias -> array or TensorProto; outputs: output_filter.

    Raises ValueError, a sentence, for arrays that cannot be sent.
    """
    parts = [_REQUEST(model_spec=spec, output_filter=outputs).SerializeToString()]
    for alias, value in inputs.items():
        try:
            tensor = [value.SerializeToString()] if isinstance(value, _TENSOR) else tensors.encoded(value, as_content=True)
        except ValueError as error:
            raise ValueError("Input '%s' of model '%s' cannot be sent: %s." % (alias, spec.name, error))
        parts += _delimited(_INPUTS, [_key(alias)] + _delimited(_VALUE, tensor))
    return b"".join(parts)


def response(model: str, version: int, signature: str, outputs: Mapping[str, Any], as_content: bool = False) -> bytes:
    """A serialised PredictResponse. outputs: alias -> array; as_content: values in tensor_content, not in the typed fields.

    Raises ValueError for arrays that cannot be sent.
    """
    parts = [_model_spec(model, version, signature)]
    for alias, array in outputs.items():
        parts += _delimited(_OUTPUTS, [_key(alias)] + _delimited(_VALUE, tensors.encoded(array, as_content)))
    return b"".join(parts)


@lru_cache(maxsize=4096)
def _model_spec(model: str, version: int, signature: str) -> bytes:
    message = _RESPONSE()
    message.model_spec.name = model
    message.model_spec.version.value = version
    message.model_spec.signature_name = signature
    return bytes(message.SerializeToString())


@lru_cache(maxsize=4096)
def _key(alias: str) -> bytes:
    return b"".join(_delimited(_KEY, [alias.encode("utf-8")]))
