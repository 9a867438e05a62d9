# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What Prometheus' node exporter does not know of a device, as a page for its textfile directory: sensors of a Jetson, what is served, rollouts.

The role ``monitoring`` installs this file with what it imports, and a timer runs it. Only the standard library of Python 3.6.
"""
import argparse
import http.client
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from calendar import timegm

from ansible_collections.tfleet.serving.plugins.module_utils.commands import SBIN, Commands
from ansible_collections.tfleet.serving.plugins.module_utils.device_facts import Device
from ansible_collections.tfleet.serving.plugins.module_utils.durable import write_atomically
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.exposition import Page
from ansible_collections.tfleet.serving.plugins.module_utils.model_config import models_of
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_lock import ROLLED_BACK, Hold

COMMAND_SECONDS = 5
ANSWER_SECONDS = 5
LARGEST_ANSWER = 16 * 1024 * 1024
# Of a server that is away, or of something else that listens on its port.
NO_ANSWER = (OSError, http.client.HTTPException, ValueError, KeyError, TypeError)
_BY_ROLLOUT = re.compile(r"(\S+?)".join(re.escape(part) for part in ROLLED_BACK.split("%s")[:2]))
_ASIDE = re.compile(r"([1-9][0-9]*)\.json\Z")


# ---- the device ----
def device_metrics(page, readings, **labels):
    """Tell what Device.measure() read; a reading that the device does not have has no sample.

    :param labels: what the controller knows of the device.
    """
    page.add("tfleet_device_info", "gauge", "What the device is.", 1, l4t=readings["l4t"], device_model=readings["model"], **labels)
    for zone in readings["thermal"]:
        page.add("tfleet_thermal_zone_celsius", "gauge", "Temperature of a zone; of several with one name the hottest.", zone["celsius"], zone=zone["zone"])
        page.add("tfleet_thermal_zone_critical_celsius", "gauge", "Temperature at which the kernel turns the device off.", zone["critical_celsius"],
                 zone=zone["zone"])
    # Those of the node exporter have other names before its version 0.16, which JetPack 4 has.
    for part, what in (("total", "Memory, which a Jetson's GPU shares."), ("available", "Memory that can be had without swapping.")):
        page.add("tfleet_memory_%s_bytes" % part, "gauge", what, (readings["memory"] or {}).get(part + "_bytes"))
    disk = readings["disk"]
    for part, what in (("total", "Size of the disk that the models are on."), ("free", "Free part of the disk that the models are on.")):
        page.add("tfleet_disk_%s_bytes" % part, "gauge", what, disk[part + "_bytes"], path=disk["path"])
    for area in readings["swap"] or ():
        where = {"path": area["path"], "type": area["type"]}
        page.add("tfleet_swap_size_bytes", "gauge", "Size of a swap area.", area["size_bytes"], **where)
        page.add("tfleet_swap_used_bytes", "gauge", "Used part of a swap area.", area["used_bytes"], **where)
    for counter, count in sorted((readings["over_current"] or {}).items()):
        page.add("tfleet_over_current_events_total", "counter", "Times that the power supply gave out and the device was slowed down.", count, counter=counter)
    page.add("tfleet_over_current_messages", "gauge", "Lines of the kernel's log that tell of an over-current.", readings["over_current_messages"])
    page.add("tfleet_gpu_load_ratio", "gauge", "Part of the time that the GPU works.", readings["gpu_load"])
    page.add("tfleet_memory_largest_free_block_bytes", "gauge", "Largest block of memory that is free in one piece.", readings["largest_free_block_bytes"])
    for rail, power in sorted(readings["rails"].items()):
        page.add("tfleet_power_rail_watts", "gauge", "Power that a rail takes.", power["now_mw"] / 1000.0, rail=rail)
    mode = readings["power"]
    if mode and mode["mode"]:
        page.add("tfleet_power_mode_info", "gauge", "The power mode of nvpmodel.", 1, mode=mode["mode"])


# ---- what is served ----
def server_metrics(page, server, models):
    """Ask a model server by REST for the models of its model.config, and tell where it serves otherwise.

    :param server: host:port.
    :param models: result of model_config.models_of().
    """
    reachable = None
    for model in models:
        name = model["name"]
        rows = _status(server, name)
        reachable = rows is not None
        if not reachable:
            break
        for version, state, code in rows:
            where = {"server": server, "model": name, "version": version}
            page.add("tfleet_model_version_available", "gauge", "Whether the version answers.", int(state == "AVAILABLE"), **where)
            page.add("tfleet_model_version_load_failed", "gauge", "Whether the version ended with an error.", int(state == "END" and code != "OK"), **where)
        if _held(model):
            # A rollout judges the server by its counters now, and a question for a label that is about to come would count as an error.
            continue
        for label, version in sorted(model["labels"].items()):
            served = _version_of(server, name, label)
            where = {"server": server, "model": name, "label": label}
            if served is not None:
                page.add("tfleet_model_label_info", "gauge", "The version that answers by a label.", 1, version=served, **where)
            page.add("tfleet_model_label_drift", "gauge", "Whether a label of model.config answers with another version, or not at all.",
                     int(served != str(version)), **where)
    if reachable is not None:
        page.add("tfleet_model_server_up", "gauge", "Whether the model server answers by REST.", int(reachable), server=server)


def _status(server, model):
    """Return (version, state, error code) of a model's versions; none of one that the server does not know, and None if no server answers."""
    try:
        return [(row["version"], row["state"], row["status"]["error_code"]) for row in _get(server, model)["model_version_status"]]
    except urllib.error.HTTPError:
        return []
    except NO_ANSWER:
        return None


def _version_of(server, model, label):
    """Return the version that a label points to, None if it answers with none. A status tells of all versions, whatever label it was asked by."""
    try:
        return _get(server, "%s/labels/%s/metadata" % (model, label))["model_spec"]["version"]
    except NO_ANSWER:
        return None


def _get(server, path):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open("http://%s/v1/models/%s" % (server, path), timeout=ANSWER_SECONDS) as answer:
        return json.loads(answer.read(LARGEST_ANSWER).decode("utf-8"))


# ---- rollouts ----
def rollout_metrics(page, model):
    """Tell what rollouts have left beside the versions of a model: whether one holds the device, and whether the last one passed its gate."""
    for label, version in sorted(model["labels"].items()):
        page.add("tfleet_model_declared_label_info", "gauge", "The version that a label of model.config points to.", 1, model=model["name"], label=label,
                 version=version)
    held = Hold(model["base_path"]).read()
    gates = [(when, 0, rollout, version) for when, rollout, version in _rolled_back(model["base_path"])]
    if held is not None:
        since = _seconds(held["since"])
        if not held.get("done"):
            page.add("tfleet_rollout_hold_timestamp_seconds", "gauge", "Since when a rollout holds the device.", since, model=model["name"],
                     rollout=held["rollout"], version=held["version"])
        if held.get("promoted") or held.get("done"):
            gates.append((since, 1, held["rollout"], held["version"]))
    if gates:
        when, passed, rollout, version = max(gates)
        where = {"model": model["name"], "rollout": rollout, "version": version}
        page.add("tfleet_rollout_gate_passed", "gauge", "Whether the version of the last rollout passed its gate, or was rolled back.", passed, **where)
        page.add("tfleet_rollout_gate_timestamp_seconds", "gauge", "When the last rollout began, or was rolled back.", when, **where)


def _held(model):
    held = Hold(model["base_path"]).read()
    return held is not None and not held.get("done")


def _rolled_back(base):
    """Return (when, rollout, version) of each version that a rollout moved aside."""
    directory = os.path.join(base, ".aside")
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        number = _ASIDE.match(name)
        if number:
            with open(os.path.join(directory, name), "rb") as stream:
                record = json.loads(stream.read().decode("utf-8"))
            rollout = _BY_ROLLOUT.match(record["reason"])
            if rollout:
                found.append((_seconds(record["when"]), rollout.group(1), int(number.group(1))))
    return found


def _seconds(when):
    return timegm(time.strptime(when, "%Y-%m-%dT%H:%M:%SZ"))


# ---- the command ----
def collect(args):
    """Return the page."""
    page = Page()
    roots = {"proc": args.proc_root, "sys": args.sys_root, "etc": args.etc_root, "var": "/var"}
    commands = Commands(os.environ.get("PATH", os.defpath).split(os.pathsep) + SBIN, COMMAND_SECONDS)
    models = _models(args.model_config)
    device = Device(roots, commands, models[0]["base_path"] if models else "/")
    device_metrics(page, device.measure(), kind=args.kind, hardware_class=args.hardware_class)
    page.add("tfleet_collector_timestamp_seconds", "gauge", "When these were collected.", int(time.time()))
    for server in args.server:
        server_metrics(page, server, models)
    for model in models:
        rollout_metrics(page, model)
    return page.text()


def _models(path):
    try:
        with open(path, encoding="utf-8") as stream:
            return models_of(stream.read())
    except FileNotFoundError:
        # A host that serves nothing yet.
        return []


def main(argv=None):
    """Write the page and return the exit status; the old page stays where something failed, and its age tells of it."""
    parser = argparse.ArgumentParser(description="Write what Prometheus is to know of this device.")
    parser.add_argument("--output", required=True, help="file in the textfile directory of the node exporter")
    parser.add_argument("--model-config", default="/etc/tfleet/model.config", help="of the model server (default: %(default)s)")
    parser.add_argument("--server", action="append", default=[], metavar="HOST:PORT", help="REST port of a model server that reads it")
    parser.add_argument("--kind", help="jetson, gpu_server or cpu_server")
    parser.add_argument("--hardware-class", help="as the controller knows it")
    for root in ("proc", "sys", "etc"):
        parser.add_argument("--%s-root" % root, default="/" + root, help="the device's (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        write_atomically(args.output, collect(args).encode("utf-8"))
    except (ModuleError, OSError, ValueError, KeyError) as error:
        sys.stderr.write("The metrics of this device were not written to %s: %s\n" % (args.output, error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
