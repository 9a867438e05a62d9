# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What the preflight found, for the whole fleet: one table for people, one JSON document for programs."""
from typing import Dict, List

from ansible_collections.tfleet.serving.plugins.module_utils import hardware_data

_HEADER = ("host", "device", "system", "TensorFlow", "runs in", "TF-TRT", "precisions")
# So many hosts are named before a sentence that holds for all of them; the JSON names all.
_NAMED_HOSTS = 5


def fleet_json(hosts):
    """Return a list with one dictionary per host: host, reached, device, decision and problems.

    :param hosts: the variables of the hosts, with the facts of the role preflight where a host was reached.
    """
    found = []
    for host in hosts:
        reached = "preflight_problems" in host
        found.append({
            "host": host["inventory_hostname"], "reached": reached, "device": host.get("tfleet_device") if reached else None,
            "decision": host.get("preflight_resolved") if reached else None, "problems": list(host.get("preflight_problems", [])),
        })
    return sorted(found, key=lambda entry: entry["host"])


def fleet_table(entries):
    """Return a table, as text, of what :func:`fleet_json` returned; below it the problems and the notes, each sentence once."""
    rows = [_HEADER] + [_row(entry) for entry in entries]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines += _sentences("Problems", [(entry["host"], problem) for entry in entries for problem in entry["problems"]])
    lines += _sentences("Notes", [(entry["host"], note) for entry in entries for note in _notes(entry)])
    return "\n".join(lines)


def _row(entry):
    device, decision = entry["device"], entry["decision"]
    if not entry["reached"]:
        return (entry["host"], "not reached") + ("",) * 5
    if device is None or decision is None:
        return (entry["host"], "not understood, see below") + ("",) * 5
    possible = {True: "yes", False: "no", None: "to be tried"}[decision["tftrt"]["possible"]]
    precisions = device["precisions"]
    return (entry["host"], _device(device), _system(device), decision["tensorflow"] or ("as pinned" if not decision["in_image"] else "?"),
            _place(decision), possible, "?" if precisions is None else ", ".join(precisions) or "-")


def _device(device):
    if device["kind"] == "jetson":
        modules = hardware_data.load("jetsons")["modules"]
        name = modules[device["module"]]["name"] if device["module"] else "Jetson, %s" % (device["soc"] or "unknown SoC")
        return " ".join(filter(None, (name, device["variant"])))
    if device["kind"] == "cpu_server":
        return "%s, no GPU" % device["architecture"]
    names = [gpu["name"] or "GPU" for gpu in device["gpus"]]
    counted = ["%d x %s" % (names.count(name), name) if names.count(name) > 1 else name for name in sorted(set(names))]
    return ", ".join(counted) or "NVIDIA GPU without a driver"


def _system(device):
    if device["kind"] == "jetson":
        return "L4T %s (JetPack %s)" % (device["l4t"] or "?", device["jetpack"] or "?")
    return "driver %s" % device["driver"] if device["driver"] else "-"


def _place(decision):
    if not decision["in_image"]:
        return "an environment"
    return decision["image"].split("/")[-1] if decision["image"] else "no image"


def _notes(entry):
    if entry["device"] is None or entry["decision"] is None:
        return []
    notes = list(entry["device"]["notes"]) + list(entry["decision"]["notes"])
    tftrt = entry["decision"]["tftrt"]
    # That a host without a GPU has no TF-TRT surprises nobody.
    if tftrt["reason"] and entry["device"]["kind"] != "cpu_server":
        notes.append("TF-TRT: %s." % tftrt["reason"].rstrip("."))
    said = set(entry["problems"])
    return [note for note in notes if note not in said]


def _sentences(title, pairs):
    lines = ["* " + line for line in _by_host(pairs)]
    return ["", title] + lines if lines else []


def problems_by_host(hosts, fact):
    """Return the sentences that each host has in a fact, each once, with the hosts it is about.

    :param hosts: the variables of the hosts; one without the fact has none.
    """
    return _by_host([(host["inventory_hostname"], problem) for host in hosts for problem in host.get(fact, [])])


def _by_host(pairs):
    hosts: Dict[str, List[str]] = {}
    for host, sentence in pairs:
        hosts.setdefault(sentence, []).append(host)
    lines = []
    for sentence, names in hosts.items():
        more = len(names) - _NAMED_HOSTS
        lines.append("%s%s: %s" % (", ".join(names[:_NAMED_HOSTS]), " and %d more" % more if more > 0 else "", sentence))
    return lines
