# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""One model's entry in the text of a model.config: found, replaced, removed, and narrowed to some versions. What stands around it is never touched.

All models of a device share the file, and each may be in a rollout of its own.
"""
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.model_config import ENTRY, LABELS, LIST, fields_of, values

POLICY = "model_version_policy"
_MIXED = "The server's model.config has %s, so its models cannot be told apart. Run playbooks/site.yml, which writes it anew."


class EntryError(ModuleError):
    """A model.config whose models cannot be told apart."""


def entry_of(text, model):
    """Return the entry of a model, from ``config`` to its end; None if the file has none."""
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
    (message,) = fields_of(entry)
    replaced = {(field.begin, field.end) for field in message.value if field.name == POLICY or (field.name == LABELS and not labels)}
    for place in sorted(replaced, reverse=True):
        begin, end = _whole_lines(entry, *place)
        entry = entry[:begin] + entry[end:]
    policy = "\n    %s { specific { %s } }\n" % (POLICY, " ".join("versions: %d" % version for version in sorted(versions)))
    return entry[:message.value_begin] + policy + entry[message.value_begin:].lstrip("\n")


def _list(text):
    found = [field for field in fields_of(text) if field.name == LIST and not isinstance(field.value, str)]
    if len(found) != 1:
        raise EntryError(_MIXED % ("%s model_config_list" % (len(found) or "no")))
    return found[0]


def _entries(text):
    entries = {name: field for field in _list(text).value if field.name == ENTRY for name in values(field.value, "name")}
    if len({field.begin for field in entries.values()}) < len(entries):
        raise EntryError(_MIXED % "several models in one config")
    return entries


def _whole_lines(text, begin, end):
    """The span with the blanks before it and the end of its line, if it stands alone there."""
    before = len(text[:begin].rstrip(" \t"))
    after = len(text) - len(text[end:].lstrip(" \t"))
    if text[before - 1:before] not in ("", "\n") or text[after:after + 1] not in ("", "\n"):
        return begin, end
    return before, after + 1
