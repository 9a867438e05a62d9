# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What a benchmark of served versions measures, and how its results come onto the page of the conversions.

Pure functions, used by the filters of ``plugins/filter/benchmarking.py`` on the controller.
"""

from ansible_collections.tfleet.serving.plugins.module_utils.measuring import SCHEME


def benchmark_items(models, seen, address, names=()):
    """What to measure on one host: one item for each model with its AVAILABLE versions, oldest first, which is what the others are compared with.

    :param models: result of the filter ``normalise``.
    :param seen: what the module ``model_server_info`` returned.
    :param address: the server's gRPC port, as the host sees it.
    :param names: of the models to measure; none means all.
    :returns: [{model, builds: [{name, source}], golden}], golden being the file on the host or None.
    """
    items = []
    for model in models:
        if names and model["name"] not in names:
            continue
        rows = seen.get("models", {}).get(model["name"], {}).get("versions", [])
        versions = sorted(int(row["version"]) for row in rows if row["state"] == "AVAILABLE")
        if not versions:
            continue
        place = "%s%s/%s/" % (SCHEME, address, model["name"])
        releases = {release["version"]: release for release in model["releases"]}
        recorded = [version for version in versions if releases.get(version, {}).get("golden")]
        items.append({
            "model": model["name"],
            "builds": [{"name": _name(version, releases.get(version)), "source": "%s%d" % (place, version)} for version in versions],
            # The requests of one file for all versions: what is compared has to be asked the same.
            "golden": "%s/.golden/%d/golden.npz" % (model["base_path"], recorded[-1]) if recorded else None,
        })
    return items


def benchmark_entry(answer, host, hardware_class=None):
    """Return one entry of ``conversion_report`` from one looped result of the module ``model_benchmark``.

    :param answer: the registered result, with the item of :func:`benchmark_items` under ``item``.
    """
    builds = answer["item"]["builds"]
    measured = bool(answer.get("ok"))
    lines = {line["name"]: line for line in answer.get("summary", [])}
    candidates = []
    for build in builds[1:] or builds:
        reason = lines.get(build["name"], {}).get("reason", "The only version that is served: there is nothing to compare it with.")
        candidates.append({
            "variant": build["name"], "version": None, "decision": "measured" if measured else "failed",
            "reason": reason if measured else answer.get("msg", "no answer"), "parity": None, "picture": None,
        })
    return {
        "model": answer["item"]["model"], "host": host, "hardware_class": hardware_class, "native": builds[0]["name"] if builds[1:] else None,
        "benchmarks": [{key: value for key, value in answer.items() if key not in ("item", "invocation", "ansible_loop_var")}] if measured else [],
        "candidates": candidates,
    }


def benchmark_lines(entries):
    """Return a table, as text, of the entries of all hosts: what was compared, and the verdict."""
    lines = []
    for entry in entries:
        for candidate in entry["candidates"]:
            lines.append("%s, %s: %s" % (entry["host"], entry["model"], candidate["reason"]))
    return lines


def _name(version, release):
    variant = (release or {}).get("variant") or "native"
    return "version %d" % version if variant == "native" else "version %d, %s" % (version, variant)
