"""``tfleet export``: a SavedModel with declared signatures, built beside its destination and renamed into place."""

import errno
import os
import shlex
from typing import Any, Dict, Iterable, List, Optional, Tuple

from tfleet.convert import framework, frozen_graph, graph, keras_file, provenance, saved_model, signatures
from tfleet.convert import source as sources
from tfleet.convert.encoding import Encoded
from tfleet.convert.workspace import Workspace, publish, put, sweep
from tfleet.errors import TfleetError

# Files of a SavedModel folder that belong to the bytes of its saved_model.pb or to a release of it, not to the model.
_NOT_THE_MODEL = ("saved_model.pb", "saved_model.pbtxt", "fingerprint.pb", "manifest.json", "manifest.json.sig", provenance.PATH)
_CHUNK = 1024 * 1024
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Plan(object):
    """What an export will write: the encoded proto, the files to copy, and what to tell about both."""

    def __init__(self, kind: str, data: Encoded, described: Dict[str, Any], copies: List[Tuple[str, str]], tensorflow_version: str) -> None:
        self.kind = kind
        self.data = data
        self.described = described
        self.copies = copies
        self.tensorflow_version = tensorflow_version


def export(
    source: str,
    dest: str,
    kind: str = "auto",
    checksum: Optional[str] = None,
    declared: Optional[signatures.Signatures] = None,
    tags: Iterable[str] = ("serve",),
    dry_run: bool = False,
) -> Dict[str, Any]:
    """Make the SavedModel folder ``dest`` from ``source`` and return the answer of ``tfleet export``.

    :param source: path or URL of a frozen graph, SavedModel folder, Keras file, or an archive with one of them
    :param kind: auto, frozen_graph, saved_model or keras
    :param checksum: ``sha256:HEX`` of the source, needed for URLs
    :param declared: signatures by tensor names; None keeps those of a SavedModel and the inputs and outputs of a Keras file
    :param tags: the tag set of the result; for a SavedModel, the one to take
    :param dry_run: tell what would be done, write nothing at ``dest``
    :raises TfleetError: with the next step, and nothing written; for a frozen graph without signatures its result holds the
        ``candidates`` and a ``proposal``
    """
    declared = signatures.normalised(declared)
    tags = sorted(set(tags)) or ["serve"]
    dest = os.path.abspath(os.path.expanduser(dest))
    parent = _existing_parent(dest)
    if not dry_run:
        sweep(dest)
    found = sources.identify(source, checksum, None if dry_run else lambda size: _check_room(parent, size))
    _check_apart(found, dest)
    same = _unchanged(dest, found, kind, declared, tags)
    if same is not None:
        return same
    try:
        return _export(found, dest, kind, declared, tags, dry_run)
    except OSError as error:
        raise TfleetError(_os_sentence(error, dest))


def _export(found: sources.Source, dest: str, kind: str, declared: Optional[signatures.Signatures], tags: List[str], dry_run: bool) -> Dict[str, Any]:
    with Workspace(dest, dry_run) as workspace:
        kind, path = found.open(kind, workspace.folder)
        before = os.stat(path)
        if found.size is None and not dry_run:
            _check_room(os.path.dirname(dest), before.st_size)
        plan = _PLANNERS[kind](found, path, declared, tags)
        if (os.stat(path).st_mtime, os.stat(path).st_size) != (before.st_mtime, before.st_size):
            raise TfleetError("`%s` was changed while it was being read. Run again when whatever writes it is done." % found.shown)
        listed = [] if dry_run else _write(plan, found, dest, declared, tags, workspace)
        mark = provenance.fingerprint(found.sha256, kind, declared, tags)
        return _answer(
            dest,
            True,
            kind,
            mark,
            found.sha256,
            plan.described,
            len(plan.copies) + 1,
            plan.data.size + sum(os.path.getsize(copy[0]) for copy in plan.copies) if dry_run else sum(entry["size"] for entry in listed),
        )


def _answer(dest: str, changed: bool, kind: str, mark: str, source_sha256: str, described: Dict[str, Any], count: int, size: int) -> Dict[str, Any]:
    return {
        "ok": True,
        "dest": dest,
        "changed": changed,
        "kind": kind,
        "fingerprint": mark,
        "source_sha256": source_sha256,
        "signatures": described,
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


def _unchanged(dest: str, found: sources.Source, kind: str, declared: Optional[signatures.Signatures], tags: List[str]) -> Optional[Dict[str, Any]]:
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
    wanted = provenance.fingerprint(found.sha256, same_kind, declared, tags)
    if wanted != recorded["fingerprint"]:
        raise TfleetError(
            "`%s` holds another export: %s. Nothing was touched. A version is never changed in place: choose another folder, or "
            "remove this one (module saved_model: state absent)." % (dest, _other(recorded, found, same_kind, declared, tags)),
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
    return _answer(
        dest, False, recorded["kind"], wanted, found.sha256, recorded["signatures"], len(recorded["files"]), sum(entry["size"] for entry in recorded["files"])
    )


def _other(recorded: Dict[str, Any], found: sources.Source, kind: str, declared: Optional[signatures.Signatures], tags: List[str]) -> str:
    """How the export on disk differs from the one asked for."""
    if recorded["source_sha256"] != found.sha256:
        return "of %s with SHA-256 %s, not %s" % (recorded["source"], recorded["source_sha256"][:12], found.sha256[:12])
    for what, old, new in (
        ("kind", recorded["kind"], kind),
        ("signatures", recorded["options"]["signatures"], declared),
        ("tags", recorded["options"]["tags"], tags),
    ):
        if old != new:
            return "of the same source with other %s (%s, not %s)" % (what, old, new)
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


# What goes into it


def _plan_frozen_graph(found: sources.Source, path: str, declared: Optional[signatures.Signatures], tags: List[str]) -> _Plan:
    tf = framework.load()
    what = "the graph `%s`" % found.shown
    model = saved_model.new(tf, tags)
    frozen_graph.read(tf, path, model.meta_graphs[0].graph_def)
    return _plan_graph(tf, "frozen_graph", model, what, declared or _no_signatures(tf, model.meta_graphs[0].graph_def, what, found))


def _plan_keras(found: sources.Source, path: str, declared: Optional[signatures.Signatures], tags: List[str]) -> _Plan:
    tf = framework.load()
    graph_def, own = keras_file.read(tf, path)
    model = saved_model.new(tf, tags)
    model.meta_graphs[0].graph_def.CopyFrom(graph_def)
    return _plan_graph(tf, "keras", model, "the Keras model `%s`" % found.shown, declared or signatures.normalised(own) or {})


def _plan_graph(tf: Any, kind: str, model: Any, what: str, declared: signatures.Signatures) -> _Plan:
    """The plan for a SavedModel proto whose one graph brings its weights as constants."""
    meta = model.meta_graphs[0]
    loaded = graph.Graph(tf, meta.graph_def, what)
    loaded.check_frozen([tensor for signature in declared.values() for tensor in signature["outputs"].values()])
    saved_model.declare(loaded, meta, declared)
    saved_model.record_operations(meta)
    return _Plan(kind, Encoded(model), saved_model.describe_signatures(tf, meta), [], tf.__version__)


def _no_signatures(tf: Any, graph_def: Any, what: str, found: sources.Source) -> signatures.Signatures:
    """Raise TfleetError with the signature that the candidates suggest, ready to be written."""
    candidates = graph.Graph(tf, graph_def, what).candidates()
    required = [entry for entry in candidates["inputs"] if entry["op"] == "Placeholder"] or candidates["inputs"]
    proposal = signatures.proposal(required, candidates["outputs"])
    default = proposal[signatures.DEFAULT_NAME]
    options = ["--input %s" % shlex.quote("%s=%s" % pair) for pair in default["inputs"].items()]
    options += ["--output %s" % shlex.quote("%s=%s" % pair) for pair in default["outputs"].items()]
    inline = ["%s: {%s}" % (side, ", ".join('%s: "%s"' % pair for pair in default[side].items())) for side in ("inputs", "outputs")]
    raise TfleetError(
        "A frozen graph has no signature: say which tensors of `%s` are its inputs and outputs. Candidates by form are the inputs %s and the "
        "outputs %s. If these are right, write in the inventory\n  signatures: {%s: {%s}}\nor on the command line\n  tfleet export %s DEST %s"
        % (
            found.shown,
            _told(candidates["inputs"]),
            _told(candidates["outputs"]),
            signatures.DEFAULT_NAME,
            ", ".join(inline),
            shlex.quote(found.shown),
            " ".join(options),
        ),
        candidates=candidates,
        proposal=proposal,
    )


def _told(candidates: List[Dict[str, Any]], most: int = 8) -> str:
    told = ["%s (%s %s)" % (entry["name"], entry["dtype"], framework.shape_text(entry["shape"])) for entry in candidates[:most]]
    return (", ".join(told) or "none") + (" and %d more" % (len(candidates) - most) if len(candidates) > most else "")


def _plan_saved_model(_found: sources.Source, path: str, declared: Optional[signatures.Signatures], tags: List[str]) -> _Plan:
    tf = framework.load()
    model = saved_model.read(path)
    chosen = saved_model.choose(model, tags, path)
    for number in reversed(range(len(model.meta_graphs))):
        if number != chosen:
            del model.meta_graphs[number]
    meta = model.meta_graphs[0]
    saved_model.check_complete(path, meta)
    if declared:
        saved_model.declare(graph.Graph(tf, meta.graph_def, "`%s`" % path), meta, declared)
    described = saved_model.describe_signatures(tf, meta)
    if not described:
        raise TfleetError("`%s` has no signature to serve. Declare one by tensor names (signatures); `tfleet inspect` shows what is in it." % path)
    return _Plan("saved_model", Encoded(model), described, _copies(path), tf.__version__)


def _copies(path: str) -> List[Tuple[str, str]]:
    """``[(file, relative path)]`` of everything beside the proto: variables, assets, assets.extra."""
    copies = []
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            relative = os.path.relpath(os.path.join(folder, name), path)
            if relative not in _NOT_THE_MODEL:
                copies.append((os.path.join(folder, name), relative))
    return copies


_PLANNERS = {"frozen_graph": _plan_frozen_graph, "saved_model": _plan_saved_model, "keras": _plan_keras}


# Writing it


def _write(
    plan: _Plan, found: sources.Source, dest: str, declared: Optional[signatures.Signatures], tags: List[str], workspace: Workspace
) -> List[Dict[str, Any]]:
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
    text = provenance.text(found, plan.kind, declared, tags, plan.described, listed, plan.tensorflow_version)
    put(target, [text.encode("utf-8")])
    publish(built, dest)
    return listed
