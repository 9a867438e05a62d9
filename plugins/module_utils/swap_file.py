# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A swap file: what is there, what has to be done, and doing it so that a killed run leaves nothing half-made in the file's place.

The new file is made under a temporary name with mode 0600, formatted and flushed, and only then gets its name. What a killed run
leaves is that temporary file, which the next run removes first.
"""
import collections
import os
import stat

from ansible_collections.tfleet.serving.plugins.module_utils import memory
from ansible_collections.tfleet.serving.plugins.module_utils.commands import demand
from ansible_collections.tfleet.serving.plugins.module_utils.durable import fsync_path
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.filesystems import file_system_of, swap_refusal
from ansible_collections.tfleet.serving.plugins.module_utils.fstab import Fstab, is_as_good, swap_line

PAGE_SIZES = (4096, 16384, 65536)
SIGNATURES = (b"SWAPSPACE2", b"SWAP-SPACE")
# Blocks that fallocate reserves are holes to the kernel's swap code on other file systems, so those are filled with zeros.
FALLOCATE_TYPES = ("ext4",)
CHUNK = 4 * memory.MIB

# What shall be: size_bytes None means no file; fstab None leaves the lines alone, a list is put in their place.
Wanted = collections.namedtuple("Wanted", "size_bytes active priority fstab keep_free_percent")
# What is: kind is absent, swap, or what else has the path.
Found = collections.namedtuple("Found", "kind size_bytes mode holes area leftover fstab")


class SwapFileError(ModuleError):
    """The swap file cannot be what it shall be; nothing was changed, or it was put back."""


class SwapFile:
    """The swap file of one path.

    :param path: absolute path whose directory exists.
    :param proc_root: where /proc is.
    :param etc_root: where /etc is.
    """

    def __init__(self, path, proc_root="/proc", etc_root="/etc"):
        if not os.path.isabs(path) or path != os.path.normpath(path):
            raise SwapFileError("path %r is not absolute and plain. Write it as /mnt/swapfile." % path)
        self.directory = os.path.realpath(os.path.dirname(path))
        self.path = os.path.join(self.directory, os.path.basename(path))
        self.temporary = os.path.join(self.directory, ".%s.tfleet-new" % os.path.basename(path))
        self.proc_root = proc_root
        self.fstab = Fstab(os.path.join(etc_root, "fstab"))

    def look(self):
        """Return what is Found at the path."""
        area = next((area for area in memory.swap_areas(self.proc_root) if area.path == self.path), None)
        try:
            status = os.lstat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return Found("absent", 0, None, False, area, os.path.lexists(self.temporary), self.fstab.lines_of(self.path))
        kind = _kind(self.path, status)
        return Found(kind, status.st_size, stat.S_IMODE(status.st_mode), status.st_blocks * 512 < status.st_size, area,
                     os.path.lexists(self.temporary), self.fstab.lines_of(self.path))

    def fstab_for(self, found, priority):
        """Return the fstab lines for a lasting swap file: those that are there if they do, else ours."""
        good = len(found.fstab) == 1 and is_as_good(found.fstab[0], priority)
        return found.fstab if good else [swap_line(self.path, priority)]

    def plan(self, wanted, found):
        """Return the verbs that turn ``found`` into ``wanted``, in their order.

        :raises SwapFileError: something is in the way; says what, and what to do.
        """
        if found.kind not in ("absent", "swap"):
            raise SwapFileError("%s is there and is %s, so it is neither used nor removed. Give another path, or move it away." % (self.path, found.kind))
        verbs = ["clean"] if found.leftover else []
        verbs += self._plan_file(wanted, found)
        if wanted.fstab is not None and wanted.fstab != found.fstab:
            # A file that is about to go must not be asked for at boot any more; one that comes is only asked for once it works.
            verbs.insert(verbs.index("remove") if wanted.size_bytes is None and "remove" in verbs else len(verbs), "fstab")
        if "swapoff" in verbs:
            crowded = memory.no_room_for([found.area], self.proc_root)
            if crowded:
                raise SwapFileError("%s cannot be changed now: %s. Stop what uses the memory (the model server, a build), or reboot the host, "
                                    "and run again. Nothing was changed." % (self.path, crowded))
        return verbs

    def _plan_file(self, wanted, found):
        off = ["swapoff"] if found.area else []
        if wanted.size_bytes is None:
            return off + (["remove"] if found.kind == "swap" else [])
        if found.kind == "swap" and found.size_bytes == wanted.size_bytes and not found.holes:
            verbs = ["protect"] if found.mode != 0o600 else []
            if not wanted.active:
                return verbs + off
            if found.area is None:
                return verbs + ["swapon"]
            if wanted.priority is not None and found.area.priority != wanted.priority:
                return verbs + ["swapoff", "swapon"]
            return verbs
        on = ["swapon"] if wanted.active else []
        if self._first_remove(wanted, found):
            return off + ["remove", "allocate", "place"] + on
        return ["allocate"] + off + ["place"] + on

    def _first_remove(self, wanted, found):
        """Say whether the disk has room for the new file only without the old one.

        :raises SwapFileError: it has none at all, or the file system takes no swap files.
        """
        refusal = swap_refusal(file_system_of(self.directory, self.proc_root), self.directory)
        if refusal:
            raise SwapFileError("No swap file at %s: %s. Give a path on the host's own disk. Nothing was changed." % (self.path, refusal))
        disk = os.statvfs(self.directory)
        total, free = disk.f_frsize * disk.f_blocks, disk.f_frsize * disk.f_bavail
        reserve = total * wanted.keep_free_percent // 100
        old = os.lstat(self.path).st_blocks * 512 if found.kind == "swap" else 0
        if found.leftover:
            free += os.lstat(self.temporary).st_blocks * 512
        if free - wanted.size_bytes >= reserve:
            return False
        if free + old - wanted.size_bytes >= reserve:
            return True
        possible = max(0, (free + old - reserve) // memory.MIB)
        raise SwapFileError(
            "A swap file of %s does not fit at %s: %s of %s are free%s, and %d %% of the disk stay free. Ask for %d MiB or less, free some space, "
            "or give a path on another disk. Nothing was changed."
            % (memory.human(wanted.size_bytes), self.path, memory.human(free), memory.human(total),
               " besides the old one" if old else "", wanted.keep_free_percent, possible), possible_bytes=possible * memory.MIB)

    def perform(self, verb, wanted):
        """Do one step of the plan."""
        if verb == "clean":
            os.unlink(self.temporary)
        elif verb == "allocate":
            self._allocate(wanted.size_bytes)
        elif verb == "protect":
            os.chmod(self.path, 0o600)
        elif verb == "swapoff":
            memory.swap_off(self.path)
        elif verb == "remove":
            os.unlink(self.path)
        elif verb == "place":
            os.rename(self.temporary, self.path)
        elif verb == "swapon":
            memory.swap_on(self.path, wanted.priority)
        else:
            self.fstab.replace(self.path, wanted.fstab)
        if verb in ("clean", "remove", "place"):
            fsync_path(self.directory)

    def sentence(self, verb, wanted):
        """Return one step of the plan for people."""
        if verb == "allocate":
            return "make a swap file of %s as %s" % (memory.human(wanted.size_bytes), self.temporary)
        if verb == "fstab":
            return "write %s" % self.fstab.path if wanted.fstab else "remove %s from %s" % (self.path, self.fstab.path)
        return {"clean": "remove %s, left by a killed run" % self.temporary, "protect": "set the mode of %s to 0600" % self.path,
                "place": "rename it to %s" % self.path}.get(verb, "%s %s" % (verb, self.path))

    def _allocate(self, size_bytes):
        descriptor = os.open(self.temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            try:
                os.fchmod(descriptor, 0o600)
                if file_system_of(self.directory, self.proc_root).type in FALLOCATE_TYPES:
                    os.posix_fallocate(descriptor, 0, size_bytes)
                else:
                    _fill(descriptor, size_bytes)
                demand(["mkswap", self.temporary], "Check that the package util-linux is whole.")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except (OSError, ModuleError):
            os.unlink(self.temporary)
            raise
        fsync_path(self.directory)


def _fill(descriptor, size_bytes):
    zeros, left = b"\0" * CHUNK, size_bytes
    while left:
        left -= os.write(descriptor, zeros[:left])


def _kind(path, status):
    if stat.S_ISLNK(status.st_mode):
        return "a symbolic link"
    if stat.S_ISDIR(status.st_mode):
        return "a directory"
    if not stat.S_ISREG(status.st_mode):
        return "no regular file"
    with open(path, "rb") as stream:
        head = stream.read(max(PAGE_SIZES))
    for page_size in PAGE_SIZES:
        if head[page_size - 10:page_size] in SIGNATURES:
            return "swap"
    return "a file without a swap signature"
