"""REST predict: JSON documents to numpy arrays and back, in both formats (row: instances, columnar: inputs).

Long lists of numbers are read and written by number_reader and number_writer. Other lists of numbers go through numpy at once
where that gives what the element-by-element reading would give; that reading remains for strings, and to say exactly what is
wrong.
"""
from collections import namedtuple
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import numpy as np

from .. import wire
from . import json_text, number_reader, number_writer
from .status import StatusError, invalid_argument, unimplemented

# row: whether the answer is in the row format; inputs: alias -> numpy array
JsonRequest = namedtuple("JsonRequest", "signature_name row inputs")

_INTEGERS = {
    "DT_INT32": (np.int32, -(1 << 31), (1 << 31) - 1),
    "DT_INT16": (np.int16, -(1 << 31), (1 << 31) - 1),
    "DT_INT8": (np.int8, -(1 << 31), (1 << 31) - 1),
    "DT_UINT8": (np.uint8, -(1 << 31), (1 << 31) - 1),
    "DT_INT64": (np.int64, -(1 << 63), (1 << 63) - 1),
    "DT_UINT32": (np.uint32, 0, (1 << 32) - 1),
    "DT_UINT64": (np.uint64, 0, (1 << 64) - 1),
}  # dtype -> numpy type and the JSON integers it takes (the small types take any int32, as their proto field does)
_FLOATS: Dict[str, Any] = {"DT_FLOAT": np.float32, "DT_DOUBLE": np.float64}
_WRITABLE = {"int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"}
_MAX_DIMENSIONS = 32  # numpy's
_TYPE_TEXT = {"float16": "half", "bool": "bool", "object": "string"}


def read_predict(body: bytes, inputs_of: Callable[[str], Mapping[str, int]]) -> JsonRequest:
    """Reads the body of a predict request.

    inputs_of: signature name ("" for the default) -> {alias: dtype number}; may raise StatusError. Raises StatusError.
    """
    document = number_reader.split(body)
    if document is not None:
        asked = _read_long_lists(document, inputs_of)
        if asked is not None:
            return asked
    document = json_text.parse(body)
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise json_text.format_error(document, "not formatted correctly. 'signature_name' key must be a string value.")
    dtypes = {alias: wire.DT.Name(number) for alias, number in inputs_of(name).items()}
    if not dtypes:
        raise invalid_argument("Failed to get input map for signature: " + (name or "DEFAULT"))
    reader = _Reader(dtypes, bool_free=b"true" not in body and b"false" not in body)
    if "instances" in document:
        if "inputs" in document:
            raise json_text.format_error(
                document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ")
        instances = document["instances"]
        if not isinstance(instances, list):
            raise json_text.format_error(document, "Expecting 'instances' to be an list/array")
        if not instances:
            raise json_text.format_error(document, "No values in 'instances' array")
        return JsonRequest(name, True, reader.rows(instances))
    if "inputs" in document:
        return JsonRequest(name, False, reader.columns(document["inputs"]))
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def _read_long_lists(document: Any, inputs_of: Callable[[str], Mapping[str, int]]) -> Optional[JsonRequest]:
    """A request whose inputs are all Numbers; None for any other, and for all that is wrong."""
    row = isinstance(document, dict) and "instances" in document
    if not isinstance(document, dict) or row == ("inputs" in document) or not isinstance(document.get("signature_name", ""), str):
        return None
    name = document.get("signature_name", "")
    try:
        dtypes = {alias: wire.DT.Name(number) for alias, number in inputs_of(name).items()}
    except StatusError:
        return None
    given = document["instances" if row else "inputs"]
    if isinstance(given, number_reader.Numbers):
        columns: Dict[str, Any] = dict.fromkeys(dtypes, given) if len(dtypes) == 1 else {}
    elif isinstance(given, list) and row and all(isinstance(element, dict) and set(element) == set(dtypes) for element in given):
        columns = {alias: [element[alias] for element in given] for alias in dtypes}
    elif isinstance(given, dict) and not row and set(dtypes) <= set(given):
        columns = {alias: given[alias] for alias in dtypes}
    else:
        columns = {}
    inputs = {alias: _long_list(columns[alias], dtypes[alias]) for alias in sorted(columns)}
    if not inputs or any(array is None for array in inputs.values()):
        return None
    return JsonRequest(name, row, inputs)


def _long_list(value: Any, dtype: str) -> Any:
    """The array of Numbers, or of a list of Numbers of one shape; None for anything else."""
    if isinstance(value, list):
        parts = [_long_list(part, dtype) for part in value]
        if any(part is None or part.shape != parts[0].shape for part in parts):
            return None
        return np.stack(parts)
    if not isinstance(value, number_reader.Numbers):
        return None
    if dtype in _FLOATS:
        return value.read(_FLOATS[dtype])
    if dtype not in _INTEGERS:
        return None
    numpy_type, low, high = _INTEGERS[dtype]
    array = value.read(np.int64)
    if array is None or int(array.min()) < low or int(array.max()) > high:
        return None
    return array.astype(numpy_type)


class _Reader:
    def __init__(self, dtypes: Dict[str, str], bool_free: bool) -> None:
        self._dtypes = dtypes
        self._bool_free = bool_free  # numpy takes true for 1: only safe to ask it when there is none

    def rows(self, instances: List[Any]) -> Dict[str, Any]:
        first = instances[0]
        if not isinstance(first, dict) and len(self._dtypes) > 1:
            raise invalid_argument("instances is a plain list, but expecting list of objects as multiple input tensors "
                                   "required as per tensorinfo_map")
        if not _is_named(first):
            alias = min(self._dtypes)
            array = self._fast(instances, self._dtypes[alias])
            return {alias: array if array is not None else self._plain_rows(instances, alias)}
        names = set(self._dtypes)
        if all(_is_named(element) and set(element) == names for element in instances):
            answer = {alias: self._fast([e[alias] for e in instances], self._dtypes[alias]) for alias in sorted(names)}
            if all(array is not None for array in answer.values()):
                return answer
        return self._named_rows(instances)

    def _plain_rows(self, instances: List[Any], alias: str) -> Dict[str, Any]:
        gathered = _Gathered(self._dtypes[alias])
        for position, element in enumerate(instances):
            if _is_named(element):
                raise invalid_argument("Expecting value/list but got object at item %d of input list" % position)
            try:
                gathered.add(element)
            except StatusError as error:
                raise invalid_argument("Failed to process element: %d of 'instances' list. Error: %s" % (position, error))
        return gathered.array()

    def _named_rows(self, instances: List[Any]) -> Dict[str, Any]:
        gathered = {alias: _Gathered(dtype) for alias, dtype in self._dtypes.items()}
        for position, element in enumerate(instances):
            if not _is_named(element):
                raise invalid_argument("Expecting object but got list at item %d of input list" % position)
            for name, value in element.items():
                try:
                    if name not in gathered:
                        raise invalid_argument("JSON object: does not have named input: " + name)
                    gathered[name].add(value)
                except StatusError as error:
                    raise invalid_argument("Failed to process element: %d key: %s of 'instances' list. Error: %s"
                                           % (position, name, error))
            if set(element) != set(gathered):
                raise invalid_argument("Failed to process element: %d of 'instances' list. JSON object: %s keys must be "
                                       "equal to: %s" % (position, json_text.echo(element), ",".join(sorted(gathered))))
        return {alias: values.array() for alias, values in gathered.items()}

    def columns(self, value: Any) -> Dict[str, Any]:
        if not _is_named(value):
            if len(self._dtypes) > 1:
                raise invalid_argument("inputs is a plain value/list, but expecting an object as multiple input tensors "
                                       "required as per tensorinfo_map")
            return {alias: self._column(value, dtype) for alias, dtype in self._dtypes.items()}
        for alias in sorted(self._dtypes):
            if alias not in value:
                raise invalid_argument("Missing named input: %s in 'inputs' object." % alias)
        return {alias: self._column(value[alias], dtype) for alias, dtype in sorted(self._dtypes.items())}

    def _column(self, value: Any, dtype: str) -> Any:
        array = self._fast(value, dtype)
        if array is None:
            array = _build(_fill(value, dtype), dtype, _shape(value))
        return array

    def _fast(self, value: Any, dtype: str) -> Any:
        """The array if numpy reads the list as the server would, else None."""
        if not isinstance(value, list) or not value or not self._bool_free:
            return None
        if dtype not in _FLOATS and dtype not in _INTEGERS:
            return None
        try:
            array = np.array(value)
        except (ValueError, OverflowError):
            return None  # ragged, or a number that is too large
        if dtype in _FLOATS and array.dtype.kind in "iuf":
            with np.errstate(over="ignore"):
                cast = array.astype(_FLOATS[dtype])
            return cast if np.isinf(cast).sum() == np.isinf(array).sum() else None
        if dtype in _INTEGERS and array.dtype.kind in "iu" and array.size:
            numpy_type, low, high = _INTEGERS[dtype]
            if int(array.min()) >= low and int(array.max()) <= high:
                return array.astype(numpy_type)
        return None


class _Gathered:
    """The values of one input over the instances: all of one shape."""

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype
        self._values: List[Any] = []
        self._count = 0
        self._shape: Optional[Tuple[int, ...]] = None
        self._size = 0

    def add(self, value: Any) -> None:
        shape = _shape(value)
        values = _fill(value, self._dtype)
        if self._shape is None:
            self._shape, self._size = shape, len(values)
        elif len(values) != self._size:
            raise invalid_argument("Expecting tensor size: %d but got: %d" % (self._size, len(values)))
        elif shape != self._shape:
            raise invalid_argument("Expecting shape %s but got: %s" % (_shape_text(self._shape), _shape_text(shape)))
        self._values.extend(values)
        self._count += 1

    def array(self) -> Any:
        return _build(self._values, self._dtype, (self._count,) + (self._shape or ()))


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not json_text.is_b64(value)


def _shape(value: Any) -> Tuple[int, ...]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _shape_text(shape: Tuple[int, ...]) -> str:
    return "[%s]" % ",".join(map(str, shape))


def _fill(value: Any, dtype: str) -> List[Any]:
    """The scalars of a nested list in row-major order; every list must fit the shape of the first ones."""
    values: List[Any] = []
    shape = _shape(value)
    rank = len(shape)

    def walk(item: Any, level: int) -> None:
        if not isinstance(item, list):
            if level != rank:
                raise json_text.format_error(item, "found at incorrect level: %d in the JSON DOM. Expected at level: %d"
                                             % (level + 1, rank))
            values.append(_scalar(item, dtype))
            return
        if level >= rank:
            raise invalid_argument("Encountered list at unexpected level: %d expected < %d" % (level, rank))
        if len(item) != shape[level]:
            raise invalid_argument("Encountered list at unexpected size: %d at level: %d expected size: %d"
                                   % (len(item), level, shape[level]))
        for inner in item:
            walk(inner, level + 1)

    walk(value, 0)
    return values


def _type_error(value: Any, dtype: str) -> StatusError:
    return json_text.format_error(value, "Type: %s is not of expected type: %s" % (json_text.type_name(value), _dtype_text(dtype)))


def _dtype_text(dtype: str) -> str:
    return dtype[3:].lower()


def _scalar(value: Any, dtype: str) -> Any:
    if dtype == "DT_STRING":
        if isinstance(value, dict):
            return json_text.b64_decode(value)
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
        raise _type_error(value, dtype)
    if isinstance(value, dict):
        raise _type_error(value, dtype)
    if dtype == "DT_BOOL":
        if isinstance(value, bool):
            return value
        raise _type_error(value, dtype)
    if dtype in _FLOATS or dtype in _INTEGERS:
        return _number(value, dtype)
    raise unimplemented("Conversion of JSON Value: %s to type: %s" % (json_text.echo(value), _dtype_text(dtype)))


def _number(value: Any, dtype: str) -> Any:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _type_error(value, dtype)
    if dtype in _INTEGERS:
        _, low, high = _INTEGERS[dtype]
        if not isinstance(value, int) or not low <= value <= high:
            raise _type_error(value, dtype)
        return value
    try:
        double = float(value)
    except OverflowError:  # an integer of more than 300 digits
        double = float("inf") if value > 0 else float("-inf")
    if (np.isfinite(double) or isinstance(value, int)) and abs(double) > np.finfo(_FLOATS[dtype]).max:
        raise invalid_argument("Cannot convert JSON value: %s to %s without loss of precision."
                               % (json_text.echo(value), _dtype_text(dtype)))
    return double


def _build(values: List[Any], dtype: str, shape: Tuple[int, ...]) -> Any:
    if len(shape) > _MAX_DIMENSIONS:
        raise invalid_argument("The value has %d dimensions, more than %d" % (len(shape), _MAX_DIMENSIONS))
    if dtype == "DT_STRING":
        array = np.empty(len(values), dtype=object)
        array[:] = values
    elif dtype == "DT_BOOL":
        array = np.array(values, dtype=np.bool_)
    elif dtype in _FLOATS:
        array = np.array(values, dtype=np.float64).astype(_FLOATS[dtype])
    elif dtype in _INTEGERS:
        wide = np.uint64 if dtype == "DT_UINT64" else np.int64
        array = np.array(values, dtype=wide).astype(_INTEGERS[dtype][0])
    else:  # no scalar of another dtype can be read, but an empty list of them has arrived here
        raise unimplemented("Conversion of JSON Value: [] to type: " + _dtype_text(dtype))
    return array.reshape(shape)


def write_predict(outputs: Mapping[str, Any], row: bool) -> bytes:
    """The body of a predict answer. outputs: alias -> array, in the order to print. Raises StatusError."""
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    text = _rows(outputs) if row else _columns(outputs)
    return text.encode("utf-8", "surrogateescape")


def _rows(outputs: Mapping[str, Any]) -> str:
    batch: Optional[int] = None
    for alias, array in outputs.items():
        if not array.ndim:
            raise invalid_argument("Tensor name: %s has no shape information " % alias)
        if batch is not None and len(array) != batch:
            raise invalid_argument("Tensor name: %s has inconsistent batch size: %d expecting: %d" % (alias, len(array), batch))
        batch = len(array)
    if not batch:
        return '{\n    "predictions": []\n}'
    named = len(outputs) > 1
    alone = next(iter(outputs.values()))
    if not named and number_writer.takes(alone):
        return '{\n    "predictions": %s\n    ]\n}' % number_writer.nested(alone, None)[:-1]
    columns = {alias: _elements(alias, array, 3 if named else 2) for alias, array in outputs.items()}
    if not named:
        return '{\n    "predictions": [%s\n    ]\n}' % ", ".join(next(iter(columns.values())))
    objects = []
    for position in range(batch):
        members = ["            %s: %s" % (json_text.quote(alias), texts[position]) for alias, texts in columns.items()]
        objects.append("        {\n" + ",\n".join(members) + "\n        }")
    return '{\n    "predictions": [\n%s\n    ]\n}' % ",\n".join(objects)


def _elements(alias: str, array: Any, depth: int) -> List[str]:
    """One text for each index of the 0th dimension; depth: how deep an element stands."""
    texts = _texts(alias, array, depth + array.ndim - 1)
    size = len(texts) // len(array)
    return [json_text.nested(texts[i * size:(i + 1) * size], array.shape[1:], None) for i in range(len(array))]


def _columns(outputs: Mapping[str, Any]) -> str:
    if len(outputs) == 1:
        alias, array = next(iter(outputs.items()))
        return '{\n    "outputs": %s\n}' % _nested(alias, array, 1)
    members = ["        %s: %s" % (json_text.quote(alias), _nested(alias, array, 2)) for alias, array in outputs.items()]
    return '{\n    "outputs": {\n%s\n    }\n}' % ",\n".join(members)


def _nested(alias: str, array: Any, depth: int) -> str:
    if array.ndim and number_writer.takes(array):
        return number_writer.nested(array, depth)
    return json_text.nested(_texts(alias, array, depth + array.ndim), array.shape, depth)


def _texts(alias: str, array: Any, depth: int) -> List[str]:
    flat = np.asarray(array).reshape(-1)
    name = flat.dtype.name
    if name in ("float32", "float64"):
        return json_text.decimals(flat)
    if name in _WRITABLE:
        return list(map(str, flat.tolist()))
    if name == "bool":
        return ["true" if value else "false" for value in flat.tolist()]
    if flat.dtype.kind in "OSU":
        strings = [value if isinstance(value, bytes) else str(value).encode("utf-8") for value in flat.tolist()]
        if alias.endswith("_bytes"):
            inner, outer = "\n" + "    " * (depth + 1), "\n" + "    " * depth
            return ['{%s"b64": "%s"%s}' % (inner, json_text.base64.b64encode(value).decode("ascii"), outer) for value in strings]
        return [json_text.quote(value.decode("utf-8", "surrogateescape")) for value in strings]
    raise invalid_argument("Failed to write JSON value for tensor type: %s" % _TYPE_TEXT.get(name, name))
