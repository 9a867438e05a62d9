# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The swap lines of one path in /etc/fstab; every other byte of the file stays as it is."""
import os
import stat

from ansible_collections.tfleet.serving.plugins.module_utils.durable import write_atomically
from ansible_collections.tfleet.serving.plugins.module_utils.memory import escape, unescape


class Fstab:
    """An fstab.

    :param path: the file, or a link to it. A host without one has no lines.
    """

    def __init__(self, path):
        self.path = os.path.realpath(path)

    def lines_of(self, swap_path):
        """Return the lines, without their newline, that swap on ``swap_path``."""
        return [line for line in self._lines() if _is_swap_of(line, swap_path)]

    def replace(self, swap_path, lines):
        """Put ``lines`` where the first line of ``swap_path`` was, or at the end, and drop its other lines."""
        result, placed = [], False
        for line in self._lines():
            if not _is_swap_of(line, swap_path):
                result.append(line)
            elif not placed:
                result.extend(lines)
                placed = True
        if not placed:
            result.extend(lines)
        text = "".join(line + "\n" for line in result)
        write_atomically(self.path, text.encode("utf-8", "surrogateescape"), self._mode())

    def _lines(self):
        try:
            with open(self.path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
                return [line.rstrip("\n") for line in stream]
        except FileNotFoundError:
            return []

    def _mode(self):
        try:
            return stat.S_IMODE(os.stat(self.path).st_mode)
        except FileNotFoundError:
            return 0o644


def swap_line(swap_path, priority):
    """Return the line that swaps on ``swap_path`` at boot.

    ``nofail``, because a host that waits for its swap file at boot does not come up at all (facts/jetson.md, section 5b).
    """
    options = "sw,nofail" if priority is None else "sw,nofail,pri=%d" % priority
    return "%s none swap %s 0 0" % (escape(swap_path), options)


def is_as_good(line, priority):
    """Say whether a line that somebody else wrote does what swap_line() would: no boot fails for it, and the priority is right."""
    options = line.split()[3].split(",")
    priorities = [option for option in options if option.startswith("pri=")]
    return "nofail" in options and "noauto" not in options and priorities == ([] if priority is None else ["pri=%d" % priority])


def _is_swap_of(line, swap_path):
    fields = line.split()
    if len(fields) < 4 or fields[0].startswith("#") or fields[2] != "swap":
        return False
    return unescape(fields[0].encode("utf-8", "surrogateescape").decode("latin-1")) == swap_path
