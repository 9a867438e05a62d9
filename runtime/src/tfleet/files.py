"""Files that survive a crash: written aside, flushed, renamed; and their checksums."""

import hashlib
import json
import os
import tempfile
from typing import Any, Dict, Union

from tfleet.errors import TfleetError

_CHUNK = 1024 * 1024


def atomic_write(path: str, data: Union[bytes, str], mode: int = 0o644) -> None:
    """Replaces `path` by `data` (str as UTF-8) so that a reader, or a crash, finds the old content or the new, never a part.

    The directory must exist. Raises TfleetError with the path and the cause (no space, no permission); the old file stays.
    """
    if isinstance(data, str):
        data = data.encode("utf-8")
    directory = os.path.dirname(os.path.abspath(path))
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=".%s." % os.path.basename(path), dir=directory)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.rename(temporary, path)
        temporary = None
        fsync_directory(directory)
    except OSError as error:
        raise TfleetError(
            "Could not write %s: %s. Check that the directory exists, is writable and has space left." % (path, reason(error))
        )
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def fsync_directory(path: str) -> None:
    """Makes the names in a directory durable: what a rename needs besides the fsync of the file itself."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_file(path: str) -> str:
    """The SHA-256 of a file as 64 hexadecimal digits. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(_CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_tree(path: str) -> Dict[str, str]:
    """{path relative to `path`, with slashes: SHA-256} of each regular file below a directory. Raises OSError."""
    digests = {}
    for directory, _, names in os.walk(path, onerror=_raise):
        for name in names:
            full_name = os.path.join(directory, name)
            digests[os.path.relpath(full_name, path).replace(os.sep, "/")] = sha256_file(full_name)
    return digests


def read_json(path: str) -> Any:
    """Reads a JSON file. Raises TfleetError with the file, and the line and column of a mistake."""
    try:
        with open(path, "rb") as stream:
            return json.loads(stream.read().decode("utf-8"))
    except OSError as error:
        raise TfleetError("Could not read %s: %s." % (path, reason(error)))
    except ValueError as error:  # json's own error and UnicodeDecodeError
        raise TfleetError("%s is not valid JSON: %s. Correct the file." % (path, error))


def reason(error: OSError) -> str:
    """`No such file or directory` without the number and the path that str(error) repeats."""
    return error.strerror or str(error)


def _raise(error: OSError) -> None:
    raise error
