"""The files of TensorFlow 1's checkpoint with its meta graph: model.ckpt-1000.meta, .index and .data-00000-of-00001. No TensorFlow here."""

import glob
import hashlib
import json
import os
import re
from typing import Any, List, Optional

from tfleet import files

META = ".meta"
_LATEST = re.compile(r"^model_checkpoint_path:\s*\"(.*)\"", re.MULTILINE)
_PART = re.compile(r"^(.*?)(\.meta|\.index|\.data-\d{5}-of-\d{5})$")
_OTHER_MODELS = (".pb", ".keras", ".h5", ".hdf5")


def prefix_of(path: str) -> Optional[str]:
    """What the files of a checkpoint begin with, if ``path`` is one of them, their prefix, or a training folder; None if it is none of that.

    Of a folder the checkpoint that its file ``checkpoint`` names counts, else the one with the highest step. A meta graph without weights
    beside it is no checkpoint.
    """
    if os.path.isdir(path):
        return _of_folder(path)
    part = _PART.match(path)
    prefix = part.group(1) if part else path
    return prefix if os.path.isfile(prefix + META) and _weights(prefix) else None


def files_of(prefix: str) -> List[str]:
    """The checkpoint's files: meta graph, index and data, or for the oldest format data only."""
    return [prefix + META] + _weights(prefix)


def sha256_of(prefix: str) -> str:
    """The SHA-256 of the files' endings and sums, whatever the checkpoint is called."""
    sums = {path[len(prefix):]: files.sha256_file(path) for path in files_of(prefix)}
    return hashlib.sha256(json.dumps(sums, sort_keys=True, separators=(",", ":")).encode("utf-8")).hexdigest()


def _of_folder(path: str) -> Optional[str]:
    # A folder of the model zoo holds the frozen graph as well: which is meant has to be said.
    if any(name.endswith(_OTHER_MODELS) for name in os.listdir(path)):
        return None
    try:
        with open(os.path.join(path, "checkpoint"), encoding="utf-8") as stream:
            latest = _LATEST.search(stream.read())
    except (OSError, UnicodeDecodeError):
        latest = None
    if latest:
        # Training writes its own absolute path; of a copy its own files are meant, even where the original still exists.
        for candidate in (os.path.join(path, os.path.basename(latest.group(1))), os.path.join(path, latest.group(1))):
            if not os.path.isdir(candidate) and prefix_of(candidate):
                return candidate
    found = [name[: -len(META)] for name in glob.glob(os.path.join(glob.escape(path), "*" + META))]
    found = [prefix for prefix in found if _weights(prefix)]
    return max(found, key=_step) if found else None


def _step(prefix: str) -> Any:
    number = re.search(r"(\d+)$", prefix)
    return int(number.group(1)) if number else -1, prefix


def _weights(prefix: str) -> List[str]:
    if os.path.isfile(prefix + ".index"):
        return [prefix + ".index"] + sorted(glob.glob(glob.escape(prefix) + ".data-?????-of-?????"))
    if os.path.isfile(prefix) and os.path.isfile(prefix + META):
        return [prefix]
    return sorted(glob.glob(glob.escape(prefix) + "-?????-of-?????"))
