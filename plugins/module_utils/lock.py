# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""One run at a time in a directory."""
import contextlib
import errno
import fcntl
import os
import time

from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError


class LockError(ModuleError):
    """Another run is at work."""


@contextlib.contextmanager
def alone_in(directory, seconds):
    """Keep every other run out of ``directory`` while the block runs; the kernel ends the lock of a killed run.

    The directory itself is locked, so that no lock file is left behind.

    :param seconds: how long to wait for another run to end.
    :raises LockError: it did not; names its process where the kernel tells.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        end = time.time() + seconds
        while not _try_lock(descriptor):
            if time.time() > end:
                raise LockError("Another tfleet run%s has been working in %s for more than %d seconds. Wait for it to end, or end it, and "
                                "run again." % (_holder(descriptor), directory, seconds))
            time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor):
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
            raise
        return False
    return True


def _holder(descriptor):
    inode = str(os.fstat(descriptor).st_ino)
    with contextlib.suppress(OSError, IndexError), open("/proc/locks") as locks:
        for line in locks:
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].split(":")[-1] == inode:
                return " (process %s)" % fields[4]
    return ""
