# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""zram on this host: its devices, the one manager that makes them, and what has to be done so that they are as declared."""
import collections
import contextlib
import os
import stat

from ansible_collections.tfleet.serving.plugins.module_utils import memory
from ansible_collections.tfleet.serving.plugins.module_utils.commands import succeeds
from ansible_collections.tfleet.serving.plugins.module_utils.durable import write_atomically
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.zram_managers import MANAGERS, others

# The kernel rounds each device up to a page, and managers count in MiB.
ROUNDING = memory.MIB

# area: the SwapArea if it is swapped on.
Device = collections.namedtuple("Device", "path size_bytes area")
# What shall be. text: the manager's file, empty for none; enabled: of its unit, None where it has none; size_bytes: of all devices, 0 is off.
Wanted = collections.namedtuple("Wanted", "text enabled size_bytes")


class ZramError(ModuleError):
    """zram cannot be as declared; nothing was changed."""


class Zram:
    """The zram of this host.

    :param proc_root: where /proc is.
    :param sys_root: where /sys is.
    :param etc_root: where /etc is.
    """

    def __init__(self, proc_root="/proc", sys_root="/sys", etc_root="/etc"):
        self.proc_root, self.sys_root, self.etc_root = proc_root, sys_root, etc_root

    def devices(self):
        """Return the Devices that have a size, in the order of their numbers."""
        areas = {area.path: area for area in memory.swap_areas(self.proc_root)}
        found = []
        for name in self._names():
            with open(os.path.join(self.sys_root, "block", name, "disksize")) as stream:
                size = int(stream.read())
            if size or "/dev/" + name in areas:
                found.append(Device("/dev/" + name, size, areas.get("/dev/" + name)))
        return found

    def manager(self, announced=None):
        """Return the manager of this host's zram, None if it has none.

        :param announced: name of one that is taken for installed (check mode, before its package is).
        :raises ZramError: there are two, or somebody else.
        """
        strangers = others(self.etc_root)
        if strangers:
            raise ZramError("zram of this host is managed by somebody else: %s. Remove that first, or leave zram to it and do not declare it here. "
                            "Nothing was changed." % ", ".join(strangers), strangers=strangers)
        installed = [kind(self.etc_root) for kind in MANAGERS]
        installed = [manager for manager in installed if manager.installed() or manager.name == announced]
        active = [manager for manager in installed if manager.enabled()]
        if len(active) > 1:
            raise ZramError("Two managers set up zram on this host: %s. The devices go to whichever comes first, and the other's size is ignored. "
                            "Disable one and reboot. Nothing was changed." % " and ".join(manager.name for manager in active))
        mounted = self._mounted()
        if mounted:
            raise ZramError("%s holds a file system, so zram of this host is managed by somebody else. Unmount it and remove what mounts it, or do "
                            "not declare zram here. Nothing was changed." % mounted)
        if not installed and self.devices():
            raise ZramError("zram of this host is managed by somebody else: %s in use, and none of %s is installed. Find what makes it "
                            "(`systemctl list-units --all | grep -i zram`) and remove that, or do not declare zram here. Nothing was changed."
                            % (_are(self.devices()), ", ".join(kind.name for kind in MANAGERS)))
        return (active or installed or [None])[0]

    def plan(self, manager, wanted):
        """Return (verbs, pending): what to do now in this order, and why the devices can only change at the next boot (None: they can).

        :param manager: the Manager.
        :param wanted: what is Wanted.
        """
        verbs = []
        if wanted.text != manager.read():
            verbs.append("write")
        if wanted.enabled is not None and wanted.enabled != manager.enabled():
            verbs.append("enable" if wanted.enabled else "disable")
        devices = self.devices()
        now = [device for device in devices if device.area]
        if not _differ(now, wanted.size_bytes):
            return verbs, None
        crowded = memory.no_room_for([device.area for device in now], self.proc_root)
        if crowded:
            return verbs, crowded
        if now:
            verbs.append("swapoff")
        if devices:
            verbs.append("reset")
        if wanted.size_bytes:
            verbs.append("restart")
        return verbs, None

    def perform(self, verb, manager, wanted):
        """Do one step of the plan."""
        if verb == "write":
            _write(manager.file, wanted.text)
        elif verb in ("enable", "disable"):
            manager.switch(verb == "enable")
        elif verb == "swapoff":
            self.swap_off()
        elif verb == "reset":
            manager.release()
            self._reset()
        else:
            manager.restart()

    def swap_off(self):
        """Swap off the zram devices; they keep their sizes.

        :raises ModuleError: the kernel refuses.
        """
        for device in self.devices():
            if device.area:
                memory.swap_off(device.path)

    def proven(self, manager, wanted):
        """Check that the devices have come out as declared.

        :raises ZramError: the manager made something else of its file.
        """
        now = [device for device in self.devices() if device.area]
        if _differ(now, wanted.size_bytes):
            size = memory.human(sum(device.size_bytes for device in now))
            raise ZramError("%s was told to make %s of zram and made %s. Look at `journalctl -u %s` and at %s on the host; the kernel may lack "
                            "zram (`modprobe zram`)." % (manager.name, memory.human(wanted.size_bytes), size, manager.unit, manager.file))

    def _reset(self):
        for device in self.devices():
            if device.area is None:
                with open(os.path.join(self.sys_root, "block", os.path.basename(device.path), "reset"), "w") as stream:
                    stream.write("1\n")
        # Where zram is a module, the manager then loads it with as many devices as there are cores now. Where it is built in this does nothing.
        succeeds(["modprobe", "--remove", "zram"])

    def _names(self):
        with contextlib.suppress(FileNotFoundError):
            names = [name for name in os.listdir(os.path.join(self.sys_root, "block")) if name.startswith("zram") and name[4:].isdigit()]
            return sorted(names, key=lambda name: int(name[4:]))
        return []

    def _mounted(self):
        with open(os.path.join(self.proc_root, "mounts"), encoding="latin-1") as stream:
            return next((line.split()[0] for line in stream if line.startswith("/dev/zram")), None)


def _differ(devices, size_bytes):
    return abs(sum(device.size_bytes for device in devices) - size_bytes) > ROUNDING * max(1, len(devices))


def _write(path, text):
    if not text:
        os.unlink(path)
        return
    mode = stat.S_IMODE(os.stat(path).st_mode) if os.path.exists(path) else 0o644
    write_atomically(path, text.encode("utf-8", "surrogateescape"), mode)


def _are(devices):
    return "%s %s" % (", ".join(device.path for device in devices), "is" if len(devices) == 1 else "are")
