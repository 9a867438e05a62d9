# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What is asked of the served models, and how the answers are shown: lines, tables, the page of a run.

Pure functions, used by the filters of ``plugins/filter/reporting.py`` on the controller.
"""
import base64
from typing import Any, Dict, List, Tuple

from ansible_collections.tfleet.serving.plugins.module_utils.models import release_item


def smoke_items(models, addresses, label=None, served=None):
    """What the smoke test shall ask: one item for each server and each model with golden answers.

    :param addresses: of the servers of the host, which all serve the same models: one for each GPU, where it has several.
    :param label: ask by this label; None asks by number for the newest version that the policy loads.
    :param served: {model: {label: version}} that replaces the declared labels, as after a rollback.
    :returns: [{address, model, version, label, base_path, …the release's keys…}].
    """
    items: List[Dict[str, Any]] = []
    for model in models:
        labels = (served or {}).get(model["name"], model["labels"])
        version = labels.get(label) if label else (model["serve"] or [None])[-1]
        for release in model["releases"]:
            if release["version"] == version and release["golden"]:
                items.extend(dict(release_item((model, release)), label=label, address=address) for address in addresses)
    return items


def smoke_result(answer, host):
    """Return one line of the smoke test's report from one looped result of the module ``grpc_predict``.

    :param answer: the registered result, with the item of :func:`smoke_items` under ``item``.
    :returns: {ok, host, address, model, version, label, latency_ms, worst_error, requests, msg}.
    """
    item = answer["item"]
    result = {
        "ok": bool(answer.get("ok")) and not answer.get("failed"),
        "host": host, "address": item["address"], "model": item["model"], "version": item["version"], "label": item["label"],
        "latency_ms": answer.get("latency_ms"), "worst_error": answer.get("worst_error"), "requests": answer.get("requests"),
    }
    if result["ok"] and answer.get("version") != item["version"]:
        result["ok"] = False
        answer = {"msg": "the answer came from version %s. Look at the labels with playbooks/status.yml." % answer.get("version")}
    if not result["ok"]:
        by = "label %s, which shall be version %d" % (item["label"], item["version"]) if item["label"] else "version %d" % item["version"]
        result["msg"] = "%s at %s, model %s, %s: %s" % (host, item["address"], item["model"], by, answer.get("msg", "no answer"))
    return result


def unproven_models(results, labels_before):
    """Return the models to take back: those whose wrong answer came from a version that was not yet proven.

    A version that had the label ``stable`` before this run was proven; when it fails now, the cause is the host or a changed
    configuration, and an older version would only add to the harm.

    :param results: dictionaries of :func:`smoke_result`.
    :param labels_before: {model: {label: version}} at the beginning of the run.
    """
    return sorted({result["model"] for result in results
                   if not result["ok"] and labels_before.get(result["model"], {}).get("stable") != result["version"]})


def smoke_summary(results):
    """Return one dictionary for each host, server, model and version: ok, what was asked (``by``), worst latency and worst error."""
    lines: Dict[Tuple[str, str, str, int], Dict[str, Any]] = {}
    for result in results:
        key = (result["host"], result["address"], result["model"], result["version"])
        line = lines.setdefault(key, {
            "ok": True, "host": result["host"], "address": result["address"], "model": result["model"], "version": result["version"],
            "by": [], "latency_ms": result["latency_ms"], "worst_error": result["worst_error"], "requests": 0,
        })
        line["ok"] = line["ok"] and result["ok"]
        line["by"].append(result["label"] or "version")
        line["requests"] += result["requests"] or 0
        for measure, figure in (("latency_ms", "p50"), ("worst_error", "abs")):
            # An answer that did not come has neither.
            if result[measure] and (not line[measure] or result[measure][figure] > line[measure][figure]):
                line[measure] = result[measure]
        if not result["ok"]:
            line["msg"] = result["msg"]
    return [lines[key] for key in sorted(lines)]


def picture_item(answer, host, directory):
    """Return what the report shows of one annotated picture: host, model, version, its path and its predictions."""
    item = answer["item"]
    return {
        "host": host, "model": item["model"], "version": item["version"],
        "path": "%s/%s-%s-%s.png" % (directory, host, item["model"], item["version"]),
        "predictions": answer.get("predictions", []),
    }


def base64_file(path):
    """Return the content of a file on the controller in base64, for a page that opens without a server."""
    with open(path, "rb") as stream:
        return base64.b64encode(stream.read()).decode("ascii")


def status_table(hosts):
    """Return a table, as text, of what each host serves, and below it why a version failed to load.

    :param hosts: the variables of the hosts, with the facts of the role model_server's look.yml.
    """
    rows = [("host", "model", "version", "state", "labels", "on disk")]
    reasons = []
    for host in hosts:
        seen = host.get("model_server_seen")
        if seen is None:
            rows.append((host["inventory_hostname"], "-", "-", "not reached", "", ""))
            continue
        for model in host["preflight_models"]:
            name = model["name"]
            disk = " ".join(map(str, host["model_server_versions_on_disk"].get(name, []))) or "none"
            labels = host["model_server_labels_now"].get(name, {})
            versions = [row for row in seen.get("models", {}).get(name, {}).get("versions", []) if row["state"] != "END" or row.get("error_message")]
            state = "server not reachable" if not seen.get("reachable") else "not served"
            if not versions:
                rows.append((host["inventory_hostname"], name, "-", state, "", disk))
            for row in versions:
                here = " ".join(sorted(label for label, version in labels.items() if version == int(row["version"])))
                rows.append((host["inventory_hostname"], name, str(row["version"]), row["state"], here, disk))
                if row.get("error_message"):
                    reasons.append("%s, %s version %s: %s" % (host["inventory_hostname"], name, row["version"], row["error_message"]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join(lines + ([""] + reasons if reasons else []))


def drift(hosts):
    """Return where hosts serve otherwise than the inventory declares, as sentences.

    :param hosts: as for :func:`status_table`.
    """
    sentences = []
    for host in hosts:
        if host.get("model_server_seen") is None:
            continue
        for model in host["preflight_models"]:
            labels = host["model_server_labels_now"].get(model["name"], {})
            for label, version in sorted(model["labels"].items()):
                if labels.get(label) != version:
                    now = "on version %d" % labels[label] if label in labels else "nowhere"
                    sentences.append("%s, %s: the label %s is %s, declared is version %d." % (host["inventory_hostname"], model["name"], label, now, version))
            undeclared = sorted(set(labels) - set(model["labels"]))
            if undeclared:
                sentences.append("%s, %s: nobody declares the label %s." % (host["inventory_hostname"], model["name"], ", ".join(undeclared)))
    return sentences
