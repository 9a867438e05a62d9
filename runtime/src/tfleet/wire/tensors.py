"""numpy arrays to and from TensorProto, without a Python object per element.

Clients send tensor_content; TensorFlow Serving answers in the typed fields (float_val, int_val, ...). Both are read here,
by the rules of TensorFlow's Tensor::FromProto: short typed lists are padded with their last value, empty ones are zeros,
long ones are cut.
"""

from functools import lru_cache
from typing import Any, List, Optional, Tuple

import numpy as np

from tfleet.wire import varint
from tfleet.wire.messages import TYPES

_DT = TYPES["DataType"]
_TensorProto = TYPES["TensorProto"]

MAX_BYTES = 2 ** 31 - 1
"""Largest tensor that to_numpy makes: what a message can carry. Padding could ask for more with a few bytes."""

MAX_PADDED_BYTES = 100 * 1000 * 1000
"""Largest tensor that to_numpy fills up from fewer values: a message of 30 bytes must not take a device's memory."""

_MAX_DIMENSIONS = 254  # TensorFlow's TensorShape::MaxDimensions

_DTYPES = {
    _DT.Value(name): np.dtype(dtype)
    for name, dtype in {
        "DT_FLOAT": "<f4",
        "DT_DOUBLE": "<f8",
        "DT_HALF": "<f2",
        "DT_INT8": "i1",
        "DT_INT16": "<i2",
        "DT_INT32": "<i4",
        "DT_INT64": "<i8",
        "DT_UINT8": "u1",
        "DT_UINT16": "<u2",
        "DT_UINT32": "<u4",
        "DT_UINT64": "<u8",
        "DT_BOOL": "?",
        "DT_COMPLEX64": "<c8",
        "DT_COMPLEX128": "<c16",
    }.items()
}
_NUMBERS = {dtype: number for number, dtype in _DTYPES.items()}
# Quantised types travel like the integers they are made of.
_DTYPES.update(
    {
        _DT.Value(name): np.dtype(dtype)
        for name, dtype in {
            "DT_QINT8": "i1",
            "DT_QUINT8": "u1",
            "DT_QINT16": "<i2",
            "DT_QUINT16": "<u2",
            "DT_QINT32": "<i4",
        }.items()
    }
)
_VARINT, _FIXED64, _LENGTH_DELIMITED = 0, 1, 2  # wire types
_STRING = _DT.Value("DT_STRING")
_STRING_BYTES = 32  # what one takes in numpy and TensorFlow together, without its text
_BFLOAT16 = _DT.Value("DT_BFLOAT16")

_FIELD_BY_KIND = {"f4": "float_val", "f8": "double_val", "c8": "scomplex_val", "c16": "dcomplex_val", "b1": "bool_val"}
_FIELD_BY_KIND.update({"i8": "int64_val", "u4": "uint32_val", "u8": "uint64_val", "f2": "half_val"})
_FIELD_BY_KIND.update(dict.fromkeys(("i1", "i2", "i4", "u1", "u2"), "int_val"))
_FIELD_BY_NUMBER = {number: _FIELD_BY_KIND["%s%d" % (dtype.kind, dtype.itemsize)] for number, dtype in _DTYPES.items()}
_FIELD_BY_NUMBER[_BFLOAT16] = "half_val"
_FLOAT_FIELDS = {"float_val": "<f4", "double_val": "<f8", "scomplex_val": "<f4", "dcomplex_val": "<f8"}
CUTTABLE = {"tensor_content": 1, "float_val": 4, "double_val": 8}
"""Fields whose values to_numpy takes as bytes beside the message, and the size of one value."""

_DESCRIPTOR = _TensorProto.DESCRIPTOR
_FIELD_NUMBERS = {name: _DESCRIPTOR.fields_by_name[name].number for name in set(_FIELD_BY_KIND.values()) | {"tensor_content"}}
_FIELD_TAGS = {name: varint.encode_one(number << 3 | _LENGTH_DELIMITED) for name, number in _FIELD_NUMBERS.items()}


def dtype_name(number: int) -> str:
    """DT_FLOAT for 1; for numbers without a name, the number."""
    try:
        return str(_DT.Name(number))
    except ValueError:
        return str(number)


def numpy_dtype(number: int) -> np.dtype:
    """The numpy dtype which to_numpy gives for a DataType number; object for strings.

    bfloat16 is numpy's extension type where TensorFlow or ml_dtypes has registered it in this process, else float32, which
    holds the same values. Raises ValueError for types without an equivalent (resource, variant, 4 and 8 bit floats).
    """
    if number == _STRING:
        return np.dtype(object)
    if number == _BFLOAT16:
        return _bfloat16() or np.dtype("<f4")
    if number not in _DTYPES:
        raise ValueError("tensors of type %s cannot be converted to numpy" % dtype_name(number))
    return _DTYPES[number]


def to_proto(value: Any) -> Any:
    """Makes a TensorProto from an array, or from what numpy.asarray takes (scalars, nested lists, bytes, str).

    Numbers go to tensor_content, strings (kinds S, U and O) to string_val, str as UTF-8. Raises ValueError for other dtypes.
    """
    array = _as_array(value)
    if array.dtype.kind in "OSU":
        return _string_proto(array)
    number = _number(array.dtype)
    proto = _empty_proto(number, array.shape)
    proto.tensor_content = _little_endian(array).tobytes()
    return proto


def to_typed_proto(value: Any) -> Any:
    """Like to_proto, but with the numbers in the typed field of their dtype, as TensorFlow Serving answers.

    Packed bytes are parsed as the message: 25 times faster than extending the field from a list.
    """
    return _TensorProto.FromString(b"".join(encoded(value)))


def encoded(value: Any, as_content: bool = False) -> List[Any]:
    """The bytes of a serialised TensorProto in pieces, to join: to_typed_proto's, or to_proto's with as_content.

    TensorFlow answers a scalar string as bytes, which no array is. Raises ValueError for dtypes that cannot be sent.
    """
    array = _as_array(value)
    if array.dtype.kind in "OSU":
        return [_string_proto(array).SerializeToString()]
    number = _number(array.dtype)
    flat = _little_endian(array).reshape(-1)
    field = "tensor_content"
    if not as_content:
        field = _FIELD_BY_NUMBER[number]
    if field == "half_val":
        payload: Any = varint.encode(flat.view(np.uint16))
    else:
        payload = flat.view(np.uint8).data if field in _FLOAT_FIELDS or as_content else varint.encode(flat)
    header = _header(number, array.shape)
    return [header, _FIELD_TAGS[field], varint.encode_one(len(payload)), payload] if len(payload) else [header]


@lru_cache(maxsize=4096)
def _header(number: int, shape: Tuple[int, ...]) -> bytes:
    return bytes(_empty_proto(number, shape).SerializeToString())


def to_numpy(proto: Any, cut: Optional[Tuple[str, Any]] = None) -> np.ndarray:
    """Makes an array from a TensorProto with tensor_content or typed fields; strings become bytes objects (dtype object).

    cut: a field of CUTTABLE that the message has lost, and its bytes (see tfleet.wire.predict_bytes).
    Arrays from tensor_content share the memory of the content and are read-only: copy() them to change them.
    Raises ValueError, saying what is wrong, for shapes that are unknown, negative, or too large, for content whose length
    does not fit dtype and shape, and for dtypes without a numpy equivalent.
    """
    dtype = numpy_dtype(proto.dtype)
    shape, count = _shape(proto.tensor_shape, max(dtype.itemsize, 1))
    if proto.dtype == _STRING:
        return _strings(proto, count).reshape(shape)
    stored = np.dtype("<u2") if proto.dtype == _BFLOAT16 else dtype
    content = cut[1] if cut and cut[0] == "tensor_content" else proto.tensor_content
    if content:
        if len(content) != count * stored.itemsize:
            raise ValueError(
                "tensor_content has %d bytes, but %s%s needs %d"
                % (len(content), dtype_name(proto.dtype), list(shape), count * stored.itemsize)
            )
        flat = np.frombuffer(content, stored)
    else:
        flat = _padded(_typed_values(proto, stored, cut), count, stored)
    if proto.dtype == _BFLOAT16:
        flat = _from_bfloat16(flat, dtype)
    return flat.reshape(shape)


def _as_array(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    array = np.asarray(value)
    # dtype S drops trailing zero bytes, which an encoded image may well have.
    return np.array(value, dtype=object) if array.dtype.kind in "SU" else array


def _bfloat16() -> Optional[np.dtype]:
    try:
        return np.dtype("bfloat16")
    except TypeError:
        return None


def _from_bfloat16(bits: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.itemsize == 2:
        return bits.view(dtype)
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _number(dtype: np.dtype) -> int:
    if dtype in _NUMBERS:
        return _NUMBERS[dtype]
    if dtype.name == "bfloat16":
        return int(_BFLOAT16)
    number = _NUMBERS.get(dtype.newbyteorder("<"))
    if number is None:
        raise ValueError(
            "an array of dtype %s cannot be sent as a tensor: convert it with .astype() to one of %s"
            % (dtype, ", ".join(sorted(known.name for known in _NUMBERS)))
        )
    return number


def _little_endian(array: np.ndarray) -> np.ndarray:
    if array.dtype in _NUMBERS and array.flags.c_contiguous:
        return array
    if array.dtype.name == "bfloat16":
        return np.ascontiguousarray(array).reshape(array.shape).view(np.uint16)
    # ascontiguousarray turns scalars into vectors, hence the reshape.
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)


def _empty_proto(number: int, shape: Tuple[int, ...]) -> Any:
    proto = _TensorProto(dtype=number)
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def _string_proto(array: np.ndarray) -> Any:
    proto = _empty_proto(_STRING, array.shape)
    values: List[bytes] = []
    for element in array.reshape(-1).tolist():
        if not isinstance(element, (bytes, str)):
            raise ValueError("a tensor of strings holds bytes or str, not %s" % type(element).__name__)
        values.append(element.encode("utf-8") if isinstance(element, str) else element)
    proto.string_val.extend(values)
    return proto


def _shape(shape: Any, itemsize: int) -> Tuple[Tuple[int, ...], int]:
    if shape.unknown_rank:
        raise ValueError("the tensor's shape has an unknown rank")
    sizes = tuple(dim.size for dim in shape.dim)
    if len(sizes) > _MAX_DIMENSIONS:
        raise ValueError("the tensor has %d dimensions, more than %d" % (len(sizes), _MAX_DIMENSIONS))
    count = 1
    for size in sizes:
        if size < 0:
            raise ValueError("the tensor's shape %s has a negative dimension" % list(sizes))
        count *= size
    # A zero among huge dimensions makes an empty tensor, which numpy still refuses if the others overflow.
    if count * itemsize > MAX_BYTES or any(size > MAX_BYTES for size in sizes):
        raise ValueError("the tensor's shape %s is too large: more than %d bytes" % (list(sizes), MAX_BYTES))
    if len(sizes) > 32:
        raise ValueError("the tensor has %d dimensions, more than numpy's 32" % len(sizes))
    return sizes, count


def _padded(values: np.ndarray, count: int, dtype: np.dtype) -> np.ndarray:
    if values.size >= count:
        return values[:count]
    _check_padding(count * dtype.itemsize)
    padded = np.zeros(count, dtype)
    if values.size:
        padded[: values.size] = values
        padded[values.size :] = values[-1]
    return padded


def _check_padding(size: int) -> None:
    if size > MAX_PADDED_BYTES:
        raise ValueError("the tensor has fewer values than its shape says, and filling it up would take %d bytes, more than %d"
                         % (size, MAX_PADDED_BYTES))


def _typed_values(proto: Any, dtype: np.dtype, cut: Optional[Tuple[str, Any]]) -> np.ndarray:
    field = _FIELD_BY_NUMBER[proto.dtype]
    if cut and cut[0] == field and dtype.kind == "f":
        return np.frombuffer(cut[1], dtype)
    values = getattr(proto, field)
    if not values:
        return np.zeros(0, dtype)
    payload = _packed_payload(proto, field)
    if field in _FLOAT_FIELDS:
        if dtype.kind == "c" and len(values) % 2:
            raise ValueError("%s has %d numbers: a real part without an imaginary one" % (field, len(values)))
        return np.frombuffer(payload, dtype)
    integers = varint.decode(payload)
    if field == "half_val":
        return integers.astype(np.uint16).view(dtype)
    # Casting keeps the low bits, which restores negative numbers and narrows as a C++ cast does.
    return integers.astype(bool) if dtype.kind == "b" else integers.view(np.int64).astype(dtype)


def _packed_payload(proto: Any, field: str) -> bytes:
    """The bytes of a packed field: finding them in the serialised message beats iterating over the field 20 to 1."""
    data = proto.SerializeToString()
    position = 0
    while True:  # ends, because the field is there; no field of a TensorProto is a group
        tag, position = varint.decode_one(data, position)
        kind = tag & 7
        if kind == _VARINT:
            _, position = varint.decode_one(data, position)
        elif kind == _LENGTH_DELIMITED:
            length, position = varint.decode_one(data, position)
            if tag >> 3 == _FIELD_NUMBERS[field]:
                return data[position : position + length]
            position += length
        else:
            position += 8 if kind == _FIXED64 else 4


def _strings(proto: Any, count: int) -> np.ndarray:
    content = proto.tensor_content
    values = _split_strings(content, count) if content else list(proto.string_val[:count])
    if len(values) < count:
        _check_padding(count * _STRING_BYTES)
    array = np.empty(count, dtype=object)
    array[: len(values)] = values
    array[len(values) :] = values[-1] if values else b""
    return array


def _split_strings(content: bytes, count: int) -> List[bytes]:
    """Strings in tensor_content: the lengths of all of them as varints, then their bytes."""
    lengths: List[int] = []
    position = 0
    while len(lengths) < count:
        try:
            length, position = varint.decode_one(content, position)
        except ValueError:
            raise ValueError("tensor_content ends before the lengths of its %d strings" % count)
        lengths.append(length)
    if position + sum(lengths) != len(content):
        raise ValueError("tensor_content has %d bytes, but its strings need %d" % (len(content), position + sum(lengths)))
    strings = []
    for length in lengths:
        strings.append(content[position : position + length])
        position += length
    return strings
