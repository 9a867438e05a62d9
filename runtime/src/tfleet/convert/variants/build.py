"""``tfleet convert``: a variant of a SavedModel, checked before, built by a child process, published whole or not at all. No TensorFlow here."""

import json
import os
import shutil
from typing import Any, Dict, List, Optional

from tfleet import __version__, files
from tfleet.convert import provenance
from tfleet.convert import source as sources
from tfleet.convert.plan import report as segmenter
from tfleet.convert.variants import job as jobs
from tfleet.convert.variants import request as requests
from tfleet.convert.variants import resources, tensorrt
from tfleet.convert.variants.request import Request
from tfleet.convert.workspace import Workspace, publish, put, sweep
from tfleet.errors import TfleetError

_EXTRA = "assets.extra"


def convert(
    request: Request,
    source: str,
    dest: str,
    time_limit: float = 7200,
    ignore_memory: bool = False,
    dry_run: bool = False,
    watch: Optional[jobs.Watcher] = None,
) -> Dict[str, Any]:
    """Build the variant `request` of the SavedModel folder `source` in the folder `dest`; the answer of `tfleet convert`.

    :param time_limit: seconds
    :param ignore_memory: begin even if the estimate says that memory will not suffice
    :param dry_run: everything that can be told without TensorFlow, and nothing written
    :param watch: called with a job.Progress some times a second
    :raises TfleetError: with the next step; nothing is at `dest` then that was not there before
    """
    dest = os.path.abspath(os.path.expanduser(dest))
    found = _source(source)
    calibration = _calibration(request)
    mark = requests.fingerprint(request, found.sha256, calibration)
    same = _unchanged(dest, request, mark, found)
    if same is not None:
        return same
    size = found.size or 0
    resources.check_disk(dest, size)
    if not ignore_memory:
        resources.check_memory(request.kind, size, request.workspace_bytes, resources.memory())
    if dry_run:
        return _answer(dest, True, request, mark, found.sha256, {})
    sweep(dest)
    if request.kind == "tftrt":
        probed = tensorrt.probe()
        tensorrt.check_usable(probed)
        tensorrt.check_batch(probed, request.dynamic_shape)
    try:
        return _build(request, found, dest, mark, calibration, time_limit, watch)
    except OSError as error:
        sentence = "%s while writing `%s` (%s). What was begun is removed, nothing else was touched."
        raise TfleetError(sentence % (error.strerror or error, dest, error.filename))


def _build(
    request: Request, found: sources.Source, dest: str, mark: str, calibration: Optional[str], time_limit: float, watch: Optional[jobs.Watcher]
) -> Dict[str, Any]:
    path = os.path.abspath(found.path or "")
    with Workspace(dest) as workspace:
        built = os.path.join(workspace.folder(), "model")
        environment = {"TMPDIR": workspace.folder()}  # TF-TRT writes engines to a temporary folder that it never removes
        if request.kind == "tftrt":
            environment.update(segmenter.ENVIRONMENT, TF_FORCE_GPU_ALLOW_GROWTH="true")
        task = {"request": request._asdict(), "source": path, "built": built}
        job = jobs.Job("tfleet.convert.variants.worker", task, os.path.join(workspace.folder(), "log"), environment)
        result = job.run(time_limit, watch)
        summary = result["summary"]
        if request.kind == "tftrt":
            summary["reasons"] = segmenter.reasons(segmenter.parse(job.log_lines()))
        _copy_extra(path, built)
        _settle(built)
        told = _provenance(request, found, mark, calibration, result, provenance.file_list(built))
        target = os.path.join(built, provenance.PATH)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        put(target, [(json.dumps(told, sort_keys=True, indent=2) + "\n").encode("utf-8")])
        try:
            publish(built, dest)
        except OSError as error:
            if not os.path.exists(dest):
                raise
            raise TfleetError("`%s` came into being while it was built: something else wrote there (%s). Nothing of it was touched." % (dest, error.strerror))
    return dict(_answer(dest, True, request, mark, found.sha256, summary), seconds=result["seconds"], peak_bytes=result["peak_bytes"])


def _answer(dest: str, changed: bool, request: Request, mark: str, source_sha256: str, summary: Dict[str, Any]) -> Dict[str, Any]:
    return {
        "ok": True,
        "dest": dest,
        "changed": changed,
        "variant": requests.name(request),
        "precision": request.precision,
        "hardware_class": request.hardware_class,
        "fingerprint": mark,
        "source_sha256": source_sha256,
        "summary": summary,
    }


def _source(source: str) -> sources.Source:
    """The SavedModel folder. Raises TfleetError for anything else, also for a variant: those are made of the native model."""
    found = sources.identify(source, None)
    path = found.path or ""
    if not os.path.isdir(path):
        raise TfleetError("`%s` is a file, and a variant is made of a SavedModel folder: make one with `tfleet export` first." % found.shown)
    if not sources.is_saved_model(path):
        raise TfleetError("`%s` is not a SavedModel: there is no saved_model.pb in it. %s" % (found.shown, sources.describe_folder(path)))
    recorded = provenance.read(path) or {}
    if recorded.get("variant"):
        raise TfleetError("`%s` is the variant %s already: give the native SavedModel that it was made of." % (found.shown, recorded["variant"]))
    return found


def _calibration(request: Request) -> Optional[str]:
    """The SHA-256 over the calibration files. Raises TfleetError for one that is no TFRecord file of Examples."""
    if not request.calibration:
        return None
    from tfleet import examples

    next(iter(examples.read(request.calibration)), None)
    return files_digest(examples.locate(request.calibration))


def files_digest(paths: List[str]) -> str:
    """One SHA-256 for several files, whatever their names."""
    import hashlib

    return hashlib.sha256("".join(files.sha256_file(path) for path in paths).encode("ascii")).hexdigest()


def _unchanged(dest: str, request: Request, mark: str, found: sources.Source) -> Optional[Dict[str, Any]]:
    """The answer if `dest` already is this variant, None if there is nothing. Raises TfleetError for anything else there."""
    if not os.path.lexists(dest) or (os.path.isdir(dest) and not os.listdir(dest)):
        return None
    if os.path.realpath(dest) == os.path.realpath(found.path or ""):
        raise TfleetError("The destination `%s` is the source itself: choose a folder beside it." % dest)
    recorded = provenance.read(dest) if os.path.isdir(dest) else None
    if recorded is None or not recorded.get("variant"):
        raise TfleetError("`%s` exists and was not made by tfleet convert. Nothing was touched. Choose another folder, or remove it." % dest)
    if recorded["fingerprint"] != mark:
        raise TfleetError(
            "`%s` holds another variant: %s. Nothing was touched. A version is never changed in place: choose another folder, or remove this one."
            % (dest, _other(recorded, request, found)), variant=recorded["variant"], fingerprint=recorded["fingerprint"])  # fmt: skip
    changes = provenance.differences(dest, recorded)
    if changes:
        raise TfleetError(
            "`%s` is this variant, but not as it was written: %s. Nothing was touched. Remove it and convert again." % (dest, ", ".join(changes[:5])),
            differences=changes)  # fmt: skip
    return _answer(dest, False, request, mark, found.sha256, recorded["summary"])


def _other(recorded: Dict[str, Any], request: Request, found: sources.Source) -> str:
    if recorded["hardware_class"] != request.hardware_class:
        foreign = (recorded["variant"], recorded["hardware_class"], request.hardware_class)
        return "%s, whose engines were built on hardware class %s and cannot run on %s" % foreign
    if recorded["variant"] != requests.name(request):
        return "%s, not %s" % (recorded["variant"], requests.name(request))
    if recorded["source_sha256"] != found.sha256:
        return "%s of another source (%s, not %s)" % (recorded["variant"], recorded["source_sha256"][:12], found.sha256[:12])
    wanted = requests.options(request)
    changed = sorted(key for key in wanted if recorded["options"].get(key) != wanted[key])
    if changed:
        return "with %s %s, not %s" % (changed[0], recorded["options"].get(changed[0]), wanted[changed[0]])
    return "calibrated with other data"


def _copy_extra(source: str, built: str) -> None:
    """Warm-up requests and the like belong to the variant too: it has the same signature."""
    folder = os.path.join(source, _EXTRA)
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if os.path.join(_EXTRA, name) != provenance.PATH and os.path.isfile(os.path.join(folder, name)):
            os.makedirs(os.path.join(built, _EXTRA), exist_ok=True)
            shutil.copyfile(os.path.join(folder, name), os.path.join(built, _EXTRA, name))


def _settle(built: str) -> None:
    """Make the files durable that TensorFlow wrote, and readable for a server under its own user."""
    for folder, _folders, names in os.walk(built):
        for name in names:
            path = os.path.join(folder, name)
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.chmod(path, 0o644)


def _provenance(
    request: Request, found: sources.Source, mark: str, calibration: Optional[str], result: Dict[str, Any], listed: List[Dict[str, Any]]
) -> Dict[str, Any]:
    native = provenance.read(found.path or "") or {}
    return {
        "format": requests.FORMAT,
        "kind": "variant",
        "variant": requests.name(request),
        "precision": request.precision,
        "hardware_class": request.hardware_class,
        "fingerprint": mark,
        "source": native.get("source", found.name),
        "source_sha256": found.sha256,
        "source_fingerprint": native.get("fingerprint"),
        "calibration_sha256": calibration,
        "options": dict(requests.options(request), signatures=None),
        "signatures": result["signatures"],
        "summary": result["summary"],
        "files": listed,
        "versions": dict(result["versions"], tfleet=__version__),
    }
