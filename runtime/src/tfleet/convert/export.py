"""``tfleet export``: a SavedModel with declared signatures, built beside its destination and renamed into place."""

import errno
import os
from typing import Any, Dict, Iterable, List, Optional

from tfleet.convert import planning, provenance
from tfleet.convert import source as sources
from tfleet.convert.wanted import Wanted, options, wanted
from tfleet.convert.workspace import Workspace, publish, put, sweep
from tfleet.errors import TfleetError

_CHUNK = 1024 * 1024
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def export(
    source: str,
    dest: str,
    kind: str = "auto",
    checksum: Optional[str] = None,
    declared: Any = None,
    tags: Iterable[str] = ("serve",),
    dry_run: bool = False,
    **changes: Any
) -> Dict[str, Any]:
    """Make the SavedModel folder ``dest`` from ``source`` and return the answer of ``tfleet export``.

    :param source: path or URL of a frozen graph, SavedModel folder, Keras file, checkpoint with its meta graph, or an archive with one of them
    :param kind: auto, frozen_graph, saved_model, keras or checkpoint
    :param checksum: ``sha256:HEX`` of the source, needed for URLs
    :param declared: signatures by tensor names; None keeps those of a SavedModel and the inputs and outputs of a Keras file
    :param tags: the tag set of the result; for a SavedModel, the one to take
    :param dry_run: tell what would be done, write nothing at ``dest``
    :param changes: device, image_bytes, pixel_values, batch as ``wanted.wanted`` takes them
    :raises TfleetError: with the next step, and nothing written; for a frozen graph without signatures its result holds the
        ``candidates`` and a ``proposal``
    """
    asked = wanted(declared, tags, **changes)
    dest = os.path.abspath(os.path.expanduser(dest))
    parent = _existing_parent(dest)
    if not dry_run:
        sweep(dest)
    found = sources.identify(source, checksum, None if dry_run else lambda size: _check_room(parent, size))
    _check_apart(found, dest)
    same = _unchanged(dest, found, kind, asked)
    if same is not None:
        return same
    try:
        return _export(found, dest, kind, asked, dry_run)
    except OSError as error:
        raise TfleetError(_os_sentence(error, dest))


def _export(found: sources.Source, dest: str, kind: str, asked: Wanted, dry_run: bool) -> Dict[str, Any]:
    with Workspace(dest, dry_run) as workspace:
        kind, path = found.open(kind, workspace.folder)
        before = os.stat(path)
        if found.size is None and not dry_run:
            _check_room(os.path.dirname(dest), before.st_size)
        plan = planning.plan(kind, found, path, asked)
        if (os.stat(path).st_mtime, os.stat(path).st_size) != (before.st_mtime, before.st_size):
            raise TfleetError("`%s` was changed while it was being read. Run again when whatever writes it is done." % found.shown)
        listed = [] if dry_run else _write(plan, found, dest, asked, workspace)
        return _answer(
            dest,
            True,
            kind,
            provenance.fingerprint(found.sha256, kind, asked),
            found.sha256,
            plan.described,
            plan.warnings,
            len(plan.copies) + 1,
            plan.data.size + sum(os.path.getsize(copy[0]) for copy in plan.copies) if dry_run else sum(entry["size"] for entry in listed),
        )


def _answer(
    dest: str,
    changed: bool,
    kind: str,
    mark: str,
    source_sha256: str,
    described: Dict[str, Any],
    warnings: List[Dict[str, Any]],
    count: int,
    size: int,
) -> Dict[str, Any]:
    return {
        "ok": True,
        "dest": dest,
        "changed": changed,
        "kind": kind,
        "fingerprint": mark,
        "source_sha256": source_sha256,
        "signatures": described,
        "warnings": warnings,
        "files": count,
        "bytes": size,
    }


# What may be at the destination


def _existing_parent(dest: str) -> str:
    folder = os.path.dirname(dest)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise TfleetError("`%s` cannot be made: %s is not a folder." % (dest, folder))
    return folder


def _check_apart(found: sources.Source, dest: str) -> None:
    """Raise TfleetError if the destination lies inside a source folder: the export would become part of its own source."""
    if found.path and os.path.isdir(found.path) and (os.path.realpath(dest) + os.sep).startswith(os.path.realpath(found.path) + os.sep):
        raise TfleetError("The destination `%s` lies inside the source `%s`: choose a folder beside it." % (dest, found.shown))


def _unchanged(dest: str, found: sources.Source, kind: str, asked: Wanted) -> Optional[Dict[str, Any]]:
    """The answer if ``dest`` already is this very export, None if there is nothing yet. Raises TfleetError for anything else there."""
    if os.path.islink(dest) and not os.path.exists(dest):
        raise TfleetError("`%s` is a link to nothing: remove it, or make what it points to." % dest)
    if not os.path.exists(dest):
        return None
    if not os.path.isdir(dest):
        raise TfleetError("`%s` is a file, but a SavedModel is a folder: choose another destination." % dest)
    if not os.listdir(dest):
        return None
    recorded = provenance.read(dest)
    if recorded is None:
        raise TfleetError(
            "`%s` is not empty and was not made by tfleet export: it holds %s. Nothing was touched. Choose another folder, or "
            "remove it (module saved_model: state absent)." % (dest, ", ".join(sorted(os.listdir(dest))[:5]))
        )
    same_kind = recorded["kind"] if kind == "auto" and recorded["source_sha256"] == found.sha256 else kind
    wanted_mark = provenance.fingerprint(found.sha256, same_kind, asked)
    if wanted_mark != recorded["fingerprint"]:
        raise TfleetError(
            "`%s` holds another export: %s. Nothing was touched. A version is never changed in place: choose another folder, or "
            "remove this one (module saved_model: state absent)." % (dest, _other(recorded, found, same_kind, asked)),
            fingerprint=recorded["fingerprint"],
            signatures=recorded["signatures"],
        )
    changes = provenance.differences(dest, recorded)
    if changes:
        raise TfleetError(
            "`%s` was exported from this source, but is not as it was written: %s. Nothing was touched. Remove it (module "
            "saved_model: state absent) and export again." % (dest, ", ".join(changes[:5])),
            differences=changes,
        )
    size = sum(entry["size"] for entry in recorded["files"])
    warnings = recorded.get("warnings", [])  # exports made before there was a linter have none
    return _answer(dest, False, recorded["kind"], wanted_mark, found.sha256, recorded["signatures"], warnings, len(recorded["files"]), size)


def _other(recorded: Dict[str, Any], found: sources.Source, kind: str, asked: Wanted) -> str:
    """How the export on disk differs from the one asked for."""
    if recorded["source_sha256"] != found.sha256:
        return "of %s with SHA-256 %s, not %s" % (recorded["source"], recorded["source_sha256"][:12], found.sha256[:12])
    old, new = dict(recorded["options"], kind=recorded["kind"]), dict(options(asked), kind=kind)
    for what in sorted(set(old) | set(new)):
        if old.get(what) != new.get(what):
            return "of the same source with other %s (%s, not %s)" % (what, old.get(what), new.get(what))
    return "of another format of tfleet's"


def _check_room(folder: str, size: int) -> None:
    """Raise TfleetError unless twice ``size`` is free: the result can be as large as the source, and an archive needs both."""
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    # A file system of the kernel's own (/sys, /proc) has no blocks at all: writing there fails for its own reason.
    if status.f_blocks and free < 2 * size:
        raise TfleetError(
            "The disk of %s is too full: %d bytes are free, the export needs %d (twice the source). Nothing was written. "
            "Make room and run again." % (folder, free, 2 * size),
            free=free,
            needed=2 * size,
        )


def _os_sentence(error: OSError, dest: str) -> str:
    where = "while exporting to `%s`" % dest
    if error.errno in _NO_ROOM:
        return "The disk is full (%s) %s. What was begun is removed, nothing else was touched. Make room and run again." % (error.strerror, where)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "%s %s (%s), as user id %d. Run as a user who may write there, or choose another folder." % (error.strerror, where, error.filename, os.geteuid())
    if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
        return "`%s` came into being while it was exported: something else wrote there. Nothing of it was touched. Look at it and run again." % dest
    return "%s %s (%s). What was begun is removed, nothing else was touched." % (error.strerror or error, where, error.filename)


# Writing it


def _write(plan: planning.Plan, found: sources.Source, dest: str, asked: Wanted, workspace: Workspace) -> List[Dict[str, Any]]:
    """Build the folder, make it durable, rename it to ``dest``. Returns the list of its files."""
    built = os.path.join(workspace.folder(), "model")
    os.mkdir(built, 0o755)
    put(os.path.join(built, "saved_model.pb"), plan.data)
    for path, relative in plan.copies:
        target = os.path.join(built, relative)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(path, "rb") as stream:
            put(target, iter(lambda: stream.read(_CHUNK), b""))
    listed = provenance.file_list(built)
    target = os.path.join(built, provenance.PATH)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    text = provenance.text(found, plan.kind, asked, plan.described, plan.warnings, listed, plan.tensorflow_version)
    put(target, [text.encode("utf-8")])
    publish(built, dest)
    return listed
