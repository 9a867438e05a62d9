# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""One line of NVIDIA's ``tegrastats``, of any release from L4T 32 to 39, as numbers.

The line is no format that anybody promised: fields come and go with the board, the release and the user. What is known is read, in whatever
order it stands; what is not is handed back word by word, and nothing raises. Source: facts/jetson.md, section 7c.
"""
import re
from typing import Any, Dict

# A line is at most some hundred characters; a longer one is not from tegrastats, and is not worth reading whole.
LONGEST_LINE = 8192
# What a sensor that is switched off tells.
OFFLINE_CELSIUS = -256
# On L4T 32 the power controller always tells 50 or 100 degrees.
DUMMY_SENSORS = ("PMIC",)

_UNITS = {"kB": 1024, "MB": 1024 ** 2, "GB": 1024 ** 3}
_N = r"(\d{1,9})"
_UNIT = r"(kB|MB|GB)"
_DEGREES = r"(-?\d{1,4}(?:\.\d{1,6})?)C"

# Tried in this order at each word of the line.
_FIELDS = tuple((name, re.compile(pattern + r"(?=\s|$)", re.ASCII)) for name, pattern in (
    ("date", r"(\d\d-\d\d-\d{4} \d\d:\d\d:\d\d)"),
    ("ram", r"RAM %s/%s%s(?: ?\(lfb %sx%s%s\))?" % (_N, _N, _UNIT, _N, _N, _UNIT)),
    ("swap", r"SWAP %s/%s%s(?: ?\(cached %s%s\))?" % (_N, _N, _UNIT, _N, _UNIT)),
    ("iram", r"IRAM %s/%s%s(?: ?\(lfb %s%s\))?" % (_N, _N, _UNIT, _N, _UNIT)),
    ("cpu", r"CPU \[([^\][]*)\]"),
    ("gpu", r"GR3D_FREQ (?:(\d{1,3})%%)?(?:@(?:\[([\d,]{1,60})\]|%s))?" % _N),
    ("load", r"([A-Z][A-Z0-9]*)_FREQ (\d{1,3})%%(?:@%s)?" % _N),
    ("clock", r"(APE|[A-Z][A-Z0-9]*_FREQ) %s" % _N),
    ("off", r"([A-Z][A-Z0-9]*(?:_FREQ)?) off"),
    ("mts", r"MTS fg \d{1,3}% bg \d{1,3}%"),
    ("temperature", r"([A-Za-z][A-Za-z0-9_]*)@%s(?:/%s)?" % (_DEGREES, _DEGREES)),
    ("power", r"([A-Z][A-Z0-9_]*) %s(?:mW)?/%s(?:mW)?(?:/%s(?:mW)?)?" % (_N, _N, _N)),
))
_CORE = re.compile(r"(\d{1,3})%%(?:@%s)?$" % _N, re.ASCII)


def parse(line):
    """Return what a line tells.

    :param line: text of one line, with or without its date.
    :returns: a dictionary of

        * ``ram`` {used_bytes, total_bytes}, ``swap`` {used_bytes, total_bytes, cached_bytes}; None where the line has none;
        * ``largest_free_block_bytes`` and ``largest_free_blocks``: size of the largest free blocks of memory, and how many there are;
        * ``cpu`` [{percent, mhz}], None for a core that is off; ``gpu`` {percent, mhz: [..]}; ``loads`` {name: {percent, mhz}};
        * ``temperatures`` {sensor: degrees Celsius}, without those that are off or known to lie;
        * ``power`` {rail: {now_mw, average_mw}};
        * ``unparsed``: the words that nothing is known of, in their order.
    """
    result: Dict[str, Any] = {
        "ram": None, "swap": None, "largest_free_block_bytes": None, "largest_free_blocks": None, "cpu": [], "gpu": None,
        "loads": {}, "temperatures": {}, "power": {}, "unparsed": [],
    }
    text = line[:LONGEST_LINE].rstrip("\r\n")
    if len(line) > LONGEST_LINE:
        result["unparsed"].append("… %d more characters" % (len(line) - LONGEST_LINE))
    # Each field is one space away from its values, whatever the release puts between them.
    text = re.sub(r"\s+", " ", text).strip()
    place = 0
    while place < len(text):
        place = _read_field(text, place, result) + 1
    return result


def _read_field(text, place, result):
    for name, pattern in _FIELDS:
        match = pattern.match(text, place)
        if match:
            _READERS.get(name, _known)(match.groups(), result)
            return match.end()
    end = text.find(" ", place)
    end = len(text) if end < 0 else end
    result["unparsed"].append(text[place:end][:80])
    return end


def _known(_groups, _result):
    """A field that is understood and of no use."""


def _bytes(count, unit):
    return int(count) * _UNITS[unit]


def _ram(groups, result):
    used, total, unit, blocks, size, block_unit = groups
    _amount("ram", used, total, unit, result)
    if blocks is not None and result["ram"] is not None:
        result["largest_free_blocks"] = int(blocks)
        result["largest_free_block_bytes"] = _bytes(size, block_unit) if int(blocks) else 0


def _swap(groups, result):
    used, total, unit, cached, cached_unit = groups
    _amount("swap", used, total, unit, result)
    if result["swap"] is not None:
        result["swap"]["cached_bytes"] = _bytes(cached, cached_unit) if cached is not None else None


def _amount(name, used, total, unit, result):
    if int(used) > int(total):
        result["unparsed"].append("%s %s/%s%s" % (name.upper(), used, total, unit))
        return
    result[name] = {"used_bytes": _bytes(used, unit), "total_bytes": _bytes(total, unit)}


def _cpu(groups, result):
    for core in groups[0].split(","):
        match = _CORE.match(core.strip())
        if match:
            result["cpu"].append({"percent": int(match.group(1)), "mhz": int(match.group(2)) if match.group(2) else None})
        elif core.strip() == "off":
            result["cpu"].append(None)
        elif core.strip():
            result["unparsed"].append(core.strip()[:80])


def _gpu(groups, result):
    percent, several, one = groups
    clocks = [int(clock) for clock in (several or one or "").split(",") if clock]
    result["gpu"] = {"percent": int(percent) if percent is not None else None, "mhz": clocks}


def _load(groups, result):
    name, percent, mhz = groups
    result["loads"][name] = {"percent": int(percent), "mhz": int(mhz) if mhz else None}


def _clock(groups, result):
    result["loads"][groups[0].replace("_FREQ", "")] = {"percent": None, "mhz": int(groups[1])}


def _off(groups, result):
    result["loads"][groups[0].replace("_FREQ", "")] = None


def _temperature(groups, result):
    sensor, celsius = groups[0], float(groups[1])
    if celsius > OFFLINE_CELSIUS and sensor not in DUMMY_SENSORS:
        result["temperatures"][sensor] = celsius


def _power(groups, result):
    result["power"][groups[0]] = {"now_mw": int(groups[1]), "average_mw": int(groups[2])}


_READERS = {"ram": _ram, "swap": _swap, "cpu": _cpu, "gpu": _gpu, "load": _load, "clock": _clock, "off": _off, "temperature": _temperature, "power": _power}
