"""REST classify and regress: JSON features to tf.Examples, and results to JSON."""
from typing import Any

import numpy as np

from .. import wire
from . import json_text
from .status import invalid_argument

_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def read_examples(body: bytes, request: Any) -> None:
    """Fills signature_name and input of a ClassificationRequest or RegressionRequest from a body. Raises StatusError."""
    document = json_text.parse(body)
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise json_text.format_error(document, "not formatted correctly. 'signature_name' key must be a string value.")
    request.model_spec.signature_name = name
    examples = request.input.example_list.examples
    if "context" in document:
        target = request.input.example_list_with_context
        _example(document["context"], target.context)
        examples = target.examples
    if "examples" not in document:
        raise json_text.format_error(document, "When method is classify, key 'examples' is expected and was not found")
    listed = document["examples"]
    if not isinstance(listed, list):
        raise json_text.format_error(document, "Expecting 'examples' value to be an list/array")
    if not listed:
        raise json_text.format_error(document, "'examples' value is an empty array")
    for item in listed:
        _example(item, examples.add())


def _example(value: Any, example: Any) -> None:
    if not isinstance(value, dict):
        raise invalid_argument("Example must be JSON object but got JSON " + json_text.type_name(value))
    example.features.SetInParent()
    for name, content in value.items():
        feature = example.features.feature[name]
        for item in content if isinstance(content, list) else [content]:
            kind, element = _element(name, item)
            now = feature.WhichOneof("kind")
            if now not in (None, kind):
                raise invalid_argument("Unexpected element type in feature: %s expecting type: %s" % (name, _KINDS[now]))
            getattr(feature, kind).value.append(element)


def _element(name: str, item: Any) -> Any:
    if isinstance(item, bool):
        return "int64_list", int(item)
    if isinstance(item, str):
        return "bytes_list", item.encode("utf-8", "surrogateescape")
    if json_text.is_b64(item):
        return "bytes_list", json_text.b64_decode(item)
    if isinstance(item, int) and -(1 << 63) <= item < 1 << 63:
        return "int64_list", item
    if isinstance(item, int) and 0 < item < 1 << 64:
        raise invalid_argument("Feature: %s has uint64 element. Only int64 is supported." % name)
    if isinstance(item, (int, float)):
        try:
            number = float(item)
        except OverflowError:  # an integer of more than 300 digits
            raise invalid_argument("Cannot convert JSON value: %s to float without loss of precision." % json_text.echo(item))
        if np.isfinite(number) and abs(number) > np.finfo(np.float32).max:
            raise invalid_argument("Cannot convert JSON value: %s to float without loss of precision." % json_text.echo(number))
        return "float_list", number
    raise invalid_argument("Feature: %s has element with unexpected JSON type: %s" % (name, json_text.type_name(item)))


def write_classification(result: Any) -> bytes:
    """The body of a classify answer."""
    if not result.classifications:
        raise invalid_argument("Cannot convert empty ClassificationResults to JSON")
    rows = ["[%s]" % ", ".join("[%s, %s]" % (json_text.quote(item.label), json_text.decimal(item.score, np.float32)) for item in row.classes)
            for row in result.classifications]
    return ('{\n    "results": [%s\n    ]\n}' % ", ".join(rows)).encode("utf-8", "surrogateescape")


def write_regression(result: Any) -> bytes:
    """The body of a regress answer."""
    if not result.regressions:
        raise invalid_argument("Cannot convert empty RegressionResults to JSON")
    values = json_text.decimals(np.array([item.value for item in result.regressions], np.float32))
    return ('{\n    "results": [%s]\n}' % ", ".join(values)).encode("utf-8")


REQUESTS = {"classify": wire.ClassificationRequest, "regress": wire.RegressionRequest}
