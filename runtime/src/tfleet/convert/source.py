"""What an export starts from: a path or URL, a plain model or an archive with one, of which kind, with which SHA-256."""

import hashlib
import json
import os
import re
from typing import Callable, List, Optional, Tuple

from tfleet import files
from tfleet.convert import archive, checkpoint_files, download, signatures
from tfleet.errors import TfleetError

KINDS = ("frozen_graph", "saved_model", "keras", "checkpoint")
_GRAPH_FILES = (".pb", ".pbtxt")
_KERAS_FILES = (".keras", ".h5", ".hdf5")
_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
# Protocol buffers that lie in or beside models and are not graphs.
_OTHER_PB = ("fingerprint.pb", "keras_metadata.pb")
_HDF5 = b"\x89HDF\r\n\x1a\n"


class Source(object):
    """A source that exists (or, for a URL, is pinned by its checksum).

    ``shown`` is its name for messages (no secrets), ``name`` the last part of it, ``path`` is None until a URL is fetched, ``sha256`` that of
    the file, or of a folder's tree (``tree_sha256``), ``size`` in bytes or None.
    """

    def __init__(self, given: str, shown: str, name: str, path: Optional[str], sha256: str, size: Optional[int]) -> None:
        self.given = given
        self.shown = shown
        self.name = name
        self.path = path
        self.sha256 = sha256
        self.size = size

    def open(self, kind: str, workspace: Callable[[], str]) -> Tuple[str, str]:
        """The model itself: ``(kind, path)``, unpacked or downloaded into the folder that ``workspace()`` makes if need be."""
        path = self.path
        if path is None:
            path = os.path.join(workspace(), self.name)
            download.fetch(self.given, self.sha256, path)
        if os.path.isdir(path):
            return _folder(path, kind)
        if archive.format_of(path) and not (archive.format_of(path) == "zip" and archive.is_keras_zip(path)):
            target = os.path.join(workspace(), "unpacked")
            os.mkdir(target)
            archive.unpack(path, target)
            return _only_model(target, kind, self.shown)
        return _file(path, kind)


def identify(given: str, checksum: Optional[str], room_for: Optional[Callable[[int], None]] = None) -> Source:
    """The Source that ``given`` names, with its checksum verified.

    :param checksum: ``sha256:HEX`` or None; a URL must have one
    :param room_for: called with the size in bytes before a large source is read
    """
    expected = _checksum(checksum)
    shown = given
    local: Optional[str] = given
    if download.is_url(given):
        shown = download.shown(given)
        if expected is None:
            raise TfleetError("`%s` needs a checksum: give sha256:HEX of the file you mean, so that nothing else can take its place." % shown)
        local = download.local_path(given)
        if local is None:
            return Source(given, shown, download.name_of(given), None, expected, None)
    path = os.path.abspath(os.path.expanduser(local or given))
    prefix = None if is_saved_model(path) else checkpoint_files.prefix_of(path)
    if prefix is not None:
        path = prefix + checkpoint_files.META
    if not os.path.exists(path):
        raise TfleetError("There is no `%s`.%s" % (shown, neighbours(path)), missing=True)
    if not os.access(path, os.R_OK):
        raise TfleetError("`%s` cannot be read: permission denied for user id %d. Change its mode or owner." % (shown, os.geteuid()))
    size = size_of(path) if prefix is None else sum(map(os.path.getsize, checkpoint_files.files_of(prefix)))
    if room_for is not None:
        room_for(size)
    sha256 = _sha256_of(path, prefix)
    if expected is not None and sha256 != expected:
        raise TfleetError(
            "`%s` has the SHA-256 %s, not %s as given: it is another file than expected. Nothing was written." % (shown, sha256, expected),
            expected=expected,
            found=sha256,
        )
    return Source(given, shown, os.path.basename(path), path, sha256, size)


def _sha256_of(path: str, prefix: Optional[str]) -> str:
    if prefix is not None:
        return checkpoint_files.sha256_of(prefix)
    return tree_sha256(path) if os.path.isdir(path) else files.sha256_file(path)


def _checksum(text: Optional[str]) -> Optional[str]:
    if not text:
        return None
    algorithm, _colon, value = text.partition(":")
    if algorithm.lower() != "sha256" or not re.match(r"^[0-9a-fA-F]{64}$", value):
        raise TfleetError("The checksum `%s` is not of the form sha256:HEX with 64 hexadecimal digits (`sha256sum FILE` prints them)." % text)
    return value.lower()


def neighbours(path: str) -> str:
    """What is near a path that does not exist, as a sentence."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        return " The folder %s does not exist either: copy the model to this host first, or correct the path." % folder
    near = signatures.nearest(os.path.basename(path), sorted(os.listdir(folder)))
    return " In %s there is %s." % (folder, ", ".join("`%s`" % name for name in near)) if near else (" Copy the model to this host first, or correct the path.")


def size_of(path: str) -> int:
    """Bytes in a file, or in all files of a folder."""
    if not os.path.isdir(path):
        return os.path.getsize(path)
    return sum(
        os.path.getsize(os.path.join(folder, name)) for folder, _folders, names in os.walk(path) for name in names if os.path.exists(os.path.join(folder, name))
    )


def tree_sha256(path: str) -> str:
    """The SHA-256 of a folder: of its files' paths and sums, whatever their times, modes and order. Raises TfleetError for links to folders."""
    for folder, folders, _names in os.walk(path):
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                raise TfleetError(
                    "`%s` is a link to a folder: copy the model with what its links point to (cp -rL) and give the copy." % os.path.join(folder, name)
                )
    text = json.dumps(files.sha256_tree(path), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def is_saved_model(path: str) -> bool:
    """Whether the folder ``path`` holds a SavedModel."""
    return any(os.path.isfile(os.path.join(path, name)) for name in _SAVED_MODEL_FILES)


def _folder(path: str, kind: str) -> Tuple[str, str]:
    if kind == "frozen_graph":
        raise TfleetError(
            "`%s` is a folder, but kind is frozen_graph, which is one file. %s"
            % (path, "It holds a SavedModel: say kind saved_model." if is_saved_model(path) else describe_folder(path))
        )
    if kind == "keras":
        raise TfleetError(
            "`%s` is a folder, but kind is keras, which is one .keras or .h5 file. %s"
            % (path, "It holds a SavedModel: say kind saved_model." if is_saved_model(path) else describe_folder(path))
        )
    if kind == "checkpoint":
        raise TfleetError("`%s` holds no checkpoint with its meta graph (.meta, .index, .data). %s" % (path, describe_folder(path)))
    if not is_saved_model(path):
        raise TfleetError("`%s` is not a SavedModel: there is no saved_model.pb in it. %s" % (path, describe_folder(path)))
    return "saved_model", path


def describe_folder(path: str) -> str:
    """What a folder without saved_model.pb holds instead, and what to give then."""
    names = sorted(os.listdir(path))
    inner = [name for name in names if os.path.isdir(os.path.join(path, name)) and is_saved_model(os.path.join(path, name))]
    if inner:
        return "SavedModels are in its folders %s: give one of these, such as `%s`." % (", ".join(inner[:5]), os.path.join(path, inner[-1]))
    graphs = [name for name in names if name.endswith(_GRAPH_FILES + _KERAS_FILES) and name not in _OTHER_PB]
    if graphs:
        return "It holds the file%s %s: give the file itself." % ("" if len(graphs) == 1 else "s", ", ".join(graphs[:5]))
    if any(name.endswith((".index", ".meta", ".ckpt")) for name in names):
        return "It holds a checkpoint without its meta graph (.meta) or without its weights (.index, .data): export a SavedModel where its code is."
    return "It is empty." if not names else "It holds %s." % ", ".join(names[:5])


def _file(path: str, kind: str) -> Tuple[str, str]:
    found = _kind_of_file(path)
    if kind == "saved_model" or os.path.basename(path) in _SAVED_MODEL_FILES:
        raise TfleetError(
            "`%s` is a file, but a SavedModel is the folder that holds saved_model.pb and variables/: give the folder%s."
            % (path, " `%s`" % os.path.dirname(path) if is_saved_model(os.path.dirname(path)) else ", or say kind frozen_graph")
        )
    if kind not in ("auto", found):
        raise TfleetError("`%s` is a %s, but kind is %s. Correct one of them." % (path, _SPOKEN[found], kind))
    return found, path


_SPOKEN = {"keras": "Keras file", "checkpoint": "part of a checkpoint", "frozen_graph": "graph or something else, not a Keras file"}


def _kind_of_file(path: str) -> str:
    with open(path, "rb") as stream:
        head = stream.read(8)
    if checkpoint_files.prefix_of(path) is not None:
        return "checkpoint"
    if head == _HDF5 or head.startswith(b"PK") or (path.endswith(".keras") and not head):
        return "keras"
    return "frozen_graph"


def _only_model(root: str, kind: str, shown: str) -> Tuple[str, str]:
    """The one model of ``kind`` in an unpacked archive."""
    found: List[Tuple[str, str]] = []
    for folder, folders, names in os.walk(root):
        folders.sort()
        if is_saved_model(folder):
            found.append(("saved_model", folder))
            del folders[:]
            continue
        graphs = [name for name in names if name.endswith(".pb") and name not in _OTHER_PB]
        graphs = graphs or [name for name in names if name.endswith(".pbtxt")]
        found.extend(("frozen_graph", os.path.join(folder, name)) for name in sorted(graphs))
        metas = [os.path.join(folder, name) for name in sorted(names) if name.endswith(checkpoint_files.META)]
        found.extend(("checkpoint", path) for path in metas if checkpoint_files.prefix_of(path))
        found.extend(("keras", os.path.join(folder, name)) for name in sorted(names) if name.endswith(_KERAS_FILES))
    chosen = [model for model in found if kind in ("auto", model[0])]
    listed = ", ".join("`%s` (%s)" % (os.path.relpath(path, root), of) for of, path in found[:8])
    if not chosen:
        raise TfleetError(
            "`%s` holds no %s. %s"
            % (
                shown,
                "model" if kind == "auto" else kind,
                "It holds %s: say that kind." % listed
                if found
                else ("It must hold a SavedModel folder, a .pb or .pbtxt graph, a .keras or .h5 file, or a checkpoint with its .meta: unpack it and look."),
            )
        )
    if len(chosen) > 1:
        raise TfleetError(
            "`%s` holds more than one model: %s. %s"
            % (shown, listed, "Say which kind you mean." if len({of for of, _path in chosen}) == len(chosen) else "Unpack it and give the path of one.")
        )
    of, path = chosen[0]
    return _folder(path, of) if of == "saved_model" else _file(path, of)
