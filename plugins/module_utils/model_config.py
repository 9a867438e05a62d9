# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A model.config, for who has no protobuf: its fields with their places, what it tells of its models, and one that tells of models.

It is a text of a protobuf message. The server checks it against its fields; here it is read in whatever form the server takes, and written in one.
"""
import ast
import json
import re
import typing

from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError

_TOKEN = re.compile(r"""\s+|\#[^\n]*|(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<word>[\w.+-]+|\[[\w./]+\])|(?P<mark>[{}<>:;,\[\]])""")
_END = re.compile("")
_CLOSING = {"{": "}", "<": ">"}
LIST, ENTRY, LABELS = "model_config_list", "config", "version_labels"

# Where it stands with its separator, where its value does (of a message: between its braces), and that: a text, or the fields of a message. Fields of one
# list in brackets stand at one place.
Field = typing.NamedTuple("Field", [("name", str), ("begin", int), ("end", int), ("value_begin", int), ("value_end", int), ("value", typing.Any)])


class ConfigError(ModuleError):
    """The text is no model.config."""


def models_of(text):
    """Return [{name, base_path, labels: {label: version}}] of a model.config, in its order.

    :raises ConfigError: naming the place.
    """
    models = []
    for each in [config for group in values(fields_of(text), LIST) for config in values(group, ENTRY)]:
        labels = {_one(label, "key"): _number(_one(label, "value") or "0") for label in values(each, LABELS)}
        models.append({"name": _one(each, "name"), "base_path": _one(each, "base_path"), "labels": labels})
    return models


def model_config(models, labels, policies):
    """Return the text of a model.config.

    :param models: result of models.normalise(), of which ``name``, ``base_path`` and ``policy`` are read.
    :param labels: {model: {label: version}}.
    :param policies: {model: version policy} instead of the models' own.
    """
    lines = [LIST + " {"]
    for model in sorted(models, key=lambda model: str(model["name"]).lower()):
        lines += ["  %s {" % ENTRY, "    name: " + _quoted(model["name"]), "    base_path: " + _quoted(model["base_path"]),
                  '    model_platform: "tensorflow"', "    model_version_policy {"]
        policy = policies.get(model["name"], model["policy"])
        if "latest" in policy:
            lines.append("      latest { num_versions: %s }" % policy["latest"]["num_versions"])
        elif "specific" in policy:
            lines += ["      specific {"] + ["        versions: %s" % version for version in policy["specific"]["versions"]] + ["      }"]
        else:
            lines.append("      all {}")
        lines.append("    }")
        for label in sorted(labels[model["name"]], key=lambda label: str(label).lower()):
            lines.append("    %s { key: %s value: %s }" % (LABELS, _quoted(label), labels[model["name"]][label]))
        lines.append("  }")
    return "\n".join(lines + ["}"])


def _quoted(text):
    # Escapes of whole characters are not read by every protobuf.
    return json.dumps(text, ensure_ascii=False)


def fields_of(text):
    """Return the fields of a message's text, in its order.

    :raises ConfigError: naming the place.
    """
    return _fields(_tokens(text), "")[0]


def values(fields, name):
    """Return the values of a message's fields of that name."""
    if isinstance(fields, str):
        raise ConfigError("A message was expected, not %r." % fields)
    return [field.value for field in fields if field.name == name]


def _one(fields, name):
    return ([""] + values(fields, name))[-1]


def _number(text):
    """Return a number in any form that the server takes: in protobuf's texts a leading zero is octal."""
    try:
        return int(text, 8) if re.match(r"0[0-7]+\Z", text) else int(text, 0)
    except ValueError:
        raise ConfigError("A number was expected, not %r." % text)


def _text(token):
    """Return a string as it is meant: protobuf writes the bytes of UTF-8 as escapes, others whole characters."""
    try:
        return ast.literal_eval(token.encode("utf-8").decode("latin-1")).encode("latin-1").decode("utf-8")
    except UnicodeError:
        return ast.literal_eval(token)
    except (SyntaxError, ValueError):
        raise ConfigError("A text was expected, not %s." % token)


def _tokens(text):
    """Return the matches of all tokens and of the end, the first one last."""
    found: typing.List[typing.Any] = []
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if not match:
            raise ConfigError("Line %d is no text of a protobuf message: %s" % (text.count("\n", 0, place) + 1, text[place:place + 40].splitlines()[0]))
        if match.lastgroup:
            found.append(match)
        place = match.end()
    found.append(_END.match(text, place))
    found.reverse()
    return found


def _fields(tokens, closing):
    """Return the fields before ``closing``, and where that stands."""
    found: typing.List[Field] = []
    while True:
        token = tokens.pop()
        name = token.group()
        if name == closing:
            return found, token
        if token.lastgroup != "word":
            raise ConfigError("A field was expected, not %r." % name)
        if tokens[-1].group() == ":":
            tokens.pop()
        several, end = _values(tokens)
        if tokens[-1].group() in (",", ";"):
            end = tokens.pop().end()
        found += [Field(name, token.start(), end, *value) for value in several]


def _values(tokens):
    """Return [(begin, end, value)] of one or, in brackets, several; and where all that ends."""
    first = tokens.pop()
    text = first.group()
    if text in _CLOSING:
        fields, last = _fields(tokens, _CLOSING[text])
        return [(first.end(), last.start(), fields)], last.end()
    if text == "[":
        several = []
        while tokens[-1].group() != "]":
            several += _values(tokens)[0]
            if tokens[-1].group() == ",":
                tokens.pop()
        return several, tokens.pop().end()
    if first.lastgroup == "string":
        # Texts side by side are one.
        parts = [first]
        while tokens[-1].lastgroup == "string":
            parts.append(tokens.pop())
        end = parts[-1].end()
        return [(first.start(), end, "".join(_text(part.group()) for part in parts))], end
    if first.lastgroup == "word":
        return [(first.start(), first.end(), text)], first.end()
    raise ConfigError("A value was expected, not %r." % text)
