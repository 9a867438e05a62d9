# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What the page of playbooks/status.yml shows of a fleet: where its hosts stand, what they serve, and how they are. Pure functions."""
from collections import OrderedDict
from typing import Any, Dict, List, Sequence, Tuple

from ansible_collections.tfleet.serving.plugins.module_utils.memory import human
from ansible_collections.tfleet.serving.plugins.module_utils.reporting import drift

GOOD, UNSURE, BAD = "good", "unsure", "bad"
WORDS = OrderedDict([(BAD, "in trouble"), (UNSURE, "worth a look"), (GOOD, "well")])
# Less memory or disk than this part of all, and what a zone lacks of its critical temperature.
LITTLE = 0.05
CLOSE_CELSIUS = 10


def fleet_status(hosts: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """Return what the page shows of the hosts of a run.

    :param hosts: their variables, of those that were not reached too; the facts of the role model_server's look.yml and of preflight where there are any.
    :returns: {"counts": [{state, words, number}], "sites": [{name, hosts: [host]}]} with host = {name, hardware_class, state, problems: [sentence],
        models: [{name, versions: [{version, state, labels}]}], health: {what: value}}, in the order of their names.
    """
    shown = [_host(host) for host in hosts]
    sites: Dict[str, List[Dict[str, Any]]] = OrderedDict()
    for site, host in sorted(shown, key=lambda pair: (pair[0] == "", pair[0], pair[1]["name"])):
        sites.setdefault(site, []).append(host)
    counts = [{"state": state, "words": words, "number": sum(host["state"] == state for _site, host in shown)} for state, words in WORDS.items()]
    return {"counts": counts, "sites": [{"name": name, "hosts": members} for name, members in sites.items()]}


def _host(host: Dict[str, Any]) -> Tuple[str, Dict[str, Any]]:
    device = (host.get("ansible_facts") or {}).get("tfleet_device") or {}
    resolved = host.get("preflight_resolved") or {}
    told: Dict[str, Any] = {
        "name": host["inventory_hostname"],
        "hardware_class": resolved.get("hardware_class") or device.get("hardware_class") or device.get("architecture") or "",
        "state": BAD, "problems": ["It was not reached, or refused before it was asked: the output of the run says why."], "models": [], "health": {},
    }
    if host.get("model_server_seen") is not None:
        told["models"], wrong = _models(host)
        told["health"], doubts = _health(device)
        doubts = [sentence.split(", ", 1)[1] for sentence in drift([host])] + doubts
        told.update(problems=wrong + doubts, state=BAD if wrong else UNSURE if doubts else GOOD)
    return str(host.get("rollout_site") or ""), told


def _models(host):
    """([{name, versions}], sentences on what is not served)."""
    seen, models, wrong = host["model_server_seen"], [], []
    if not seen.get("reachable"):
        return [], ["No model server answers at %s." % seen.get("address", "its address")]
    for model in host["preflight_models"]:
        name = model["name"]
        labels = host["model_server_labels_now"].get(name, {})
        rows = [row for row in seen.get("models", {}).get(name, {}).get("versions", []) if row["state"] != "END" or row.get("error_message")]
        versions = [{"version": int(row["version"]), "state": row["state"],
                     "labels": sorted(label for label, version in labels.items() if version == int(row["version"]))} for row in rows]
        models.append({"name": name, "versions": versions})
        if not any(row["state"] == "AVAILABLE" for row in rows):
            wrong.append("%s is not served." % name)
        wrong += ["%s version %s: %s" % (name, row["version"], row["error_message"]) for row in rows if row.get("error_message")]
    return models, wrong


def _health(device):
    """({what: value}, sentences on what is doubtful)."""
    values, doubts = {}, []
    for what, reading, key in (("memory", device.get("memory"), "available_bytes"), ("disk", device.get("disk"), "free_bytes")):
        if reading and reading.get(key) is not None and reading.get("total_bytes"):
            values[what] = "%s of %s" % (human(reading[key]), human(reading["total_bytes"]))
            if reading[key] < LITTLE * reading["total_bytes"]:
                doubts.append("Only %s of %s are free: %s." % (human(reading[key]), human(reading["total_bytes"]), what))
    used = sum(area["used_bytes"] for area in device.get("swap") or ())
    if used:
        values["swap"] = human(used)
    zones = sorted(device.get("thermal") or (), key=lambda zone: -zone["celsius"])
    if zones:
        values["hottest"] = "%s %.0f °C" % (zones[0]["zone"], zones[0]["celsius"])
    doubts += ["The zone %s has %.0f °C, %.0f are critical." % (zone["zone"], zone["celsius"], zone["critical_celsius"])
               for zone in zones if zone["critical_celsius"] and zone["celsius"] > zone["critical_celsius"] - CLOSE_CELSIUS]
    doubts += ["It was slowed down: %s." % event for event in device.get("throttling") or ()]
    return values, doubts
