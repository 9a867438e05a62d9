# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The metainfo of a release for BitTorrent: private, without a tracker, version 1.

Version 1 because every libtorrent that devices have knows it; its SHA-1 finds what the network damaged, and what an attacker made
is found by the manifest's SHA-256, which every file is compared with afterwards.
"""
import hashlib

from ansible_collections.tfleet.serving.plugins.module_utils.durable import CHUNK
from ansible_collections.tfleet.serving.plugins.module_utils.release_index import block_bytes


def bencode(value):
    """Return ``value`` (int, bytes, str, list, dict) as BitTorrent writes it."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode("utf-8")
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(bencode(item) for item in value) + b"e"
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"


def metainfo(release):
    """Return the metainfo (bytes) of an open release: the files of a directory named after the version.

    Pieces are as large as the index's blocks: a changed byte costs one of them.
    """
    manifest = release.manifest
    piece = block_bytes(sum(entry["size"] for entry in manifest["files"]))
    pieces, digest, room = [], hashlib.sha1(), piece  # noqa: S324 - BitTorrent's, not ours
    for entry in manifest["files"]:
        with release.open(entry["path"]) as stream:
            while True:
                data = stream.read(min(room, CHUNK))
                if not data:
                    break
                digest.update(data)
                room -= len(data)
                if not room:
                    pieces.append(digest.digest())
                    digest, room = hashlib.sha1(), piece  # noqa: S324
    if room != piece:
        pieces.append(digest.digest())
    return bencode({"info": {
        "files": [{"length": entry["size"], "path": entry["path"].split("/")} for entry in manifest["files"]],
        "name": str(manifest["version"]), "piece length": piece, "pieces": b"".join(pieces), "private": 1}})
