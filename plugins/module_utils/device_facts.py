# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What a device says of itself: files below /proc, /sys, /etc and /var, and the answers of a few commands. Observations only, nothing is looked up.

Each reading stands for itself: one that is missing or makes no sense is None, with a note where a person should know, and never an exception. What
follows from the readings (JetPack, module, precisions) is worked out on the controller, by module_utils/device_identity.py.
Source of the places and formats: facts/jetson.md, sections 2 (release, packages, device tree), 5a (zram), 7a (nvpmodel), 7e (/proc and /sys).
"""
import json
import os
import re
from typing import Any, Dict, List

from ansible_collections.tfleet.serving.plugins.module_utils import tegrastats
from ansible_collections.tfleet.serving.plugins.module_utils.nvidia_smi import read_gpus

_RELEASE = re.compile(r"# R(\d{1,4}) \(release\), REVISION: (\d{1,4}(?:\.\d{1,4}){0,3})(?=[,\s]|$)")
_PACKAGE = re.compile(r"(\d{1,4}\.\d{1,4}\.\d{1,4}(?:\.\d{1,4})?)-\d{14}")
_SOC = re.compile(r"nvidia,tegra\d{2,4}")
_POWER_MODEL = re.compile(r"^[^#\n]*?<\s*POWER_MODEL\s+ID=(\d{1,4})\s+NAME=(\S{1,64})\s*>", re.MULTILINE)
_POWER_DEFAULT = re.compile(r"^[^#\n]*?<\s*PM_CONFIG\s+DEFAULT=(\d{1,4})\s*>", re.MULTILINE)
_POWER_NOW = re.compile(r"NV Power Mode\s*:\s*(\S+)\s+(\d{1,4})\b")
_POWER_STATUS = re.compile(r"pmode:(\d{1,4})")
_OVER_CURRENT = "System throttled due to Over-current"

# In thousandths (facts/jetson.md, section 7e); other releases tell it by tegrastats alone.
_GPU_LOADS = ("devices/gpu.0/load", "devices/platform/gpu.0/load")

# Packages whose versions are told, as dpkg-query's patterns.
_PACKAGES = ("nvidia-l4t-core", "nvidia-jetpack", "libnvinfer[0-9]*", "cuda-cudart-[0-9]*", "libcudnn[0-9]*")
# More than any of the files has.
_LARGEST_FILE = 1024 * 1024


class Device(object):
    """One device, by the directories that stand for its /proc, /sys, /etc and /var.

    :param roots: {"proc", "sys", "etc", "var"} to directories.
    :param commands: a :class:`commands.Commands`.
    :param disk: path whose free space is told; it need not exist yet.
    """

    def __init__(self, roots, commands, disk):
        self.roots = roots
        self.commands = commands
        self.disk = disk
        self.notes: List[str] = []

    def observe(self):
        """Return all readings by name, and ``notes``: sentences on what was there and could not be read."""
        architecture = self._line("proc", "sys/kernel/arch") or os.uname()[4]
        packages = self._packages()
        compatible = self._device_tree("compatible")
        result = {
            "architecture": architecture,
            "l4t_file": self._release_file(),
            "packages": packages,
            "compatible": compatible,
            "model": "".join(self._device_tree("model")[:1]) or None,
        }
        result["l4t"] = result["l4t_file"] or self._release_package(packages)
        signs = result["l4t"] is not None or any(_SOC.match(element) for element in compatible)
        result["jetson"] = architecture == "aarch64" and signs
        if signs and not result["jetson"]:
            self.notes.append("There are files of a Jetson, but the machine is %s: it is not taken for one." % architecture)
        gpus: Dict[str, Any] = {"gpus": [], "driver": None, "cuda": None}
        if not result["jetson"]:
            gpus = read_gpus(self.commands, os.path.join(self.roots["sys"], "bus/pci/devices"), self.notes)
        swap = self._swap()
        result.update({
            "gpus": gpus["gpus"], "gpu_on_bus": gpus.get("on_bus", False), "driver": gpus["driver"], "driver_cuda": gpus["cuda"],
            "power": self._power() if result["jetson"] else None,
            "zram": self._zram(swap or []), "swap": swap, "memory": self._memory(),
            "default_target": self._default_target(), "thermal": self._thermal(), "over_current": self._over_current(),
            "docker": self._docker(), "disk": self._disk(),
        })
        statistics = self._tegrastats() if result["jetson"] else None
        result["largest_free_block_bytes"] = statistics and statistics["largest_free_block_bytes"]
        result["largest_free_blocks"] = statistics and statistics["largest_free_blocks"]
        result["throttling"] = self._throttling(result["over_current"]) if result["jetson"] else None
        result["notes"] = self.notes
        return result

    def health(self):
        """Return what a version that is loaded may do to a device, in little time: memory, swap, thermal, over_current, throttling, as in observe()."""
        over_current = self._over_current()
        return {"memory": self._memory(), "swap": self._swap(), "thermal": self._thermal(), "over_current": over_current,
                "throttling": self._throttling(over_current) if over_current is not None else None}

    def measure(self):
        """Return what is worth a look every minute: health() and, on a Jetson, power, clocks and load. Nothing but tegrastats and nvpmodel is started."""
        jetson = self._text("etc", "nv_tegra_release") is not None or any(_SOC.match(element) for element in self._device_tree("compatible"))
        statistics = self._tegrastats() if jetson else None
        over_current = self._over_current()
        return {
            "jetson": jetson, "l4t": self._release_file(), "model": "".join(self._device_tree("model")[:1]) or None,
            "memory": self._memory(), "disk": self._disk(), "swap": self._swap(), "thermal": self._thermal(), "over_current": over_current,
            "over_current_messages": self._over_current_messages(),
            "gpu_load": self._gpu_load(statistics), "rails": statistics["power"] if statistics else {},
            "largest_free_block_bytes": statistics and statistics["largest_free_block_bytes"], "power": self._power() if jetson else None,
        }

    # ---- files ----
    def _path(self, root, name):
        return os.path.join(self.roots[root], name)

    def _text(self, root, name):
        """The content of a file; None if it is missing or cannot be read: sensors that are off refuse to be."""
        try:
            with open(self._path(root, name), "rb") as stream:
                return stream.read(_LARGEST_FILE).decode("utf-8", "replace")
        except (OSError, IOError):
            return None

    def _line(self, root, name):
        return ((self._text(root, name) or "").splitlines() or [""])[0].strip() or None

    def _number(self, root, name):
        text = (self._line(root, name) or "").strip()
        return int(text) if re.match(r"-?\d{1,18}$", text) else None

    def _names(self, root, directory, pattern):
        try:
            names = os.listdir(self._path(root, directory))
        except OSError:
            return []
        return sorted((name for name in names if re.match(pattern + "$", name)), key=lambda name: (len(name), name))

    # ---- which device ----
    def _release_file(self):
        line = self._line("etc", "nv_tegra_release")
        if line is None:
            if os.path.lexists(self._path("etc", "nv_tegra_release")):
                self.notes.append("%s is empty or cannot be read." % self._path("etc", "nv_tegra_release"))
            return None
        match = _RELEASE.match(line)
        if not match:
            self.notes.append("%s: its first line tells no release: %s" % (self._path("etc", "nv_tegra_release"), line[:120]))
            return None
        revision = match.group(2).split(".")
        return ".".join([match.group(1)] + revision + ["0"] * (2 - len(revision)))

    def _packages(self):
        """{name: version} of the installed packages of interest; None where dpkg cannot be asked."""
        answer = self.commands.ask("dpkg-query", "--showformat=${Package} ${Version} ${db:Status-Status}\n", "--show", *_PACKAGES)
        if answer is None:
            return None
        if answer.timed_out:
            self.notes.append("dpkg-query did not answer within %d seconds." % self.commands.timeout)
            return None
        # Its exit status is 1 as soon as one of the patterns fits nothing.
        words = [line.split() for line in answer.stdout.splitlines()]
        return {fields[0]: fields[1] for fields in words if len(fields) == 3 and fields[2] == "installed"}

    def _release_package(self, packages):
        version = (packages or {}).get("nvidia-l4t-core")
        if version is None:
            return None
        match = _PACKAGE.match(version)
        if not match:
            self.notes.append("The package nvidia-l4t-core has the version %s, which tells no release." % version[:80])
            return None
        return match.group(1)

    def _device_tree(self, name):
        """The texts of a property, which the kernel ends with NUL each."""
        text = self._text("proc", "device-tree/" + name)
        if text is None:
            text = self._text("sys", "firmware/devicetree/base/" + name)
        return [element for element in (text or "").replace("\n", "\0").split("\0") if element]

    # ---- power ----
    def _power(self):
        text = self._text("etc", "nvpmodel.conf") or ""
        modes = [{"id": int(number), "name": name} for number, name in _POWER_MODEL.findall(text)]
        default = _POWER_DEFAULT.search(text)
        power: Dict[str, Any] = {"mode": None, "id": None, "default_id": int(default.group(1)) if default else None, "modes": modes}
        answer = self.commands.ask("nvpmodel", "-q")
        match = _POWER_NOW.search(answer.stdout) if answer is not None else None
        if match:
            power.update(mode=match.group(1), id=int(match.group(2)))
            return power
        # Some releases tell only root; the state file tells everybody.
        status = _POWER_STATUS.search(self._text("var", "lib/nvpmodel/status") or "")
        if status:
            power["id"] = int(status.group(1))
            power["mode"] = next((mode["name"] for mode in modes if mode["id"] == power["id"]), None)
        elif answer is not None:
            said = " ".join((answer.stdout + " " + answer.stderr).split())[:160]
            self.notes.append("nvpmodel -q did not tell the power mode%s." % (
                " within %d seconds" % self.commands.timeout if answer.timed_out else ", but said: %s" % said if said else ""))
        return power

    # ---- memory ----
    def _memory(self):
        lines = dict(re.findall(r"^(\w+):\s+(\d{1,15}) kB$", self._text("proc", "meminfo") or "", re.MULTILINE))
        if "MemTotal" not in lines:
            return None
        available = lines.get("MemAvailable")
        return {"total_bytes": int(lines["MemTotal"]) * 1024, "available_bytes": int(available) * 1024 if available else None}

    def _swap(self):
        text = self._text("proc", "swaps")
        if text is None:
            return None
        found = []
        for line in text.splitlines()[1:]:
            match = re.match(r"(\S+)\s+(\w+)\s+(\d{1,15})\s+(\d{1,15})\s+(-?\d{1,6})$", line)
            if not match:
                self.notes.append("%s: a line was not understood: %s" % (self._path("proc", "swaps"), line[:120]))
                continue
            # The kernel writes blanks in names as \040.
            path = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code.group(1), 8)), match.group(1))
            kind = "zram" if re.match(r"/dev/zram\d+$", path) else match.group(2)
            found.append({"path": path, "type": kind, "size_bytes": int(match.group(3)) * 1024, "used_bytes": int(match.group(4)) * 1024,
                          "priority": int(match.group(5))})
        return found

    def _zram(self, swap):
        in_use = {entry["path"]: entry for entry in swap}
        devices = []
        for name in self._names("sys", "block", r"zram\d+"):
            used = in_use.get("/dev/" + name)
            algorithm = re.search(r"\[([\w-]+)\]", self._text("sys", "block/%s/comp_algorithm" % name) or "")
            devices.append({"device": "/dev/" + name, "size_bytes": self._number("sys", "block/%s/disksize" % name),
                            "used_bytes": used["used_bytes"] if used else 0, "swap": used is not None,
                            "algorithm": algorithm.group(1) if algorithm else None})
        return devices

    def _tegrastats(self):
        answer = self.commands.ask("tegrastats", "--interval", "200", first_line=True)
        if answer is None:
            return None
        line = next((line for line in answer.stdout.splitlines() if line.strip()), "")
        found = tegrastats.parse(line)
        if found["ram"] is None:
            said = line or " ".join(answer.stderr.split())
            self.notes.append("tegrastats told nothing of the memory: %s" % (
                said[:160] if said else "it said nothing within %d seconds" % self.commands.timeout))
        elif found["unparsed"]:
            self.notes.append("tegrastats: not understood: %s" % " ".join(found["unparsed"])[:160])
        return found

    # ---- health ----
    def _thermal(self):
        zones = []
        for zone in self._names("sys", "class/thermal", r"thermal_zone\d+"):
            kind, temperature = self._line("sys", "class/thermal/%s/type" % zone), self._number("sys", "class/thermal/%s/temp" % zone)
            if kind is None or temperature is None or temperature <= tegrastats.OFFLINE_CELSIUS * 1000 or kind.startswith(tegrastats.DUMMY_SENSORS):
                continue
            zones.append({"zone": kind, "celsius": temperature / 1000.0, "critical_celsius": self._critical(zone)})
        return zones

    def _critical(self, zone):
        directory = "class/thermal/" + zone
        for name in self._names("sys", directory, r"trip_point_\d+_type"):
            if self._line("sys", "%s/%s" % (directory, name)) == "critical":
                temperature = self._number("sys", "%s/%s" % (directory, name.replace("_type", "_temp")))
                return temperature / 1000.0 if temperature is not None else None
        return None

    def _over_current(self):
        """{counter: events since the start}; None where the board has no such monitor."""
        for monitor in self._names("sys", "class/hwmon", r"hwmon\d+"):
            directory = "class/hwmon/" + monitor
            if self._line("sys", directory + "/name") == "soctherm_oc":
                counters = self._names("sys", directory, r"oc\d+_event_cnt")
                return {name[:-len("_event_cnt")]: self._number("sys", "%s/%s" % (directory, name)) for name in counters}
        return None

    def _throttling(self, over_current):
        """What slowed the device down since its start, as short texts; None where nothing can be known."""
        times = self._over_current_messages()
        if over_current is None and times is None:
            return None
        found = ["over-current %s: %d events" % (name, count) for name, count in sorted((over_current or {}).items()) if count]
        return found + (["kernel: %s (%d times)" % (_OVER_CURRENT, times)] if times else [])

    def _over_current_messages(self):
        """How often the kernel's log tells of it; None where it cannot be read."""
        answer = self.commands.ask("dmesg")
        return answer.stdout.count(_OVER_CURRENT) if answer is not None and answer.status == 0 else None

    def _gpu_load(self, statistics):
        """The part of the time that the GPU of a Jetson works, from 0 to 1; None where nothing tells it."""
        for place in _GPU_LOADS:
            load = self._number("sys", place)
            if load is not None:
                return load / 1000.0
        percent = ((statistics or {}).get("gpu") or {}).get("percent")
        return percent / 100.0 if percent is not None else None

    # ---- system ----
    def _default_target(self):
        try:
            return os.path.basename(os.readlink(self._path("etc", "systemd/system/default.target")))
        except OSError:
            answer = self.commands.ask("systemctl", "get-default")
        target = answer.stdout.strip() if answer is not None and answer.status == 0 else ""
        return target if re.match(r"[\w@.:-]+\.target$", target) else None

    def _docker(self):
        docker: Dict[str, Any] = {"installed": self.commands.find("docker") is not None, "version": None, "runtimes": None, "default_runtime": None}
        if not docker["installed"]:
            return docker
        answer = self.commands.ask("docker", "info", "--format", "{{json .}}")
        try:
            told = json.loads(answer.stdout)
            docker.update(version=told["ServerVersion"], runtimes=sorted(told["Runtimes"]), default_runtime=told["DefaultRuntime"])
        except (ValueError, KeyError, TypeError):
            said = " ".join((answer.stderr or answer.stdout).split())[:160]
            self.notes.append("docker is installed, but its engine did not answer%s." % (
                " within %d seconds" % self.commands.timeout if answer.timed_out else ": %s" % said if said else ""))
        return docker

    def _disk(self):
        place = os.path.abspath(self.disk)
        while not os.path.isdir(place):
            place = os.path.dirname(place)
        try:
            room = os.statvfs(place)
        except OSError as error:
            self.notes.append("The free space of %s could not be read: %s." % (place, error.strerror))
            return {"path": self.disk, "free_bytes": None, "total_bytes": None}
        return {"path": self.disk, "free_bytes": room.f_bavail * room.f_frsize, "total_bytes": room.f_blocks * room.f_frsize}
