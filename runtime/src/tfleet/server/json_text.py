"""JSON as TensorFlow Serving's library (rapidjson) reads and writes it: parse errors, echoes, strings, numbers, protos."""
import base64
import binascii
import json
import re
from typing import Any, Dict, List, Optional

import numpy as np

from .status import RESOURCE_EXHAUSTED, StatusError, invalid_argument

# Echoes of the request in an error are cut here, as releases from 2.18 on do (2.17 echoes everything).
ECHO_LIMIT = 256

MAX_PARSED = 1000 * 1000 * 1000
"""Bytes of Python objects that one document may become, beside the texts of its strings."""
_LIST_BYTES, _OBJECT_BYTES, _VALUE_BYTES = 96, 240, 72  # a bracket, a brace, a comma

NO_UTF8 = "JSON Parse error: Invalid encoding in string."
TOO_DEEP = "JSON Parse error: The document is nested too deeply"

_PARSE_ERRORS = (
    ("Expecting value", "Invalid value."),
    ("Extra data", "The document root must not be followed by other values."),
    ("Expecting property name", "Missing a name for object member."),
    ("Illegal trailing comma", "Missing a name for object member."),
    ("Expecting ':'", "Missing a colon after a name of object member."),
    ("Unterminated string", "Missing a closing quotation mark in string."),
    ("Invalid \\u", "Incorrect hex digit after \\u escape in string."),
    ("Invalid \\", "Invalid escape character in string."),
    ("Invalid control character", "Invalid encoding in string."),
)
# An escape in a JSON string: a whole pair, half of one, or any other.
_SURROGATES = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\[^u]")
_ESCAPED = re.compile(r'["\\\x00-\x1f]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LARGEST_FLOAT = 3.4028234e38
INDENT = "    "


def parse(body: bytes) -> Any:
    """The document's object. Raises StatusError in rapidjson's words."""
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    _check_size(body)
    text = body.decode("utf-8-sig", "surrogateescape")  # rapidjson does not look at the encoding either
    try:
        document = json.loads(text)
    except RecursionError:
        raise invalid_argument(TOO_DEEP)
    except ValueError as error:
        position = getattr(error, "pos", 0)
        offset = len(text[:position].encode("utf-8", "surrogateescape"))
        raise invalid_argument("JSON Parse error: %s at offset: %d" % (_parse_error(text, str(error), position), offset))
    if b"\\ud" in body or b"\\uD" in body:
        _check_surrogates(text)
    if not isinstance(document, dict):
        raise format_error(document, "Is not object")
    return document


def _check_size(body: bytes) -> None:
    # 40 KB of gzip can be 30 million empty lists, which are 16 bytes each in rapidjson, and five times as much here.
    need = _LIST_BYTES * body.count(b"[") + _OBJECT_BYTES * body.count(b"{") + _VALUE_BYTES * body.count(b",")
    if need > MAX_PARSED:
        raise StatusError(RESOURCE_EXHAUSTED, "The JSON body would take about %d MB of memory to read, more than %d MB: send fewer rows at a "
                          "time, or use gRPC. (Regular lists of numbers alone have no such limit.)" % (need // 1000000, MAX_PARSED // 1000000))


def _check_surrogates(text: str) -> None:
    # Python lets half a pair pass; it is no character, and could not be written into an answer.
    for match in _SURROGATES.finditer(text):
        if match.group(1):
            offset = len(text[:match.start()].encode("utf-8", "surrogateescape"))
            raise invalid_argument("JSON Parse error: The surrogate pair in string is invalid. at offset: %d" % offset)


def _parse_error(text: str, message: str, position: int) -> str:
    if not text.strip():
        return "The document is empty."
    if message.startswith("Expecting ',' delimiter"):
        opened = []
        for mark in re.findall(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', text[:position], re.S):
            if mark in ("[", "{"):
                opened.append(mark)
            elif mark in ("]", "}") and opened:
                opened.pop()
        if opened and opened[-1] == "[":
            return "Missing a comma or ] after an array element."
        return "Missing a comma or } after an object member."
    return next((ours for theirs, ours in _PARSE_ERRORS if message.startswith(theirs)), "Invalid value.")


def type_name(value: Any) -> str:
    """rapidjson's name for the kind of a value."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, dict):
        return "Object"
    if isinstance(value, list):
        return "Array"
    return "String" if isinstance(value, str) else "Number"


def echo(value: Any) -> str:
    """A value as errors show it."""
    if isinstance(value, float):
        return decimal(value, np.float32 if not abs(value) > _LARGEST_FLOAT else np.float64)
    text = _pretty(value, 0)
    return text[:ECHO_LIMIT]


def format_error(value: Any, what: str) -> StatusError:
    return invalid_argument("JSON Value: %s %s" % (echo(value), what))


def _pretty(value: Any, depth: int) -> str:
    inner, outer = "\n" + INDENT * (depth + 1), "\n" + INDENT * depth
    if isinstance(value, dict):
        items = ["%s: %s" % (quote(name), _pretty(item, depth + 1)) for name, item in _first(value.items())]
        return "{" + inner + ("," + inner).join(items) + outer + "}" if items else "{}"
    if isinstance(value, list):
        items = [_pretty(item, depth + 1) for item in _first(value)]
        return "[" + inner + ("," + inner).join(items) + outer + "]" if items else "[]"
    if isinstance(value, str):
        return quote(value)
    return json.dumps(value)


def _first(items: Any) -> List[Any]:
    # Every item takes more than one character of the echo, so more than its limit never shows.
    return [item for _, item in zip(range(ECHO_LIMIT), items)]


def quote(text: str) -> str:
    """A JSON string: control characters escaped in upper case, everything else as it is."""
    return '"' + _ESCAPED.sub(lambda m: _SHORT.get(m.group(), "\\u%04X" % ord(m.group())), text) + '"'


def error_body(message: str) -> bytes:
    """The body of every error answer."""
    return ('{\n    "error": %s\n}' % quote(message)).encode("utf-8", "surrogateescape")


def decimal(value: float, dtype: Any) -> str:
    """One number as the server writes it."""
    return decimals(np.array([value]).astype(dtype))[0]


def decimals(array: Any) -> List[str]:
    """The texts of a flat float32 or float64 array: %g if that gives the number back, else 9 or 17 digits; `.0` added
    to whole numbers; NaN, Infinity."""
    if not array.size:
        return []
    values = array.tolist()
    texts = (" ".join(["%g"] * len(values)) % tuple(values)).split(" ")
    with np.errstate(over="ignore"):
        back = np.array(texts, dtype=np.float64).astype(array.dtype)
    full = "%.9g" if array.dtype == np.float32 else "%.17g"
    for position in np.flatnonzero((back != array) & np.isfinite(array)).tolist():
        texts[position] = full % values[position]
    if not np.isfinite(array).all():
        names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity", "-nan": "NaN"}
        texts = [names.get(text, text) for text in texts]
    return [text if "." in text or "e" in text or text[-1] in "yN" else text + ".0" for text in texts]


def is_b64(value: Any) -> bool:
    """Whether a value is {"b64": "..."}: one key, a string."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def b64_decode(value: Any) -> bytes:
    """The bytes of a {"b64": ...} object. Raises StatusError."""
    if not is_b64(value):
        raise format_error(value, "not formatted correctly for base64 data")
    text = "".join(value["b64"].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid_argument("Unable to base64 decode")


def proto(message: Any) -> str:
    """A message as protobuf's C++ library prints it with whitespace, defaults and proto field names."""
    return json.dumps(_proto_dict(message), indent=1, separators=(",", ": "), ensure_ascii=False) + "\n"


def _proto_dict(message: Any) -> Any:
    # The C++ printer puts down all plain fields with their defaults first, then the chosen members of oneofs.
    answer: Dict[str, Any] = {}
    fields = message.DESCRIPTOR.fields
    for field in [f for f in fields if not f.containing_oneof] + [f for f in fields if f.containing_oneof]:
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            of_message = field.message_type.fields_by_name["value"].message_type is not None
            answer[field.name] = {str(k): _proto_dict(value[k]) if of_message else value[k] for k in sorted(value)}
        elif field.label == field.LABEL_REPEATED:
            answer[field.name] = [_proto_value(field, item) for item in value]
        elif not (field.containing_oneof or field.message_type) or message.HasField(field.name):
            answer[field.name] = _proto_value(field, value)
    return answer


def _proto_value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        if field.message_type.full_name in ("google.protobuf.Int64Value", "google.protobuf.UInt64Value"):
            return str(value.value)
        return _proto_dict(value)
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return named.name if named else value
    return _scalar(field, value)


def _scalar(field: Any, value: Any) -> Any:
    if field.type in (field.TYPE_INT64, field.TYPE_UINT64, field.TYPE_SINT64):
        return str(value)
    if field.type == field.TYPE_BYTES:
        return base64.b64encode(value).decode("ascii")
    return value


def nested(texts: List[str], shape: Any, depth: Optional[int]) -> str:
    """Texts of scalars in row-major order as nested JSON lists of that shape.

    depth: None for lists on one line, else how deep the outermost list is indented, one value a line.
    """
    for level in range(len(shape) - 1, -1, -1):
        size = shape[level]
        if size:
            groups = [texts[start:start + size] for start in range(0, len(texts), size)]
        else:
            groups = [[] for _ in range(int(np.prod(shape[:level], dtype=np.int64)))]
        if depth is None:
            texts = ["[" + ", ".join(group) + "]" for group in groups]
        else:
            inner, outer = "\n" + INDENT * (depth + level + 1), "\n" + INDENT * (depth + level)
            texts = ["[" + inner + ("," + inner).join(group) + outer + "]" if group else "[]" for group in groups]
    return texts[0]
