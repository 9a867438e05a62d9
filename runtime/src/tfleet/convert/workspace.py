"""A folder that appears whole or not at all: built in a hidden sibling, made durable, renamed. No TensorFlow here."""

import fcntl
import glob
import os
import shutil
import tempfile
from typing import Any, Iterable, Optional

from tfleet import files


class Workspace(object):
    """A hidden folder beside the destination, held by a lock while this process lives; for a dry run in the system's temporary folder."""

    def __init__(self, dest: str, dry_run: bool = False) -> None:
        self._dest = dest
        self._dry_run = dry_run
        self._root: Optional[str] = None
        self._lock = -1

    def __enter__(self) -> "Workspace":
        return self

    def folder(self) -> str:
        """The folder, made when it is first needed."""
        if self._root is None:
            parent = tempfile.gettempdir() if self._dry_run else os.path.dirname(self._dest)
            os.makedirs(parent, exist_ok=True)
            self._root = tempfile.mkdtemp(prefix=_prefix(self._dest), dir=parent)
            self._lock = os.open(self._root, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        return self._root

    def __exit__(self, *_exception: Any) -> None:
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
            os.close(self._lock)


def _prefix(dest: str) -> str:
    return ".%s.tfleet-" % os.path.basename(dest)


def sweep(dest: str) -> None:
    """Remove what a killed run with the same destination left. A running one holds the lock of its folder."""
    for folder in glob.glob(os.path.join(glob.escape(os.path.dirname(dest)), glob.escape(_prefix(dest)) + "*")):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(lock)


def put(path: str, chunks: Iterable[bytes]) -> None:
    """Write chunks of bytes to a new file and make it durable."""
    with open(path, "xb") as out:
        for chunk in chunks:
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    os.chmod(path, 0o644)


def publish(built: str, dest: str) -> None:
    """Make the folder ``built``, whose files are durable, durable itself and rename it to ``dest``."""
    for folder, _folders, _names in os.walk(built):
        os.chmod(folder, 0o755)  # noqa: S103 (a server under its own user reads models)
        files.fsync_directory(folder)
    os.rename(built, dest)
    files.fsync_directory(os.path.dirname(dest))
