"""Checks and imports the server's text-format files for people: what is wrong, where, and what was probably meant.

The server itself only says "Invalid protobuf file"; here every problem has its line and column and the next step.
"""
import difflib
import re
from collections import namedtuple
from typing import Any, Dict, List, Optional, Tuple

from google.protobuf import text_format

from .. import wire
from ..errors import TfleetError
from . import config as configs
from .status import StatusError

KINDS = {"model": "ModelServerConfig", "batching": "BatchingParameters", "monitoring": "MonitoringConfig"}

# models: inventory form; warnings: what the server accepts, but hardly as it was meant
Checked = namedtuple("Checked", "models warnings")
Imported = namedtuple("Imported", "models notes")

_UNKNOWN_FIELD = re.compile(r'Message type "(?P<message>[^"]+)" has no field named "(?P<field>[^"]+)"')
_SURE = 0.75  # likeness from which another field name is taken to be meant


class _FaultError(Exception):
    """One thing wrong in a text, with its place (1-based; 0: no place)."""

    def __init__(self, line: int, column: int, message: str, suggestion: str = "", found: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.column = column
        self.message = message
        self.suggestion = suggestion
        self.found = found

    def where(self, path: str) -> str:
        return "%s:%d:%d" % (path, self.line, self.column) if self.line else path


def check(kind: str, path: str) -> Checked:
    """Checks a file by the server's own rules. Raises TfleetError, whose result has file, line, column and suggestion."""
    text = _read(path)
    try:
        message = _parse(KINDS[kind], text)
        if kind == "model":
            return _check_models(text, message)
        if kind == "batching":
            configs.check_batching(message)
        else:
            configs.check_monitoring(message)
        return Checked([], [])
    except StatusError as error:
        raise TfleetError("%s: the model server would not accept it: %s." % (path, error.message.rstrip(".")), file=path)
    except _FaultError as fault:
        details: Dict[str, Any] = {"file": path}
        if fault.line:
            details.update(line=fault.line, column=fault.column)
        if fault.suggestion:
            details["suggestion"] = fault.suggestion
        raise TfleetError("%s: %s" % (fault.where(path), fault.message), **details)


def import_models(path: str) -> Imported:
    """The models of a hand-written model.config in inventory form, and what was wrong in it.

    A field name that can only be a misspelling is read as what was meant, and noted. Raises TfleetError for what cannot
    be understood.
    """
    text = _read(path)
    notes: List[str] = []
    config = None
    while config is None:
        try:
            config = _parse(KINDS["model"], text)
        except _FaultError as fault:
            if not fault.suggestion:
                raise TfleetError("%s: %s" % (fault.where(path), fault.message), file=path, line=fault.line, column=fault.column)
            notes.append("%s: the field `%s` does not exist; it was read as `%s`. The model server would not have accepted "
                         "the file" % (fault.where(path), fault.found, fault.suggestion))
            text = _replace(text, fault)
    if config.WhichOneof("config") == "custom_model_config":
        raise TfleetError("%s: custom_model_config is not supported by any released model server." % path, file=path)
    models: List[Dict[str, Any]] = []
    for model in config.model_config_list.config:
        if any(model.name == earlier["name"] for earlier in models):
            notes.append("The model %s is listed more than once; only the first entry was taken over" % model.name)
            continue
        models.append(inventory_form(model))
        notes.extend(_doubts(model))
        notes.extend(_refusals(model))
        notes.extend(_not_for_an_inventory(model))
    if not models:
        notes.append("The file lists no model")
    return Imported(models, notes)


def inventory_form(model: Any) -> Dict[str, Any]:
    """A ModelConfig as an item of `tfleet_models`: name, base_path, policy, labels."""
    policy = model.model_version_policy
    choice = policy.WhichOneof("policy_choice") or "latest"
    content: Dict[str, Any] = {}
    if choice == "latest":
        content = {"num_versions": max(policy.latest.num_versions, 1)}
    elif choice == "specific":
        content = {"versions": sorted(policy.specific.versions)}
    return {"name": model.name, "base_path": model.base_path, "policy": {choice: content},
            "labels": {label: model.version_labels[label] for label in sorted(model.version_labels)}}


def _check_models(text: str, config: Any) -> Checked:
    if config.WhichOneof("config") == "custom_model_config":
        raise _FaultError(1, 1, "custom_model_config is not supported by any released model server: use model_config_list.")
    names: List[str] = []
    warnings = []
    for model in config.model_config_list.config:
        places = _places(text, "name", model.name)
        place = places[0] if places else (0, 0)
        if not model.name:
            raise _FaultError(0, 0, "a model has no name: every config needs `name:`.")
        if model.name in names:
            place = places[1] if len(places) > 1 else place
            raise _FaultError(place[0], place[1], "Illegal to list model %s multiple times in config list: keep one of the two "
                              "entries, or give one of them another name." % model.name)
        names.append(model.name)
        problems = _refusals(model)
        if problems:
            if not configs.is_absolute(model.base_path):
                place = (_places(text, "base_path", model.base_path) or [place])[0]
            raise _FaultError(place[0], place[1], problems[0] + ".")
        warnings.extend(_doubts(model))
    configs.validate(config)
    if not names:
        warnings.append("The file lists no model: the server would unload everything")
    return Checked([inventory_form(model) for model in config.model_config_list.config], warnings)


def _refusals(model: Any) -> List[str]:
    """What would keep the server from accepting a model."""
    answer = []
    if not configs.is_absolute(model.base_path):
        answer.append("Expected model %s to have an absolute path or URI; got base_path()=%s: write the whole path, "
                      "beginning with a slash" % (model.name, model.base_path))
    try:
        if configs.platform(model) != configs.PLATFORM:
            answer.append("Model %s requests unsupported platform %s: the only one is \"%s\""
                          % (model.name, configs.platform(model), configs.PLATFORM))
    except StatusError as error:
        answer.append("%s: write `model_platform: \"tensorflow\"` and nothing else" % error.message)
    policy = model.model_version_policy
    if policy.WhichOneof("policy_choice") == "specific":
        for label in sorted(model.version_labels):
            if model.version_labels[label] not in policy.specific.versions:
                answer.append("Label %s of model %s points to version %d, which its policy `specific` (%s) does not serve: "
                              "add the version to the policy or move the label"
                              % (label, model.name, model.version_labels[label], ", ".join(map(str, policy.specific.versions))))
    if model.HasField("logging_config"):
        answer.append("Model %s has a logging_config, which makes the model server fail (No request-logger-creator "
                      "provided): remove it" % model.name)
    return answer


def _doubts(model: Any) -> List[str]:
    """What the server accepts, but hardly as it was meant."""
    answer = []
    policy = model.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "specific" and not policy.specific.versions:
        answer.append("Model %s has the policy `specific` without versions: nothing of it would be served" % model.name)
    if choice == "latest" and not policy.latest.num_versions:
        answer.append("Model %s asks for the latest 0 versions, which the server takes as 1" % model.name)
    if model.model_type:
        answer.append("Model %s uses the deprecated model_type: write `model_platform: \"tensorflow\"`" % model.name)
    if re.search(r"/[0-9]+/*\Z", model.base_path):
        answer.append("The base_path %s of model %s ends with a number: it has to be the directory above the version "
                      "directories" % (model.base_path, model.name))
    if model.version_labels:
        answer.append("Model %s has labels: the server starts with them only with "
                      "--allow_version_labels_for_unavailable_models" % model.name)
    return answer


def _not_for_an_inventory(model: Any) -> List[str]:
    """What the server takes and the collection's preflight refuses."""
    answer = []
    if not re.match(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z", model.name):
        answer.append("The inventory takes no model name like %r: use letters, digits, '_', '.' and '-', and tell the clients" % model.name)
    versions = [version for version in model.model_version_policy.specific.versions if version < 1]
    if versions:
        answer.append("The inventory takes positive version numbers only; model %s asks for %s" % (model.name, ", ".join(map(str, versions))))
    return answer


def _read(path: str) -> str:
    try:
        with open(path, "rb") as source:
            return source.read().decode("utf-8")
    except OSError as error:
        raise TfleetError("%s cannot be read: %s." % (path, error.strerror), file=path)
    except UnicodeDecodeError as error:
        raise TfleetError("%s is not UTF-8 text (byte %d): is it the right file?" % (path, error.start), file=path)


def _parse(type_name: str, text: str) -> Any:
    message = getattr(wire, type_name)()
    try:
        return text_format.Parse(text, message, descriptor_pool=wire.POOL)
    except text_format.ParseError as error:
        line, column = error.GetLine() or 0, error.GetColumn() or 0
        unknown = _UNKNOWN_FIELD.search(str(error))
        if unknown is None:
            # "3:5 : '<the whole line>': what": the line is said by its number
            what = re.sub(r"\A\d+:\d+ : ('.*': )?", "", str(error), flags=re.S)
            raise _FaultError(line, column, "%s%s." % (what.rstrip("."), _quoting_hint(what)))
        found = unknown.group("field")
        fields = list(wire.POOL.FindMessageTypeByName(unknown.group("message")).fields_by_name)
        meant = difflib.get_close_matches(found, fields, n=1, cutoff=_SURE)
        message_name = unknown.group("message").rpartition(".")[2]
        advice = "did you mean `%s:`?" % meant[0] if meant else "its fields are %s." % ", ".join(sorted(fields))
        raise _FaultError(line, column, "%s has no field `%s:`; %s" % (message_name, found, advice), meant[0] if meant else "", found)


def _quoting_hint(what: str) -> str:
    return ": texts have to stand in quotes" if what.startswith("Expected string") else ""


def _replace(text: str, fault: _FaultError) -> str:
    lines = text.split("\n")
    line, start = lines[fault.line - 1], fault.column - 1
    lines[fault.line - 1] = line[:start] + fault.suggestion + line[start + len(fault.found):]
    return "\n".join(lines)


def _places(text: str, field: str, value: str) -> List[Tuple[int, int]]:
    """Line and column of each `field: "value"`."""
    pattern = re.compile(r"\b%s\s*:\s*[\"']%s[\"']" % (re.escape(field), re.escape(value)))
    return [_place(text, match.start()) for match in pattern.finditer(text)]


def _place(text: str, position: int) -> Tuple[int, int]:
    before = text[:position]
    return before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1


def yaml_text(models: List[Dict[str, Any]], notes: Optional[List[str]] = None) -> str:
    """The inventory variable tfleet_models, to be pasted, with the notes as comments."""
    import json

    lines = ["# " + note for note in notes or []] + ["tfleet_models:" if models else "tfleet_models: []"]
    for model in models:
        lines.append("  - name: " + json.dumps(model["name"]))
        lines.extend("    %s: %s" % (key, json.dumps(model[key], sort_keys=True)) for key in ("base_path", "policy", "labels"))
    return "\n".join(lines) + "\n"
