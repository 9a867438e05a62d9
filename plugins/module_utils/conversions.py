# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The rule of conversion: what is converted on which hosts, which variant wins, and how a winner becomes a release of its hardware class.

Everything here is pure: dictionaries in, dictionaries out, no file and no socket. The filters of ``plugins/filter/conversions.py`` are the only
caller, on the controller.
"""
import fnmatch
import hashlib
import json

from ansible_collections.tfleet.serving.plugins.module_utils import conversion_options
from ansible_collections.tfleet.serving.plugins.module_utils.models import DEFAULT_KEEP, MAX_VERSION, ModelsError

KEYS = ("model", "variant", "precision", "version", "hardware_classes", "drop_signatures", "thresholds", "options")
VARIANTS = tuple(conversion_options.PRECISIONS)
NATIVE = "native"
# What the record keeps of the results of the modules, for the report.
_OF_PARITY = ("kind", "holds", "rows", "batch_size", "outputs", "detection", "accuracy", "map", "problems", "worst")
_OF_BENCHMARK = ("mode", "builds", "results", "summary", "chart", "conditions", "rounds", "margin")


def conversion_items(variants, models, hardware_class, classes):
    """Return what is to be converted on hosts of one hardware class: a list of dictionaries, grouped by model.

    :param variants: ``model_conversion_variants``.
    :param models: the host's normalised models (``preflight_models``).
    :param hardware_class: that of the host; ``classes`` are those of all hosts, by which a number for each of them is demanded.
    :returns: [{model, base_path, source_version, source, golden, signatures, variant, precision, version, drop_signatures, thresholds, options, name, folder}];
        ``source`` is the native version's directory on the host, ``golden`` the file of its golden answers there, or None.
    :raises ModelsError: naming the entry and the remedy.
    """
    by_name = {model["name"]: model for model in models}
    items = []
    for index, entry in enumerate(variants):
        where = "model_conversion_variants[%d]" % index
        _check_entry(entry, where, by_name)
        if not _classes(entry, [hardware_class]):
            continue
        model = by_name[entry["model"]]
        native = native_release(model["releases"])
        if native is None:
            raise ModelsError("%s: model %s has no native release to convert." % (where, model["name"]))
        version = _version(entry["version"], where, hardware_class, _classes(entry, classes))
        taken = [release for release in model["releases"] if release["version"] == version and release["variant"] == NATIVE]
        if taken or version < native["version"]:
            raise ModelsError("%s: version %d is not above the native version %d of model %s, which it is made of. Give it the next free number."
                              % (where, version, native["version"], model["name"]))
        source = "%s/%d" % (model["base_path"], native["version"])
        items.append({
            "model": model["name"],
            "base_path": model["base_path"],
            "source_version": native["version"],
            "source": source,
            "golden": "%s/.golden/%d/golden.npz" % (model["base_path"], native["version"]) if native["golden"] else None,
            "label_map": _beside(model, native, "label_map"),
            "variant": entry["variant"],
            "precision": str(entry.get("precision", "FP32")).upper(),
            "version": version,
            "drop_signatures": list(entry.get("drop_signatures") or []),
            "thresholds": dict(entry.get("thresholds") or {}),
            "options": dict(entry.get("options") or {}),
            "name": "%s-%s" % (entry["variant"], str(entry.get("precision", "FP32")).lower()),
        })
        # Other options make another variant, which never takes the place of the one that is there.
        items[-1]["folder"] = "%s-%s" % (items[-1]["name"], _digest(items[-1]["options"])[:8])
    _check_numbers(items)
    return items


def native_release(releases):
    """Return the last release of a model that is no variant; None if there is none."""
    native = [release for release in releases if release.get("variant", NATIVE) in (NATIVE, None)]
    return max(native, key=lambda release: int(release["version"])) if native else None


def conversion_mark(item_results, settings):
    """Return the SHA-256 of what the verdict depends on: as long as it is the same, nothing is measured again.

    :param item_results: [(item, fingerprint of the variant)] of one model.
    :param settings: margin and the like.
    """
    return _digest([item_results, settings])


def conversion_verdict(items, conversions, parities, benchmark, signatures):
    """Decide which variant of one model is released.

    :param items: of :func:`conversion_items`, one model's.
    :param conversions: the registered results of ``tftrt_convert`` for ``items``.
    :param parities: {version: the result of ``model_parity``}.
    :param benchmark: the result of ``model_benchmark`` over the variants that may stand in for the native model, by their names; {} if there are none.
    :param signatures: names of the signatures of the native model.
    :returns: {"winner": item or None, "reason": sentence, "complete": whether everything could be tried, "candidates": [...]}; each candidate has name,
        variant, version, converted, parity, verdict, ratio, low, high and a ``reason``, a sentence.
    """
    summary = {line["name"]: line for line in benchmark.get("summary", [])}
    candidates = []
    for item, conversion in zip(items, conversions):
        candidate = {"name": item["name"], "variant": conversion.get("variant"), "version": item["version"], "converted": bool(conversion.get("finished")),
                     "fingerprint": conversion.get("fingerprint"), "parity": None, "verdict": None, "ratio": None, "low": None, "high": None}
        candidate.update(_judged(item, conversion, parities.get(item["version"], {}), summary.get(item["name"]), signatures, benchmark))
        candidates.append(candidate)
    faster = [candidate for candidate in candidates if candidate["verdict"] == "faster"]
    best = max(faster, key=lambda candidate: candidate["ratio"]) if faster else None
    complete = all(candidate["converted"] and (candidate["parity"] is False or candidate["verdict"]) for candidate in candidates)
    if best is None:
        reason = "The native version %d stays: no variant is right and faster beyond doubt. %s" % (
            items[0]["source_version"], " ".join(candidate["reason"] for candidate in candidates))
        return {"winner": None, "reason": reason, "complete": complete, "candidates": candidates}
    winner = next(item for item in items if item["name"] == best["name"])
    reason = "Version %d (%s) takes the place of the native version %d: %s" % (winner["version"], best["variant"], winner["source_version"], best["reason"])
    return {"winner": winner, "reason": reason, "complete": complete, "candidates": candidates}


def may_stand_in(items, conversions, parities, signatures):
    """Return the items whose variant was made, answers as the native model does, and has all signatures that somebody may need."""
    return [item for item, conversion in zip(items, conversions)
            if conversion.get("finished") and parities.get(item["version"], {}).get("holds") is True and not _lost(item, signatures)]


def benchmark_builds(fit, source, directory):
    """Return the builds for ``model_benchmark``: the native version in ``source`` first, then those of :func:`may_stand_in` below ``directory``."""
    return [{"name": NATIVE, "source": source}] + [{"name": item["name"], "source": "%s/%s" % (directory, item["folder"])} for item in fit]


def conversion_entry(verdict, mark, source_version, parities, benchmark, kept, recorded=True):
    """Return what the record keeps of one model: the verdict, what it was made from, and the release of the winner.

    :param verdict: of :func:`conversion_verdict`; ``mark`` of :func:`conversion_mark`, kept only if everything could be tried, so that a failure
        that may pass (memory, a busy host) is tried again.
    :param parities: as for :func:`conversion_verdict`; ``kept`` is the directory on the controller for variants.
    :param recorded: whether the golden answers of the winner were recorded; the native ones hold for it otherwise.
    """
    entry = {key: verdict[key] for key in ("reason", "candidates")}
    for candidate in entry["candidates"]:
        parity = parities.get(candidate["version"], {})
        candidate["answers"] = {key: parity[key] for key in _OF_PARITY if key in parity}
    entry.update(source_version=source_version, mark=mark if verdict["complete"] else None, release=None)
    entry["measured"] = {key: benchmark[key] for key in _OF_BENCHMARK if key in benchmark}
    winner = verdict["winner"]
    if winner:
        chosen = next(candidate for candidate in entry["candidates"] if candidate["name"] == winner["name"])
        place = "%s/%s-%d" % (kept, winner["model"], winner["version"])
        entry["release"] = {"version": winner["version"], "variant": chosen["variant"], "source_version": source_version, "source": place,
                            "golden": place + ".npz" if winner["golden"] and recorded else None}
    return entry


def conversion_report(records, hosts, pictures):
    """Return what the page of the conversions shows.

    :param records: those of each hardware class; ``hosts`` {hardware class: host that converted}.
    :param pictures: paths of pictures of worst answers, ``<hardware class>/<model>-<name>-worst.png``.
    :returns: {"title", "entries": [{model, hardware_class, host, native, benchmarks, candidates: [{variant, version, decision, reason, parity, picture}]}]}.
    """
    entries = []
    for record in records:
        for model, entry in sorted(record["models"].items()):
            hardware_class = record["hardware_class"]
            chosen = (entry["release"] or {}).get("version")
            entries.append({
                "model": model,
                "hardware_class": hardware_class,
                "host": hosts.get(hardware_class, ""),
                "native": "version %d" % entry["source_version"],
                "benchmarks": [entry["measured"]] if entry["measured"] else [],
                "candidates": [_reported(candidate, chosen, model, hardware_class, pictures) for candidate in entry["candidates"]],
            })
    return {"title": "Conversions", "entries": entries}


def _reported(candidate, chosen, model, hardware_class, pictures):
    ending = "/%s/%s-%s-worst.png" % (hardware_class, model, candidate["name"])
    decision = "promoted" if candidate["version"] == chosen else "failed" if not candidate["converted"] else "not promoted"
    return {"variant": candidate["name"], "version": candidate["version"], "decision": decision, "reason": candidate["reason"],
            "parity": candidate["answers"] or None, "picture": next((path for path in pictures if path.endswith(ending)), None)}


def with_variants(models, conversions):
    """Return ``tfleet_models`` with the winners of a hardware class as releases of theirs, so that a deployment brings them to it.

    A winner counts as long as the native release that it was made of is the last one: a newer one has to be converted again. Labels that point to that
    release point to the winner then. What is wrong in ``models`` stays wrong: :func:`models.normalise` says so.

    :param models: the inventory's ``tfleet_models``.
    :param conversions: the record of the hardware class, {"models": {name: {"source_version", "release"}}}.
    :raises ModelsError: a native version whose number is below that of a variant which hosts already have.
    """
    recorded = (conversions or {}).get("models") or {}
    if not isinstance(models, (list, tuple)):
        return models
    return [_with_variant(model, recorded.get(model.get("name"))) if isinstance(model, dict) else model for model in models]


def _with_variant(model, record):
    releases = model.get("releases")
    release = (record or {}).get("release")
    if not release or not isinstance(releases, list) or not all(isinstance(one, dict) and str(one.get("version", "")).isdigit() for one in releases):
        return model
    native = native_release(releases)
    versions = [int(one["version"]) for one in releases]
    if native is None or release["version"] in versions:
        return model
    if int(native["version"]) != release["source_version"]:
        if release["source_version"] < int(native["version"]) < release["version"]:
            raise ModelsError("Model %s: its native version %s has a lower number than the variant %d, which hosts already serve. Give it a number above %d."
                              % (model["name"], native["version"], release["version"], release["version"]))
        return model
    result = dict(model, releases=releases + [_as_release(release, native)])
    result["keep"] = max(_whole(model.get("keep"), DEFAULT_KEEP), len(result["releases"]))
    if isinstance(model.get("labels"), dict):
        result["labels"] = {label: release["version"] if version == release["source_version"] else version for label, version in model["labels"].items()}
    specific = model["policy"].get("specific") if isinstance(model.get("policy"), dict) else None
    if isinstance(specific, dict) and isinstance(specific.get("versions"), list):
        result["policy"] = {"specific": {"versions": specific["versions"] + [release["version"]]}}
    return result


def _as_release(release, native):
    """The winner as an entry of ``releases``; what people see and how fast it has to be is the native model's."""
    result = {"version": release["version"], "source": release["source"], "kind": "saved_model", "variant": release["variant"],
              "source_version": release["source_version"]}
    for key in ("golden", "sample", "label_map", "latency_budget_ms", "tags"):
        if native.get(key):
            result[key] = native[key]
    if release.get("golden"):
        result["golden"] = release["golden"]
    return result


def _judged(item, conversion, parity, line, signatures, benchmark):
    """``parity``, ``verdict``, ``ratio``, ``low``, ``high`` and ``reason`` of one candidate."""
    name = item["name"]
    # A task that must not stop the play says failed: false of everything. Only a conversion that ended says that it has finished.
    if not conversion.get("finished"):
        return {"reason": "%s could not be made: %s" % (name, conversion.get("msg", "no reason was given"))}
    lost = _lost(item, signatures)
    if lost:
        return {"parity": False, "reason": "%s has no signature %s, which the native model has: list it under drop_signatures if nobody calls it."
                                           % (name, ", ".join(lost))}
    if parity.get("holds") is not True:
        known = parity.get("holds") is False
        return {"parity": False if known else None, "reason": "%s %s: %s" % (
            name, "answers otherwise" if known else "could not be compared", parity.get("msg", "it was not compared"))}
    if line is None:
        return {"parity": True, "reason": "%s could not be measured: %s" % (name, benchmark.get("msg", "it was not measured"))}
    measured = {key: line.get(key) for key in ("verdict", "ratio", "low", "high")}
    return dict(measured, parity=True, reason=line["reason"])


def _lost(item, signatures):
    wanted = item["options"].get("signature", "serving_default")
    return sorted(set(signatures) - {wanted} - set(item["drop_signatures"]))


def _beside(model, release, key):
    """Where the role model_release keeps a file of a release on the host."""
    name = (release[key] or "").rsplit("/", 1)[-1]
    ending = name[name.rindex("."):] if "." in name else ""
    return "%s/.golden/%d/%s%s" % (model["base_path"], release["version"], key, ending) if release[key] else None


def _check_entry(entry, where, by_name):
    if not isinstance(entry, dict):
        raise ModelsError("%s must be a dictionary with model, variant and version." % where)
    for key in entry:
        if key not in KEYS:
            raise ModelsError("%s: unknown key %r%s. Known: %s." % (where, key, conversion_options.nearest(key, KEYS), ", ".join(KEYS)))
    for key in ("model", "variant", "version"):
        if entry.get(key) in (None, ""):
            raise ModelsError("%s has no %s." % (where, key))
    if entry["model"] not in by_name:
        raise ModelsError("%s: there is no model %s in tfleet_models. Declared: %s." % (where, entry["model"], ", ".join(sorted(by_name)) or "none"))
    if entry["variant"] not in VARIANTS:
        raise ModelsError("%s: variant %r is unknown. Known: %s." % (where, entry["variant"], ", ".join(VARIANTS)))
    for key in ("hardware_classes", "drop_signatures"):
        if not isinstance(entry.get(key) or [], (list, tuple)):
            raise ModelsError("%s: %s is %r: write a list." % (where, key, entry[key]))
    try:
        conversion_options.check(entry)
    except ValueError as error:
        raise ModelsError("%s: %s" % (where, error))


def _classes(entry, classes):
    """Those of ``classes`` that the entry is for."""
    return [name for name in classes if any(fnmatch.fnmatchcase(name, pattern) for pattern in entry.get("hardware_classes") or ["*"])]


def _version(given, where, hardware_class, classes):
    """The number of the variant's release on a hardware class."""
    if isinstance(given, dict):
        if hardware_class not in given:
            raise ModelsError("%s: version has no number for the hardware class %s. It has: %s." % (where, hardware_class, ", ".join(sorted(given)) or "none"))
        given = given[hardware_class]
    elif len(classes) > 1:
        raise ModelsError("%s: a version has exactly one variant, and these hosts are of %d hardware classes. Write\n  version:\n%s"
                          % (where, len(classes), "\n".join("    %s: NUMBER" % name for name in sorted(classes))))
    number = _whole(given, 0)
    if not 0 < number <= MAX_VERSION:
        raise ModelsError("%s: version %r is not a positive whole number." % (where, given))
    return number


def _check_numbers(items):
    for index, item in enumerate(items):
        for other in items[:index]:
            same = "version" if item["version"] == other["version"] else "variant and precision" if item["name"] == other["name"] else None
            if same and item["model"] == other["model"]:
                raise ModelsError("model_conversion_variants: version %d (%s) and version %d (%s) of model %s have the same %s. Give each its own."
                                  % (other["version"], other["name"], item["version"], item["name"], item["model"], same))


def _digest(content):
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8")).hexdigest()


def _whole(value, default):
    return int(value) if not isinstance(value, bool) and str(value).isdigit() else default
