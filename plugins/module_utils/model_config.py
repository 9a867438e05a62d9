# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What a model.config tells of its models, for who has no protobuf: name, base_path, labels.

It is a text of a protobuf message. The server checks it against its fields; here it is only read, in whatever form the server takes.
"""
import ast
import re
from typing import Any, Dict, List

from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError

_TOKEN = re.compile(r"""\s+|\#[^\n]*|(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<word>[\w.+-]+|\[[\w./]+\])|(?P<mark>[{}<>:;,\[\]])""")
_CLOSING = {"{": "}", "<": ">"}


class ConfigError(ModuleError):
    """The text is no model.config."""


def models_of(text):
    """Return [{name, base_path, labels: {label: version}}] of a model.config, in its order.

    :raises ConfigError: naming the place.
    """
    tokens = _tokens(text)
    message = _message(tokens, None)
    models = []
    for each in [config for group in message.get("model_config_list", []) for config in group.get("config", [])]:
        labels = {_one(entry, "key"): int(_one(entry, "value") or 0) for entry in each.get("version_labels", [])}
        models.append({"name": _one(each, "name"), "base_path": _one(each, "base_path"), "labels": labels})
    return models


def _one(message, field):
    return message.get(field, [""])[-1]


def _tokens(text):
    found, place = [], 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if not match:
            raise ConfigError("Line %d is no text of a protobuf message: %s" % (text.count("\n", 0, place) + 1, text[place:place + 40].splitlines()[0]))
        if match.lastgroup:
            found.append((match.lastgroup, match.group()))
        place = match.end()
    found.append(("end", ""))
    found.reverse()
    return found


def _message(tokens, closing):
    """Read fields up to ``closing``: {name: [value]}; a value is a text, or a message of its own."""
    fields: Dict[str, List[Any]] = {}
    while True:
        kind, name = tokens.pop()
        if name == closing or (kind == "end" and closing is None):
            return fields
        if name in (",", ";"):
            continue
        if kind != "word":
            raise ConfigError("A field was expected, not %r." % name)
        if tokens[-1][1] == ":":
            tokens.pop()
        fields.setdefault(name, []).extend(_values(tokens))


def _values(tokens):
    kind, text = tokens.pop()
    if text in _CLOSING:
        return [_message(tokens, _CLOSING[text])]
    if kind == "mark" and text == "[":
        values = []
        while tokens[-1][1] != "]":
            values += _values(tokens)
            if tokens[-1][1] == ",":
                tokens.pop()
        tokens.pop()
        return values
    if kind == "string":
        # Texts side by side are one.
        parts = [text]
        while tokens[-1][0] == "string":
            parts.append(tokens.pop()[1])
        return ["".join(ast.literal_eval(part) for part in parts)]
    if kind == "word":
        return [text]
    raise ConfigError("A value was expected, not %r." % text)
