# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""File operations whose result is either wholly there or not there after a crash or a power loss."""
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat

CHUNK = 1024 * 1024


def fsync_path(path):
    """Flush a file's content, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree_directories(root):
    """Flush the entries of every directory below ``root``, deepest first, and of ``root`` itself."""
    for directory, _names, _files in os.walk(root, topdown=False):
        fsync_path(directory)


def sha256_file(path):
    """Return the SHA-256 of a file as 64 lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def canonical_json(value):
    """Return ``value`` as bytes that depend on nothing but the value: sorted keys, two spaces, newline at the end."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


@contextlib.contextmanager
def replacing(path, mode=0o644):
    """Yield a binary stream; its content replaces ``path`` when the block ends without an error.

    The content is on the disk before the name points to it, and the name is on the disk before this returns. A run that
    is killed leaves one temporary file, which the next run takes over; a run beside this one waits.
    """
    directory, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(directory, ".%s.tmp" % name)
    with os.fdopen(_open_alone(temporary), "wb") as stream:
        try:
            stream.truncate(0)
            yield stream
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    fsync_path(directory)


def _open_alone(path):
    """Open ``path`` for writing and wait until nobody else writes it; the kernel ends the lock of a killed process."""
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Whoever had it before may have renamed or removed it while this waited.
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == os.stat(path).st_ino:
                return descriptor
        os.close(descriptor)


def write_atomically(path, content, mode=0o644):
    """Replace ``path`` by ``content`` (bytes)."""
    with replacing(path, mode) as stream:
        stream.write(content)


def make_directories(path, mode=0o755):
    """Create ``path`` and its missing parents with ``mode`` whatever the umask, and flush them to the disk.

    :returns: the directories that were created, outermost first.
    """
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    missing.reverse()
    for directory in missing:
        try:
            os.mkdir(directory)
        except OSError as error:
            # A run beside this one may have made it between the look and the act.
            if error.errno != errno.EEXIST or not os.path.isdir(directory):
                raise
        os.chmod(directory, mode)
        fsync_path(os.path.dirname(directory))
    return missing


def remove_tree(path):
    """Remove a directory, or whatever else has that name, without following links; nothing there is fine."""
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        return
    fsync_path(os.path.dirname(path))


def rename(source, destination):
    """Rename inside one file system and flush both parents, the new name first.

    :raises OSError: also if ``destination`` exists (``os.rename`` would silently replace an empty directory).
    """
    if os.path.lexists(destination):
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), destination)
    os.rename(source, destination)
    parents = [os.path.dirname(destination)]
    if os.path.dirname(source) != parents[0]:
        parents.append(os.path.dirname(source))
    for parent in parents:
        fsync_path(parent)
