# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The index of a release archive: where each file lies in it, and the digest of each of its blocks.

By it a device finds out which blocks it lacks, having the version before or the half of a broken transfer, and fetches or is sent only
those. It is a means and no proof: what was put together from blocks is compared with the manifest, whole.
"""
import functools
import hashlib
import json
import os
import re
import typing

from ansible_collections.tfleet.serving.plugins.module_utils import manifest as manifests
from ansible_collections.tfleet.serving.plugins.module_utils.durable import canonical_json, write_atomically
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.release_archive import open_release

FORMAT = 1
# Small blocks send little that has not changed, large ones keep the index small: at most some 4000 of them.
SMALLEST_BLOCK = 256 * 1024
MAX_BLOCKS = 4096
MAX_BYTES = 64 * 1024 * 1024


class ReleaseIndexError(ModuleError):
    """An index cannot be used."""


def path_of(archive):
    """Return where the index of an archive lies."""
    return archive + ".index"


def block_bytes(size):
    """Return the size of the blocks (a power of two) of a release of ``size`` bytes."""
    block = SMALLEST_BLOCK
    while size > block * MAX_BLOCKS:
        block *= 2
    return block


def build(archive):
    """Return the index of a release archive, which is read once."""
    release = open_release(archive)
    try:
        block = block_bytes(sum(entry["size"] for entry in release.manifest["files"]))
        files = []
        for entry in release.manifest["files"]:
            with release.open(entry["path"]) as stream:
                blocks = [hashlib.sha256(data).hexdigest() for data in iter(functools.partial(stream.read, block), b"")]
            files.append({"path": entry["path"], "offset": release.offset(entry["path"]), "blocks": blocks})
        return {"format": FORMAT, "block_bytes": block, "manifest": release.content.decode("utf-8"), "files": files}
    finally:
        release.close()


def write(path, archive):
    """Write the index of ``archive`` to ``path``."""
    write_atomically(path, canonical_json(build(archive)))


def belongs(path, manifest):
    """Whether there is an index at ``path`` that is one of the release with this manifest."""
    try:
        with open(path, "rb") as stream:
            return json.loads(stream.read().decode("utf-8"))["manifest"] == manifests.dump(manifest).decode("utf-8")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def load(path):
    """Return the checked index in the file ``path``."""
    with open(path, "rb") as stream:
        return parse(stream.read(MAX_BYTES + 1), path)


def parse(content, where):
    """Return the index in ``content`` (bytes) after checking all of it, with the parsed manifest as ``parsed``.

    :raises ModuleError: naming what is wrong in ``where``.
    """
    try:
        index = json.loads(content.decode("utf-8")) if len(content) <= MAX_BYTES else None
    except ValueError:
        index = None
    if not isinstance(index, dict) or index.get("format") != FORMAT or sorted(index) != ["block_bytes", "files", "format", "manifest"]:
        raise ReleaseIndexError("%s is not the index of a release. Build the release again with model_release." % where)
    manifest = manifests.parse(str(index["manifest"]).encode("utf-8"), "the manifest in %s" % where)
    block, files = index["block_bytes"], index["files"]
    sizes = {entry["path"]: entry["size"] for entry in manifest["files"]}
    if not _whole(block, 1) or not isinstance(files, list) or [_key(entry) for entry in files] != sorted(sizes):
        raise ReleaseIndexError("%s does not belong to the manifest in it. Build the release again with model_release." % where)
    for entry in files:
        count = -(-sizes[entry["path"]] // block)
        if not _whole(entry.get("offset"), 0) or not isinstance(entry.get("blocks"), list) or len(entry["blocks"]) != count or not all(
                isinstance(digest, str) and re.match(r"^[0-9a-f]{64}\Z", digest) for digest in entry["blocks"]):
            raise ReleaseIndexError("%s: the blocks of %s are not those of a file of %d bytes. Build the release again with model_release."
                                    % (where, entry["path"], sizes[entry["path"]]))
    return dict(index, parsed=manifest)


def missing(path, entry, size, block):
    """Return the numbers of the blocks that the file ``path``, if it is there, does not have as the index entry says."""
    lacking = list(range(len(entry["blocks"])))
    if not os.path.isfile(path):
        return lacking
    with open(path, "rb") as stream:
        for number, digest in enumerate(entry["blocks"]):
            data = stream.read(min(block, size - number * block))
            if not data:
                break
            if hashlib.sha256(data).hexdigest() == digest:
                lacking.remove(number)
    return lacking


def runs(numbers):
    """Return [(first, count)] of runs of consecutive ascending ``numbers``."""
    found: typing.List[typing.Tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][0] + found[-1][1]:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((number, 1))
    return found


def _whole(value, least):
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _key(entry):
    return entry.get("path") if isinstance(entry, dict) else None
