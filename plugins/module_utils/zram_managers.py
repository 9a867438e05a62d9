# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The three things that set zram up at boot, each behind the same few calls (facts/jetson.md, sections 5a and 5c).

    text(size_bytes)   the content of its file for so much zram in all; None: off; "" stands for no file
    original()         what to record of its file, for restored(original)
    enabled()          whether it sets zram up at boot
    switch(on)         have it do so, or not, from the next boot on
    restart()          set zram up now as its file says; the devices must be free
"""
import os
import re

from ansible_collections.tfleet.serving.plugins.module_utils.commands import demand, run, succeeds
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.memory import MIB

MARK = "# by tfleet.serving.zram"
_LOOK = "Look at `systemctl status` and `journalctl -u` of that unit on the host."


class ManagerError(ModuleError):
    """The manager's file is not as expected."""


class Manager:
    """What all of them have in common.

    :param etc_root: where /etc is.
    """

    name = ""
    unit = ""
    # Whether its unit is what is enabled and disabled.
    switched_by_unit = True

    def __init__(self, etc_root):
        self.etc_root = etc_root

    @property
    def file(self):
        """The file that says how large zram is."""
        raise NotImplementedError

    def installed(self):
        """Say whether this manager is on the host."""
        return succeeds(["systemctl", "cat", self.unit])

    def enabled(self):
        """Say whether it sets zram up at boot."""
        return succeeds(["systemctl", "is-enabled", self.unit])

    def switch(self, on):
        """Have it set zram up from the next boot on, or not any more."""
        demand(["systemctl", "enable" if on else "disable", self.unit], _LOOK)

    def restart(self):
        """Set zram up as the file says."""
        demand(["systemctl", "restart", self.unit], _LOOK, timeout=120)

    def release(self):
        """Have it let the devices go; they are swapped off already. None of its own business by default."""

    def read(self):
        """Return the file's content; empty if there is none."""
        try:
            with open(self.file, encoding="utf-8", errors="surrogateescape") as stream:
                return stream.read()
        except FileNotFoundError:
            return ""

    def original(self):
        """Return what has to be recorded of the file before it is changed."""
        return self.read()

    def restored(self, original):
        """Return the file's content with what was recorded put back."""
        return original

    def text(self, size_bytes):
        """Return what the file must hold for ``size_bytes`` of zram in all, None for off; the rest of it stays."""
        raise NotImplementedError


class Nvzramconfig(Manager):
    """JetPack's own: a oneshot unit and a script that makes one device for each core."""

    name = "nvzramconfig"
    unit = "nvzramconfig.service"

    @property
    def file(self):
        return os.path.join(self.etc_root, "systemd", "nvzramconfig.sh")

    def text(self, size_bytes):
        return self.read() if size_bytes is None else self._with_line(
            # The script counts the cores when it runs; the power mode decides how many are on.
            "mem=$(( %d / $(grep -c ^processor /proc/cpuinfo) ))  %s" % (size_bytes, MARK))

    def original(self):
        return self._line(self.read())

    def restored(self, original):
        # The script itself may have been upgraded meanwhile.
        return self.read() if original is None else self._with_line(original)

    def _with_line(self, line):
        text = self.read()
        present = self._line(text)
        if present is None:
            raise ManagerError("%s has not the one line that begins with mem= by which all known releases set the size of zram. Set the size there "
                               "by hand, or turn zram off (state: absent). Nothing was changed." % self.file)
        return text.replace(present, line)

    @staticmethod
    def _line(text):
        lines = re.findall(r"^mem=.*$", text, re.MULTILINE)
        return lines[0] if len(lines) == 1 else None


class ZramTools(Manager):
    """Debian's zram-tools."""

    name = "zram-tools"
    unit = "zramswap.service"

    @property
    def file(self):
        return os.path.join(self.etc_root, "default", "zramswap")

    def text(self, size_bytes):
        text = self.read()
        if size_bytes is None:
            return text
        # PERCENT has the last word if it is set.
        text = re.sub(r"^(PERCENT=.*)$", r"#\1", text, flags=re.MULTILINE)
        return _with_setting(text, r"^SIZE=.*$", "SIZE=%d" % (size_bytes // MIB))

    def release(self):
        demand(["systemctl", "stop", self.unit], _LOOK, timeout=120)


class ZramGenerator(Manager):
    """systemd-zram-generator: the section [zram0] of its file makes the unit."""

    name = "systemd-zram-generator"
    unit = "dev-zram0.swap"
    switched_by_unit = False

    @property
    def file(self):
        return os.path.join(self.etc_root, "systemd", "zram-generator.conf")

    def installed(self):
        done = run(["dpkg-query", "--show", "--showformat=${Status}", self.name])
        return done.status == 0 and done.stdout.strip().endswith(" installed")

    def enabled(self):
        # Nothing is made without a section.
        return re.search(r"^\s*\[zram\d+\]", self.read(), re.MULTILINE) is not None

    def switch(self, on):
        """Nothing: its file alone decides."""

    def text(self, size_bytes):
        sections = re.split(r"^(?=\s*\[)", self.read(), flags=re.MULTILINE)
        mine = [index for index, section in enumerate(sections) if re.match(r"\s*\[zram0\]", section)]
        if size_bytes is None:
            return "".join(section for index, section in enumerate(sections) if index not in mine) or "%s: zram is off\n" % MARK
        if not mine:
            head = "".join(sections)
            return "%s[zram0]\nzram-size = %d\n" % (head + "\n" * bool(head and not head.endswith("\n")), size_bytes // MIB)
        sections[mine[0]] = _with_setting(sections[mine[0]], r"^\s*zram-size\s*=.*$", "zram-size = %d" % (size_bytes // MIB))
        return "".join(sections)

    def restart(self):
        demand(["systemctl", "daemon-reload"], _LOOK)
        demand(["systemctl", "restart", self.unit], _LOOK, timeout=120)

    def release(self):
        for unit in (self.unit, "systemd-zram-setup@zram0.service", "systemd-swap-create@zram0.service"):
            # Only one of the two services exists, depending on the release.
            run(["systemctl", "stop", unit], timeout=120)


MANAGERS = (Nvzramconfig, ZramGenerator, ZramTools)


def others(etc_root):
    """Return the files under ``etc_root`` by which somebody else sets zram up, as far as they can be told by looking."""
    found = []
    for place in ("fstab", "systemd/system", "udev/rules.d", "rc.local", "init.d", "modules-load.d", "modprobe.d"):
        found.extend(_mentioning_zram(os.path.join(etc_root, place)))
    return sorted(found)


_OURS = re.compile(r"^(nvzramconfig|zramswap|systemd-zram-setup@|systemd-swap-create@|dev-zram\d+|tfleet-).*")
# Loading the module, or saying with how many devices, makes no zram.
_HARMLESS = re.compile(r"^\s*(zram|options\s+zram\b.*)\s*$")


def _mentioning_zram(place):
    files = [place] if not os.path.isdir(place) else [os.path.join(folder, name) for folder, _folders, names in os.walk(place) for name in names]
    for path in files:
        if _OURS.match(os.path.basename(path)):
            continue
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                lines = [line for line in stream if "zram" in line and not line.lstrip().startswith(("#", ";"))]
        except OSError:
            continue
        if [line for line in lines if not _HARMLESS.match(line) and not _only_mentioned(line)]:
            yield path


def _only_mentioned(line):
    """Say whether a unit's line only names another unit (After=nvzramconfig.service)."""
    return re.match(r"^\s*(After|Before|Wants|Requires|Conflicts|Description|Documentation)\s*=", line) is not None


def _with_setting(text, pattern, line):
    """Put ``line`` where ``pattern`` matches the first time (others go), or at the end."""
    first, count = re.subn(pattern, lambda _match: line, text, count=1, flags=re.MULTILINE)
    if not count:
        return text + "\n" * bool(text and not text.endswith("\n")) + line + "\n"
    return first
