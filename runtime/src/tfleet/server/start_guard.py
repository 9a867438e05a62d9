"""The start guard: a version that was being loaded when the server died is put aside, so that a crash never loops.

What is being loaded stands in a file (--tfleet_start_guard_file) for as long as it takes. Entries that the next start finds
there are versions that the server died of, or with. A version is put aside by not looking at its directory any more, and not
by moving it: model directories are read-only for the server under systemd and often in containers.

One entry is the culprit. Of several, nobody knows which: they become suspects, which are loaded after all others and one by
one, so that a second death names its culprit. The same holds for a host that went down meanwhile: a power cut is not the
model's fault, but a model that takes the host down twice is put aside too.
"""
import fcntl
import json
import logging
import os
import threading
import time
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Tuple

from .. import files
from ..errors import TfleetError
from . import storage
from .status import ABORTED, FAILED_PRECONDITION, StatusError

log = logging.getLogger(__name__)

_BOOT_ID = "/proc/sys/kernel/random/boot_id"

_Key = Tuple[str, int, str]  # model, version, version directory
_Entries = Dict[_Key, Dict[str, Any]]


class StartGuard:
    """Keeps the record. Without a path it does nothing. Safe to use from any thread."""

    def __init__(self, path: str = "") -> None:
        self._path = path
        self._changed = threading.Condition()
        self._loading: _Entries = {}
        self._suspects: _Entries = {}
        self._aside: _Entries = {}
        self._alone = False  # a suspect is being loaded
        self._closed = False
        self._lock_file: Optional[int] = None  # held until the process ends

    def open(self) -> None:
        """Reads what the last server left behind and judges it. Raises StatusError if the file cannot be used."""
        if not self._path:
            return
        with self._changed:
            self._lock()
            self._judge(self._read())
            try:
                self._write()
            except TfleetError as error:
                raise StatusError(FAILED_PRECONDITION, "--tfleet_start_guard_file: %s" % error)

    def close(self) -> None:
        """The server ends in order: what is still being loaded is no suspect."""
        with self._changed:
            if self._path and not self._closed and self._lock_file is not None:
                self._closed = True
                self._loading.clear()
                self._save()

    @contextmanager
    def loading(self, model: str, version: int, path: str) -> Iterator[None]:
        """A version is being loaded while the block runs. Waits until it may: suspects are loaded alone."""
        key = (model, version, path)
        if not self._path:
            yield
            return
        with self._changed:
            alone = key in self._suspects
            while self._alone or (alone and self._loading):
                self._changed.wait()
            self._alone = alone
            if not self._closed:
                self._loading[key] = {"stamp": list(storage.stamp(path)), "since": _now(), "alone": alone}
                self._save()
        try:
            yield
        finally:
            with self._changed:
                self._loading.pop(key, None)
                self._suspects.pop(key, None)
                self._alone = False
                if not self._closed:
                    self._save()
                self._changed.notify_all()

    def allowed(self, model: str, base_path: str, found: Dict[int, str]) -> Dict[int, str]:
        """What of {version: child of base_path} may be loaded. A version that changed since, or went, is forgotten."""
        with self._changed:
            for key in [key for key in self._aside if key[0] == model]:
                if not os.path.lexists(key[2]) or tuple(self._aside[key]["stamp"]) != storage.stamp(key[2]):
                    log.info("Version %d of model %s changed since it was put aside: it may be loaded again", key[1], model)
                    del self._aside[key]
                    self._save()
            return {version: name for version, name in found.items()
                    if (model, version, os.path.join(base_path, name)) not in self._aside}

    def put_aside(self, model: str) -> Dict[int, StatusError]:
        """{version: why} of the model's versions that are aside now."""
        with self._changed:
            return {key[1]: StatusError(ABORTED, self._sentence(key, entry)) for key, entry in self._aside.items() if key[0] == model}

    def _sentence(self, key: _Key, entry: Dict[str, Any]) -> str:
        return ("Version %d of model %s was being loaded when the server died (loading began at %s), so it was put aside and is not "
                "loaded. Roll back or replace it; `touch %s` has it tried once more. %s records this"
                % (key[1], key[0], entry["since"], key[2], self._path))

    # The record

    def _lock(self) -> None:
        # A second server that starts while the first one is loading must not take that for a crash.
        try:
            lock_file = os.open(self._path + ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StatusError(FAILED_PRECONDITION, "--tfleet_start_guard_file=%s cannot be used: %s. Its directory must exist "
                              "and be writable for the server" % (self._path, error.strerror))
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock_file)
            raise StatusError(FAILED_PRECONDITION, "--tfleet_start_guard_file=%s is used by another server that runs. "
                              "Stop that server or choose another file" % self._path)
        self._lock_file = lock_file

    def _read(self) -> Dict[str, Any]:
        if not os.path.exists(self._path):
            return {}
        try:
            record = files.read_json(self._path)
            return {"boot": record["boot"], "loading": _entries(record["loading"]), "suspects": _entries(record["suspects"]),
                    "aside": _entries(record["aside"])}
        except (TfleetError, KeyError, TypeError) as error:
            log.error("The start guard begins anew, because its file cannot be read: %s", error)
            return {}

    def _judge(self, record: Dict[str, Any]) -> None:
        self._aside = record.get("aside", {})
        self._suspects = record.get("suspects", {})
        died: _Entries = record.get("loading", {})
        host_stayed_up = record.get("boot") == _boot_id()
        for key, entry in died.items():
            if len(died) == 1 and (host_stayed_up or entry["alone"]):
                self._suspects.pop(key, None)
                self._aside[key] = entry
            else:
                log.warning("Version %d of model %s was being loaded when the server died: it is loaded after the others, alone",
                            key[1], key[0])
                self._suspects[key] = entry
        for key, entry in self._aside.items():
            log.error("%s", self._sentence(key, entry))

    def _save(self) -> None:
        try:
            self._write()
        except TfleetError as error:
            log.error("The start guard cannot keep its record: %s", error)  # serving matters more

    def _write(self) -> None:
        record = {"format": 1, "boot": _boot_id(), "loading": _rows(self._loading), "suspects": _rows(self._suspects),
                  "aside": _rows(self._aside)}
        files.atomic_write(self._path, json.dumps(record, indent=2, sort_keys=True) + "\n")


def _rows(entries: _Entries) -> List[Dict[str, Any]]:
    return [dict(entry, model=key[0], version=key[1], path=key[2]) for key, entry in sorted(entries.items())]


def _entries(rows: List[Dict[str, Any]]) -> _Entries:
    return {(row["model"], row["version"], row["path"]): {"stamp": row["stamp"], "since": row["since"], "alone": row["alone"]} for row in rows}


def _boot_id() -> str:
    try:
        with open(_BOOT_ID) as source:
            return source.read().strip()
    except OSError:
        return ""


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
