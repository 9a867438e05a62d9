# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Memory and swap of this host as the kernel tells them, sizes as people write them, and whether swap can be taken away now."""
import collections
import os
import re

from ansible_collections.tfleet.serving.plugins.module_utils.commands import demand
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError

MIB = 1024 * 1024
# The last bytes of memory are never free for taking: the kernel would kill a process for them.
SWAPOFF_MARGIN = 64 * MIB
# Gigabytes come back from an SD card at a few megabytes a second.
SWAPOFF_SECONDS = 1800

SwapArea = collections.namedtuple("SwapArea", "path type size_bytes used_bytes priority")

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*$", re.IGNORECASE)
_PERCENT = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*%\s*$")
_ESCAPE = re.compile(r"\\([0-7]{3})")


class SizeError(ModuleError):
    """A size is nonsense, or the memory does not allow what was asked for."""


def parse_size(text, option, memory_bytes=None):
    """Return the bytes that ``text`` means, rounded up to whole MiB: ``4G``, ``512M``, ``1.5G``, bytes, or ``50%`` of the memory.

    :param option: the option's name, for the message.
    :param memory_bytes: what 100 % are; None where a percentage makes no sense.
    :raises SizeError: it is none of these, or less than 1 MiB.
    """
    percent = _PERCENT.match(text) if memory_bytes is not None else None
    size = _SIZE.match(text)
    if percent:
        value = memory_bytes * float(percent.group(1)) / 100
    elif size:
        value = float(size.group(1)) * 1024 ** " KMGT".index((size.group(2) or " ").upper())
    else:
        raise SizeError("%s %r is no size. Write it as 4G, 512M or bytes%s." % (option, text, ", or as 50%" if memory_bytes is not None else ""))
    if value < MIB:
        raise SizeError("%s %r is less than 1 MiB. Write it with its unit, such as 4G or 512M." % (option, text))
    return -(-int(value) // MIB) * MIB


def human(size_bytes):
    """Return a size for people, in MiB or GiB."""
    if size_bytes >= 1024 * MIB:
        return "%s GiB" % ("%.1f" % (size_bytes / (1024.0 * MIB))).rstrip("0").rstrip(".")
    return "%d MiB" % (size_bytes // MIB)


def unescape(text):
    """Undo the octal escapes of /proc/swaps, /proc/mounts and fstab."""
    return _ESCAPE.sub(lambda match: chr(int(match.group(1), 8)), text).encode("latin-1").decode("utf-8", "surrogateescape")


def escape(path):
    """Return a path as fstab and /proc write it."""
    return "".join("\\%03o" % ord(letter) if letter in " \t\n\\" else letter for letter in path)


def swap_areas(proc_root):
    """Return the SwapArea list of /proc/swaps."""
    areas = []
    with open(os.path.join(proc_root, "swaps"), encoding="latin-1") as stream:
        for line in stream.read().splitlines()[1:]:
            fields = line.split()
            if len(fields) >= 5:
                areas.append(SwapArea(unescape(fields[0]), fields[1], int(fields[2]) * 1024, int(fields[3]) * 1024, int(fields[4])))
    return areas


def memory_bytes(proc_root, name="MemTotal"):
    """Return one line of /proc/meminfo in bytes.

    :raises SizeError: the kernel has no such line.
    """
    with open(os.path.join(proc_root, "meminfo")) as stream:
        for line in stream:
            key, _colon, rest = line.partition(":")
            if key == name:
                return int(rest.split()[0]) * 1024
    raise SizeError("%s has no line %s. Is proc_root right?" % (os.path.join(proc_root, "meminfo"), name))


def no_room_for(areas, proc_root):
    """Say why the content of ``areas`` would find no room elsewhere if they were swapped off now; None if it would.

    Elsewhere is the available memory and the free part of all other swap.
    """
    used = sum(area.used_bytes for area in areas)
    paths = {area.path for area in areas}
    available = memory_bytes(proc_root, "MemAvailable")
    other = sum(area.size_bytes - area.used_bytes for area in swap_areas(proc_root) if area.path not in paths)
    if used == 0 or used + SWAPOFF_MARGIN <= available + other:
        return None
    return ("%s of swap are in use on %s, and only %s of memory and %s of other swap are free for them"
            % (human(used), ", ".join(sorted(paths)), human(available), human(other)))


def swap_off(path):
    """Take one swap area out of use; its content comes back into memory first."""
    demand(["swapoff", path], "Stop what uses the memory (the model server, a build), or reboot the host, and run again.", SWAPOFF_SECONDS)


def swap_on(path, priority=None):
    """Take one prepared swap area into use."""
    demand(["swapon"] + (["--priority", str(priority)] if priority is not None and priority >= 0 else []) + [path],
           "The module needs root (become: true) and a file system that takes swap files.")
