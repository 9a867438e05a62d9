# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Which file system a path is on, and whether the kernel swaps to files there."""
import array
import collections
import fcntl
import os

from ansible_collections.tfleet.serving.plugins.module_utils.memory import unescape

FileSystem = collections.namedtuple("FileSystem", "mount_point type options")

# Those whose blocks the kernel can address without asking the file system at every write. On tmpfs swap would be memory again, overlay and
# network file systems have no blocks to address, and vfat cannot keep the file's content from other users.
SWAP_TYPES = ("ext2", "ext3", "ext4", "xfs", "f2fs")
_GET_FLAGS = 0x80086601
_NO_COPY_ON_WRITE = 0x00800000


def file_system_of(path, proc_root):
    """Return the FileSystem that holds ``path`` (absolute, without links), by the longest mount point above it."""
    found = FileSystem("/", "unknown", ())
    with open(os.path.join(proc_root, "mounts"), encoding="latin-1") as stream:
        for line in stream:
            _device, mount_point, kind, options = line.split()[:4]
            mount_point = unescape(mount_point)
            # The last one wins: a later mount covers an earlier one on the same directory.
            if (path + "/").startswith(mount_point.rstrip("/") + "/") and len(mount_point) >= len(found.mount_point):
                found = FileSystem(mount_point, kind, tuple(options.split(",")))
    return found


def swap_refusal(file_system, directory):
    """Say why no swap file can be in ``directory`` of this file system; None if one can."""
    where = "%s is on %s, a file system of type %s" % (directory, file_system.mount_point, file_system.type)
    if "ro" in file_system.options:
        return "%s that is mounted read-only" % where
    if file_system.type == "btrfs":
        if "nodatacow" in file_system.options or _has_no_copy_on_write(directory):
            return None
        return "%s with copy-on-write, which the kernel does not swap to. A directory made with `chattr +C` would do" % where
    if file_system.type not in SWAP_TYPES:
        return "%s, which does not take swap files; %s do" % (where, ", ".join(SWAP_TYPES))
    return None


def _has_no_copy_on_write(directory):
    flags = array.array("l", [0])
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _GET_FLAGS, flags, True)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return bool(flags[0] & _NO_COPY_ON_WRITE)
