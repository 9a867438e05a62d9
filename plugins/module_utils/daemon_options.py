# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Options in Docker's daemon.json: what belongs to whom, what a change does, and how it is taken back.

Several parties write to daemon.json: people, nvidia-ctk, and the roles of this collection. Each of ours has a name, and a record
beside daemon.json says which options it set and what they were before, so that taking them back restores exactly that and leaves
alone what somebody else has changed since.
"""
import collections
import copy
import json
import os
import stat
from typing import Any, Dict

from ansible_collections.tfleet.serving.plugins.module_utils.durable import make_directories, remove_tree, write_atomically
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError

RECORD_SUFFIX = ".tfleet"
# What a record says of an option that was not there before.
MISSING = {"missing": True}

Plan = collections.namedtuple("Plan", "options record notes")


class DaemonOptionsError(ModuleError):
    """daemon.json, its record or the wanted options cannot be used."""


def read_object(path):
    """Return the JSON object in a file; an empty or missing file is an empty object, as it is for dockerd.

    :raises DaemonOptionsError: the file holds something else.
    """
    try:
        with open(path, "rb") as stream:
            text = stream.read().decode("utf-8")
        value = json.loads(text, object_pairs_hook=collections.OrderedDict) if text.strip() else {}
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DaemonOptionsError("%s is not JSON: %s. Docker does not start with it either. Correct it by hand (`python3 -m json.tool %s` shows the "
                                 "place), or move it away. It was not changed." % (path, error, path))
    if not isinstance(value, dict):
        raise DaemonOptionsError("%s holds a JSON %s, and Docker reads an object there: {...}. Correct it by hand, or move it away. It was not changed."
                                 % (path, type(value).__name__))
    return value


def text_of(options):
    """Return an object as the text of daemon.json, in the indentation that nvidia-ctk writes too; "" for none."""
    return json.dumps(options, indent=4, ensure_ascii=False) + "\n" if options else ""


def leaves(options, path=()):
    """Yield (path, value) of every single option: objects are taken apart, but a runtime is one thing, and so is a list.

    :raises DaemonOptionsError: an option has no value.
    """
    for key, value in options.items():
        here = path + (key,)
        if isinstance(value, dict) and value and not _is_runtime(here):
            yield from leaves(value, here)
        elif value is None:
            raise DaemonOptionsError("The option %s has no value. Give it one, or leave it out: an option that is no longer given is taken back."
                                     % dotted(here))
        else:
            yield here, _as_docker_reads(here, value)


def same(path, one, other):
    """Say whether two values of an option mean the same to Docker.

    ``args`` and ``runtimeArgs`` of a runtime are alike, and so are an empty list and none: nvidia-ctk writes the former, JetPack the
    latter (facts/jetson.md, section 4d).
    """
    if _is_runtime(path) and isinstance(one, dict) and isinstance(other, dict):
        return _plain_runtime(one) == _plain_runtime(other)
    return one == other


def plan(actual, record, name, wanted):
    """Return the Plan that makes ``wanted`` the options of ``name``; ``{}`` takes all of them back.

    :param actual: the content of daemon.json.
    :param record: {name: [{"path", "value", "before"}]} of all names.
    :raises DaemonOptionsError: an option belongs to another name, or stands below something that is no object.
    """
    options, notes = copy.deepcopy(actual), []
    wanted_leaves = dict(leaves(wanted))
    _refuse_foreign(record, name, wanted_leaves)
    mine = {tuple(entry["path"]): entry for entry in record.get(name, [])}
    for path, entry in mine.items():
        if path in wanted_leaves:
            continue
        now = _get(options, path)
        if now is None or same(path, now, entry["value"]):
            _put_back(options, path, entry["before"])
        else:
            notes.append("%s was changed by somebody else since it was set here, to %s; it was left alone." % (dotted(path), json.dumps(now)))
    entries = []
    for path, value in wanted_leaves.items():
        now = _get(options, path)
        before = mine[path]["before"] if path in mine else (MISSING if now is None else {"value": now})
        entries.append({"path": list(path), "value": value, "before": before})
        if now is None or not same(path, now, value):
            _set(options, path, value)
    others = {other: kept for other, kept in record.items() if other != name}
    return Plan(options, dict(others, **({name: entries} if entries else {})), notes)


def options_of(record, name):
    """Return the options that the record has for one name, in the structure of daemon.json."""
    options: Dict[str, Any] = {}
    for entry in record.get(name, []):
        _set(options, tuple(entry["path"]), entry["value"])
    return options


class DaemonFile(object):
    """One daemon.json with its record, ``{"original": text or null, "options": {name: [{"path", "value", "before"}]}}``.

    :param path: absolute path; a link is followed.
    """

    def __init__(self, path):
        self.path = os.path.realpath(path)
        self.record_path = self.path + RECORD_SUFFIX
        self.options = read_object(self.path)
        self.text = _text_in(self.path)
        record = read_object(self.record_path)
        self.record = record.get("options", {})
        self._original = record.get("original", self.text)

    def text_after(self, wanted):
        """Return the text of daemon.json after a Plan, None for no file. With the last option goes our formatting too."""
        if not wanted.record and self._original is not None and json.loads(self._original or "{}") == wanted.options:
            return self._original
        if wanted.options == self.options:
            return self.text
        return text_of(wanted.options) or None

    def changes(self, wanted):
        """Say whether a Plan changes either file."""
        return wanted.record != self.record or self.text_after(wanted) != self.text

    def write(self, wanted):
        """Bring both files to a Plan.

        The record goes first when there is one afterwards: a run that is killed in between leaves a record that is too long, and
        what it says of an option that was never set is what it was.
        """
        mode = stat.S_IMODE(os.stat(self.path).st_mode) if os.path.exists(self.path) else 0o644
        make_directories(os.path.dirname(self.path))
        if wanted.record:
            # What options were before may be somebody's secret.
            record = {"original": self._original, "options": wanted.record}
            write_atomically(self.record_path, text_of(record).encode("utf-8"), mode=0o600)
        text = self.text_after(wanted)
        if text is None:
            remove_tree(self.path)
        elif text != self.text:
            write_atomically(self.path, text.encode("utf-8"), mode=mode)
        if not wanted.record:
            remove_tree(self.record_path)


def dotted(path):
    """Return the path of an option as people write it, such as log-opts.max-size."""
    return ".".join(path)


def _text_in(path):
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("utf-8")
    except FileNotFoundError:
        return None


def _is_runtime(path):
    return len(path) == 2 and path[0] == "runtimes"


def _plain_runtime(runtime):
    plain = {key: value for key, value in runtime.items() if key not in ("args", "runtimeArgs")}
    plain["args"] = (runtime.get("runtimeArgs") or []) + (runtime.get("args") or [])
    return plain


def _as_docker_reads(path, value):
    # dockerd refuses numbers and booleans there, and YAML makes them of what people write.
    if path[0] == "log-opts" and not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return value


def _refuse_foreign(record, name, wanted):
    for other, entries in record.items():
        for entry in entries:
            path = tuple(entry["path"])
            if other != name and path in wanted and not same(path, wanted[path], entry["value"]):
                raise DaemonOptionsError("%s is set to %s by %s and would be set to %s by %s. Give it in one place only."
                                         % (dotted(path), json.dumps(entry["value"]), other, json.dumps(wanted[path]), name))


def _get(options, path):
    for key in path:
        if not isinstance(options, dict) or key not in options:
            return None
        options = options[key]
    return options


def _set(options, path, value):
    for depth, key in enumerate(path[:-1]):
        options = options.setdefault(key, {})
        if not isinstance(options, dict):
            raise DaemonOptionsError("%s in daemon.json is %s, and %s would stand in it. Correct it by hand: Docker wants an object there. "
                                     "It was not changed." % (dotted(path[:depth + 1]), json.dumps(options), dotted(path)))
    options[path[-1]] = value


def _put_back(options, path, before):
    if before != MISSING:
        _set(options, path, before["value"])
        return
    parents = [options]
    for key in path[:-1]:
        if key not in parents[-1]:
            return
        parents.append(parents[-1][key])
    parents[-1].pop(path[-1], None)
    # An object that is empty now was made for this option, or says nothing.
    for parent, key in reversed(list(zip(parents[:-1], path[:-1]))):
        if not parent[key]:
            del parent[key]
