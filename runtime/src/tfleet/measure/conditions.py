"""What the machine did while it measured: power mode, clocks, temperature, throttling, other work. Sources: facts/jetson.md, sections 7a and 7e.

The roots are parameters, for tests and for the file system of a host that is mounted somewhere else.
"""

import glob
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional

Roots = NamedTuple("Roots", [("proc", str), ("sys", str), ("etc", str), ("var", str)])
HOST = Roots("/proc", "/sys", "/etc", "/var")

_BUSY = 0.25
"""More load than this for each core, before anything is measured, is somebody else's."""
_DROPPED = 0.9
"""A clock that ends below this share of where it began was lowered."""


class Conditions(object):
    """Reads the machine when it is made, and again for report()."""

    def __init__(self, roots: Roots = HOST) -> None:
        self._roots = roots
        self._before = self._counters()
        self._clocks = self._clock_rates()
        self._load = self._loadavg()

    def report(self) -> Dict[str, Any]:
        """{"power_mode", "clocks_mhz": {name: {"before", "after", "highest"}}, "governor", "throttled", "hottest_celsius", "load", "cores", "notes"};
        None stands for what this machine does not tell."""
        counted = {name: value - self._before.get(name, 0) for name, value in self._counters().items()}
        clocks = self._clock_rates()
        found: Dict[str, Any] = {
            "power_mode": self._power_mode(),
            "clocks_mhz": {name: dict(clocks[name], before=self._clocks.get(name, {}).get("now")) for name in sorted(clocks)},
            "governor": self._text(self._roots.sys, "devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            "throttled": any(value > 0 for value in counted.values()) if counted else None,
            "throttle_events": {name: value for name, value in sorted(counted.items()) if value > 0},
            "hottest_celsius": self._hottest(),
            "load": self._load,
            "cores": os.cpu_count(),
        }
        for clock in found["clocks_mhz"].values():
            clock["after"] = clock.pop("now")
        found["notes"] = _notes(found)
        return found

    def _counters(self) -> Dict[str, int]:
        """Events that only ever grow: over-current of a Jetson by kind, and throttling of a processor's cores."""
        found = {}
        for folder in sorted(glob.glob(os.path.join(self._roots.sys, "class/hwmon/hwmon*"))):
            if self._text(folder, "name") == "soctherm_oc":
                for path in sorted(glob.glob(os.path.join(folder, "oc*_event_cnt"))):
                    found["over-current %s" % os.path.basename(path)[: -len("_event_cnt")]] = self._number(path)
        cores = glob.glob(os.path.join(self._roots.sys, "devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count"))
        if cores:
            found["processor throttled"] = sum(self._number(path) or 0 for path in cores)
        return {name: value for name, value in found.items() if value is not None}

    def _clock_rates(self) -> Dict[str, Dict[str, Any]]:
        """{"cpu": {"now", "highest"}, "gpu": …} in MHz: the fastest of the processor's cores, and the GPU by its devfreq folder."""
        found = {}
        folders = glob.glob(os.path.join(self._roots.sys, "devices/system/cpu/cpu[0-9]*/cpufreq"))
        now = [value for value in (self._number(os.path.join(folder, "scaling_cur_freq")) for folder in folders) if value]
        highest = [value for value in (self._number(os.path.join(folder, "cpuinfo_max_freq")) for folder in folders) if value]
        if now:
            found["cpu"] = {"now": max(now) // 1000, "highest": max(highest) // 1000 if highest else None}
        for folder in sorted(glob.glob(os.path.join(self._roots.sys, "class/devfreq/*"))):
            if re.search(r"\.(gpu|gv11b|ga10b)$|^gpu-gpc-0$", os.path.basename(folder)):
                current, limit = (self._number(os.path.join(folder, name)) for name in ("cur_freq", "max_freq"))
                if current:
                    found["gpu"] = {"now": current // 1000000, "highest": limit // 1000000 if limit else None}
        return found

    def _power_mode(self) -> Optional[str]:
        status = re.search(r"pmode:(\d+)", self._text(self._roots.var, "lib/nvpmodel/status") or "")
        if not status:
            return None
        number = int(status.group(1))
        for found, name in re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", self._text(self._roots.etc, "nvpmodel.conf") or ""):
            if int(found) == number:
                return str(name)
        return "mode %d" % number

    def _hottest(self) -> Optional[float]:
        found = []
        for folder in glob.glob(os.path.join(self._roots.sys, "class/thermal/thermal_zone*")):
            kind = self._text(folder, "type") or ""
            value = self._number(os.path.join(folder, "temp"))
            # PMIC is a dummy on R32; a zone that is powered down answers nothing, or -256.
            if value is not None and value > 0 and not kind.upper().startswith("PMIC"):
                found.append(value / 1000.0)
        return max(found) if found else None

    def _loadavg(self) -> Optional[float]:
        text = self._text(self._roots.proc, "loadavg")
        return float(text.split()[0]) if text else None

    def _number(self, path: str) -> Optional[int]:
        text = self._text(path, "")
        return int(text) if text and re.match(r"-?\d+$", text) else None

    @staticmethod
    def _text(folder: str, name: str) -> Optional[str]:
        try:
            with open(os.path.join(folder, name) if name else folder, encoding="utf-8", errors="replace") as stream:
                return stream.read().strip()
        except OSError:  # not on this machine, or a zone that is powered down
            return None


def _notes(found: Dict[str, Any]) -> List[str]:
    notes = []
    cores = found["cores"] or 1
    if found["load"] is not None and found["load"] > _BUSY * cores:
        notes.append("The machine was busy before the measurement began (load %.1f on %d cores)." % (found["load"], cores))
    if found["governor"] and found["governor"] != "performance":
        notes.append("The processor's clock is not fixed (governor %s): fix it, on a Jetson with jetson_clocks, and compare again." % found["governor"])
    for name, clock in found["clocks_mhz"].items():
        if clock["before"] and clock["after"] < _DROPPED * clock["before"]:
            notes.append("The clock of the %s fell from %d to %d MHz during the measurement." % (name, clock["before"], clock["after"]))
    if found["throttle_events"]:
        notes.append(
            "The machine was throttled during the measurement (%s): what came later was measured slower."
            % ", ".join("%s: %d times" % item for item in found["throttle_events"].items())
        )
    return notes
