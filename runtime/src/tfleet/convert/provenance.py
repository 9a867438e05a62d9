"""Where an exported SavedModel came from, written inside it, and whether a folder still is that export. No TensorFlow here."""

import hashlib
import json
import os
from typing import Any, Dict, List, Optional

from tfleet import __version__, files
from tfleet.convert.source import Source
from tfleet.convert.wanted import Wanted, options

PATH = "assets.extra/tfleet_provenance.json"
_FORMAT = 1


def fingerprint(source_sha256: str, kind: str, asked: Wanted) -> str:
    """The SHA-256 that two exports share exactly when their source, kind and options are the same.

    TensorFlow's version is not in it: an upgraded runtime must not make every export on disk look foreign.
    """
    content = dict(options(asked), format=_FORMAT, source_sha256=source_sha256, kind=kind)
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode("utf-8")).hexdigest()


def read(dest: str) -> Optional[Dict[str, Any]]:
    """The provenance in the SavedModel ``dest``, or None where there is none (that can be read)."""
    try:
        with open(os.path.join(dest, PATH), encoding="utf-8") as stream:
            content = json.load(stream)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.get("format") == _FORMAT else None


def text(
    source: Source,
    kind: str,
    asked: Wanted,
    signatures: Dict[str, Any],
    warnings: List[Dict[str, Any]],
    listed: List[Dict[str, Any]],
    tensorflow_version: str,
) -> str:
    """The provenance file's text: no time, no path, no host, so that the same export has the same bytes everywhere."""
    return (
        json.dumps(
            {
                "format": _FORMAT,
                "fingerprint": fingerprint(source.sha256, kind, asked),
                "source": source.name,
                "source_sha256": source.sha256,
                "kind": kind,
                "options": options(asked),
                "signatures": signatures,
                "warnings": warnings,
                "files": listed,
                "versions": {"tfleet": __version__, "tensorflow": tensorflow_version},
            },
            sort_keys=True,
            indent=2,
        )
        + "\n"
    )


def file_list(root: str) -> List[Dict[str, Any]]:
    """``[{"path", "size", "sha256"}]`` of the files under ``root``, sorted, without the provenance itself."""
    listed = []
    for folder, _folders, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, root).replace(os.sep, "/")
            if relative != PATH:
                listed.append({"path": relative, "size": os.path.getsize(path), "sha256": files.sha256_file(path)})
    return sorted(listed, key=lambda entry: entry["path"])


def differences(dest: str, recorded: Dict[str, Any]) -> List[str]:
    """What is not as ``recorded`` (its ``files``) in ``dest``, as phrases; files that people added to assets.extra (warm-up) may be there."""
    found = {entry["path"]: entry for entry in file_list(dest)}
    expected = {entry["path"]: entry for entry in recorded["files"]}
    phrases = ["%s is missing" % path for path in sorted(set(expected) - set(found))]
    phrases += ["%s was added" % path for path in sorted(set(found) - set(expected)) if not path.startswith("assets.extra/")]
    phrases += ["%s was changed" % path for path in sorted(set(found) & set(expected)) if found[path]["sha256"] != expected[path]["sha256"]]
    return phrases
