"""The file with the answers for many pictures: JSON lines or CSV. It holds what is done, so that a run that was killed goes on from it.

Lines are appended in one write and flushed to the disk before the next ones, so that after a crash only the last can be torn.
"""

import csv
import fcntl
import io
import json
import os
from typing import Any, Dict, Iterable, List, Set, Tuple

from tfleet import files
from tfleet.errors import TfleetError

JSONL, CSV = "jsonl", "csv"
COLUMNS = ("image", "version", "width", "height", "class", "label", "score", "ymin", "xmin", "ymax", "xmax", "error")

Line = Dict[str, Any]


class Lines(object):
    """A context manager: `done` are the names of the pictures that the file holds already, without those that failed."""

    def __init__(self, path: str, form: str, model: str) -> None:
        self.path = path
        self.form = form
        self.done: Set[str] = set()
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise TfleetError("Could not open %s: %s. Check that its directory exists and is writable." % (path, files.reason(error)))
        try:
            self._begin(model)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *unused: Any) -> None:
        os.close(self._descriptor)

    def write(self, lines: List[Line]) -> None:
        """Appends the lines; they are on the disk when this returns."""
        data = text(lines, self.form).encode("utf-8")
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            os.fsync(self._descriptor)
        except OSError as error:
            raise TfleetError("Could not write %s: %s. Make space; the same command then goes on." % (self.path, files.reason(error)))

    def _begin(self, model: str) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TfleetError("Another run is writing %s. Wait for it, or give this one a file of its own." % self.path)
        with open(self.path, "rb") as stream:
            data = stream.read()
        kept, self.done = (_json_kept if self.form == JSONL else _csv_kept)(self.path, data, model)
        if self.form == CSV and not kept:
            kept = (",".join(COLUMNS) + "\r\n").encode("utf-8")
        if kept != data:
            # The lines that stay are the first ones but for pictures that failed; those are tried again.
            if data.startswith(kept):
                os.ftruncate(self._descriptor, len(kept))
            else:
                self._replace(kept)
        os.lseek(self._descriptor, 0, os.SEEK_END)

    def _replace(self, data: bytes) -> None:
        files.atomic_write(self.path, data)
        os.close(self._descriptor)
        self._descriptor = os.open(self.path, os.O_RDWR)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def text(lines: Iterable[Line], form: str) -> str:
    """Lines as they stand in a file of the form."""
    if form == JSONL:
        return "".join(json.dumps(line, sort_keys=False) + "\n" for line in lines)
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    for line in lines:
        for row in rows(line):
            writer.writerow(["" if row.get(column) is None else row[column] for column in COLUMNS])
    return buffer.getvalue()


def rows(line: Line) -> List[Dict[str, Any]]:
    """One row of COLUMNS for each object or class of a picture; a single one without a class if there are none."""
    common = {name: line.get(name) for name in ("image", "version", "width", "height", "error")}
    found: List[Dict[str, Any]] = line.get("detections") or line.get("top") or []
    many = []
    for item in found:
        box = dict(zip(("ymin", "xmin", "ymax", "xmax"), item.get("box", ())))
        many.append(dict(common, **dict({name: item[name] for name in ("class", "label", "score")}, **box)))
    return many or [common]


def _json_kept(path: str, data: bytes, model: str) -> Tuple[bytes, Set[str]]:
    kept, done = [], set()
    for number, line in enumerate(data.splitlines(True), 1):
        if not line.endswith(b"\n"):
            break  # torn
        try:
            value = json.loads(line.decode("utf-8"))
            name, other = value["image"], value.get("model", model)
        except (ValueError, KeyError, TypeError):
            raise TfleetError("Line %d of %s is not an answer of this command. Give --output a file of its own." % (number, path))
        if other != model:
            raise TfleetError("%s holds answers of model '%s', not '%s'. Give --output a file of its own." % (path, other, model))
        if "error" not in value:
            kept.append(line)
            done.add(name)
    return b"".join(kept), done


def _csv_kept(path: str, data: bytes, _model: str) -> Tuple[bytes, Set[str]]:
    """The rows of the last picture are taken away: whether they are all there cannot be told."""
    if not data:
        return b"", set()
    whole = data[: data.rfind(b"\n") + 1]
    table = list(csv.reader(io.StringIO(whole.decode("utf-8", "replace"), newline="")))
    if whole and tuple(table[0]) != COLUMNS:
        raise TfleetError("%s is not a table of this command. Give --output a file of its own." % path)
    table = [row for row in table[1:] if len(row) == len(COLUMNS)]
    last = table[-1][0] if table else None
    kept = [row for row in table if row[0] != last and not row[-1]]
    buffer = io.StringIO()
    csv.writer(buffer).writerows([list(COLUMNS)] + kept)
    return buffer.getvalue().encode("utf-8"), {row[0] for row in kept}
