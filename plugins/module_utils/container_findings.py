# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Which of the known failures of GPUs in containers a host has, by data/docker.yml, and what cures each. On the controller only."""
import re

from ansible_collections.tfleet.serving.plugins.module_utils.hardware_data import load, number

CONDITIONS = {
    "snap_docker": lambda seen, _data: seen["snap"],
    "rootless_docker": lambda seen, _data: bool(seen["docker"]) and seen["docker"]["rootless"],
    "toolkit_missing": lambda seen, _data: not seen["runtime_installed"],
    "docker_not_restarted": lambda seen, data: bool(seen["docker"]) and seen["runtime_registered"]
    and data["toolkit"]["runtime"]["name"] not in seen["docker"]["runtimes"],
    "runtime_unregistered": lambda seen, data: bool(seen["docker"]) and not seen["runtime_registered"]
    and data["toolkit"]["runtime"]["name"] not in seen["docker"]["runtimes"],
    "driver_missing": lambda seen, _data: not seen["gpus"],
    "device_nodes_missing": lambda seen, _data: not any(seen["devices"].values()),
    "stale_repository_files": lambda seen, _data: bool(seen["stale_files"]),
    # A CDI file does not help: the model server asks for the driver nvidia (servers.py), as --gpus does.
    "devices_lost_on_reload": lambda seen, _data: bool(seen["docker"]) and seen["docker"]["cgroup_driver"] == "systemd",
    "default_runtime_is_another": lambda seen, data: bool(seen["docker"]) and seen["docker"]["default_runtime"] != data["toolkit"]["runtime"]["name"],
    "csv_files_missing": lambda seen, _data: any(not csv["exists"] for csv in seen["csv"].values()),
    "csv_targets_missing": lambda seen, _data: any(csv["missing"] for csv in seen["csv"].values()),
}


def container_findings(seen, kind):
    """Return the known failures that a host has: [{"id", "level", "cause", "cure", "because"}], the surest first.

    :param seen: what the module nvidia_container_info returned as ``observations``.
    :param kind: gpu_server or jetson.

    A row of the table whose condition holds is found. One that only a message speaks for is found if no row with that message has a condition that
    holds: the message alone does not tell which it is. A message that no row knows is a finding of its own.
    """
    data = load("docker")
    rows = [row for row in data["failures"] if kind in row["hosts"]]
    spoken = {row["id"]: _message(row, seen["messages"]) for row in rows}
    certain = [row for row in rows if row["condition"] and CONDITIONS[row["condition"]](seen, data)]
    explained = {spoken[row["id"]] for row in certain}
    possible = [row for row in rows if row not in certain and spoken[row["id"]] and spoken[row["id"]] not in explained]
    findings = [_finding(row, row["level"] if not spoken[row["id"]] else "failure", _evidence(row, seen) or spoken[row["id"]])
                for row in certain + possible]
    if not seen["docker"] and "snap_docker" not in {row["id"] for row in certain}:
        findings.insert(0, {"id": "docker_silent", "level": "failure", "cause": "Docker does not answer", "because": seen["messages"].get("docker info", ""),
                            "cure": "See `systemctl status docker` and `journalctl -u docker`."})
    known = {said for said in spoken.values() if said}
    if seen["test"] is False and not any(row["level"] == "failure" for row in findings) and not known:
        findings.append({"id": "unknown", "level": "failure", "cause": "the test container failed in a way that data/docker.yml does not know",
                         "because": "; ".join("%s: %s" % pair for pair in sorted(seen["messages"].items())), "cure": "Add it there once it is understood."})
    return findings


def wanted_l4t_sources(l4t, soc):
    """Return the components and the suite of NVIDIA's repository for a Jetson: (["common", "t186"], "r32.7").

    :raises KeyError: the generation or the SoC is unknown.
    """
    jetson = load("docker")["toolkit"]["jetson"]
    major = l4t.split(".")[0]
    components = ["common"] + [jetson["soc_components"][soc] if name == "<soc>" else name for name in jetson["generations"][major]["components"]]
    return components, "r%d.%d" % number(l4t)[:2]


def l4t_source_faults(text, l4t, soc, mirror=""):
    """Return what is wrong with the content of the L4T repository's file, as sentences; [] if nothing is.

    :param mirror: the repository's address where it is not NVIDIA's own.

    Optional components such as ffmpeg may be missing; those of another L4T would upgrade the Jetson.
    """
    address = mirror or load("docker")["toolkit"]["jetson"]["address"]
    components, suite = wanted_l4t_sources(l4t, soc)
    entries = [line.split() for line in text.splitlines() if line.split()[:1] == ["deb"] and address in line]
    entries = [[word for word in entry if not word.startswith("[") and not word.endswith("]")] for entry in entries]
    if any("<SOC>" in word for entry in entries for word in entry):
        return ["it still holds the placeholder <SOC> of a freshly flashed system; write %s there" % components[1]]
    found = {entry[1][len(address):].strip("/"): entry[2] for entry in entries if len(entry) > 3}
    missing = [name for name in components[:2] if name not in found]
    if missing:
        return ["it has no active line for %s; `deb %s/%s %s main` is one" % (" and ".join(missing), address, missing[0], suite)]
    other = sorted({given for given in found.values() if given != suite})
    return ["its lines are for %s, and the Jetson has L4T %s (%s); packages of another L4T break it" % (" and ".join(other), l4t, suite)] if other else []


def _message(row, messages):
    if not row["says"]:
        return None
    for source in sorted(messages):
        match = re.search(".*(?:%s).*" % row["says"], messages[source], re.IGNORECASE)
        if match:
            return match.group(0).strip()
    return None


def _finding(row, level, because):
    return {"id": row["id"], "level": level, "cause": row["cause"], "cure": row["cure"], "because": because or ""}


def _evidence(row, seen):
    """Return the names that a person needs besides the cause."""
    if row["condition"] == "csv_targets_missing":
        missing = [target for csv in seen["csv"].values() for target in csv["missing"]]
        return "missing: %s%s" % (", ".join(missing[:5]), " and %d more" % (len(missing) - 5) if len(missing) > 5 else "")
    if row["condition"] == "csv_files_missing":
        return "missing: " + ", ".join(sorted(name for name, csv in seen["csv"].items() if not csv["exists"]))
    if row["condition"] == "stale_repository_files":
        return "there: " + ", ".join(seen["stale_files"])
    return None
