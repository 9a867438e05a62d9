# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""One model's entry in the text of a model.config: found, replaced, removed, and narrowed to some versions. What stands around it is never touched.

All models of a device share the file, and each may be in a rollout of its own.
"""
import re
import typing

from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError

_TOKEN = re.compile(r'''#[^\n]*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[{}<>\[\]]|[^\s:,;{}<>\[\]"'#]+''')
_OPEN, _CLOSE = "{<[", "}>]"
LIST, ENTRY, POLICY, LABELS = "model_config_list", "config", "model_version_policy", "version_labels"


class EntryError(ModuleError):
    """A model.config whose models cannot be told apart."""


# A field of a message in text format: where it stands, and where its value does (of a message: between its braces).
_Field = typing.NamedTuple("_Field", [("name", str), ("begin", int), ("end", int), ("value_begin", int), ("value_end", int)])


def entry_of(text, model):
    """Return the entry of a model, from ``config`` to its closing brace; None if the file has none."""
    found = _entries(text).get(model)
    return text[found.begin:found.end] if found else None


def with_entry(text, model, entry):
    """Return the file with another entry of the model, with none if ``entry`` is None; a new one comes before the next name, as the role sorts them."""
    entries = _entries(text)
    if model in entries:
        begin, end = entries[model].begin, entries[model].end
        if entry is None:
            begin, end = _whole_lines(text, begin, end)
        return text[:begin] + (entry or "") + text[end:]
    if entry is None:
        return text
    later = [entries[name].begin for name in sorted(entries) if name > model]
    begin, _end = _whole_lines(text, later[0] if later else _list(text).value_end, len(text))
    return "%s  %s\n%s" % (text[:begin], entry, text[begin:])


def serving(entry, versions, labels=True):
    """Return an entry that has exactly these versions loaded, without its labels where ``labels`` is false."""
    (message,) = _fields(entry, 0, len(entry))
    replaced = (POLICY,) if labels else (POLICY, LABELS)
    for field in reversed(list(_fields(entry, message.value_begin, message.value_end))):
        if field.name in replaced:
            begin, end = _whole_lines(entry, field.begin, field.end)
            entry = entry[:begin] + entry[end:]
    policy = "\n    %s { specific { %s } }\n" % (POLICY, " ".join("versions: %d" % version for version in sorted(versions)))
    return entry[:message.value_begin] + policy + entry[message.value_begin:].lstrip("\n")


def _list(text):
    found = [field for field in _fields(text, 0, len(text)) if field.name == LIST]
    if len(found) != 1:
        raise EntryError("The server's model.config has %s model_config_list, so its models cannot be told apart. Run playbooks/site.yml, which writes "
                         "it anew." % (len(found) or "no"))
    return found[0]


def _entries(text):
    place = _list(text)
    entries: typing.Dict[str, typing.Any] = {}
    for entry in _fields(text, place.value_begin, place.value_end):
        for field in _fields(text, entry.value_begin, entry.value_end):
            if entry.name == ENTRY and field.name == "name":
                entries[text[field.value_begin:field.value_end].strip("\"'")] = entry
    return entries


def _fields(text, begin, end):
    """Yield each field of a message; those of the messages inside it not."""
    name, start, depth, inside = "", begin, 0, begin
    for match in _TOKEN.finditer(text, begin, end):
        token = match.group()
        if token.startswith("#"):
            continue
        if token in _OPEN:
            depth += 1
            inside = match.end() if depth == 1 else inside
        elif token in _CLOSE:
            depth -= 1
            if depth == 0 and name:
                yield _Field(name, start, match.end(), inside, match.start())
                name = ""
        elif depth == 0 and name:
            yield _Field(name, start, match.end(), match.start(), match.end())
            name = ""
        elif depth == 0:
            name, start = token, match.start()


def _whole_lines(text, begin, end):
    """The span with the blanks before it and the end of its line, if it stands alone there."""
    before = len(text[:begin].rstrip(" \t"))
    after = len(text) - len(text[end:].lstrip(" \t"))
    if text[before - 1:before] not in ("", "\n") or text[after:after + 1] not in ("", "\n"):
        return begin, end
    return before, after + 1
