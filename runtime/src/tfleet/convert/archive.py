"""Unpacking archives from strangers: nothing leaves the target folder, nothing but files and folders, and a bomb stops early."""

import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from typing import Any, Optional, Set

from tfleet.errors import TfleetError

MAX_MEMBERS = 20000
MAX_BYTES = 16 * 2**30
# A compressed archive larger than this when unpacked must not be more than MAX_RATIO times its own size. Weights hardly compress.
RATIO_FROM = 256 * 2**20
MAX_RATIO = 100
_MAX_HEADER = 2**20
_CHUNK = 2**20
_HEADER_TYPES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


def format_of(path: str) -> Optional[str]:
    """``tar``, ``zip`` or None, by content. A Keras file is a zip too: ask ``is_keras_zip`` first."""
    with open(path, "rb") as stream:
        head = stream.read(512)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar":
        return "tar"
    return None


def is_keras_zip(path: str) -> bool:
    """Whether a zip file holds what Keras 3 (and Keras 2.12 on) writes into a .keras file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {"config.json", "metadata.json"} <= set(archive.namelist())
    except (zipfile.BadZipfile, OSError, ValueError):
        return False


def unpack(path: str, target: str) -> int:
    """Unpack the archive ``path`` into the empty folder ``target``; returns the number of bytes written.

    Raises TfleetError for a damaged archive, an absolute or climbing path, links, devices, a path twice, and for one that unpacks to
    more than it should. OSError (a full disk) passes through.
    """
    guard = _Guard(path, target)
    try:
        if format_of(path) == "zip":
            _unpack_zip(path, guard)
        else:
            _unpack_tar(path, guard)
    except (tarfile.TarError, zipfile.BadZipfile, zlib.error, EOFError, UnicodeError, RuntimeError, NotImplementedError, ValueError) as error:
        raise TfleetError("`%s` is damaged or not an archive: %s. Copy it again and compare its SHA-256." % (path, error))
    except OSError as error:
        if error.errno is None:  # gzip reports a wrong CRC or magic number this way
            raise TfleetError("`%s` is damaged: %s. Copy it again and compare its SHA-256." % (path, error))
        raise
    return guard.written


class _Guard(object):
    """Where members may go and how much they may hold together."""

    def __init__(self, path: str, target: str) -> None:
        self.path = path
        self.target = target
        self.size = max(1, os.path.getsize(path))
        self.members = 0
        self.written = 0
        self.seen: Set[str] = set()

    def refuse(self, member: str, why: str) -> None:
        raise TfleetError("`%s` is refused and nothing of it is used: its member `%s` %s." % (self.path, member[:200], why))

    def place(self, name: str) -> str:
        """The path for member ``name`` inside the target. Raises TfleetError if it is hostile."""
        self.members += 1
        if self.members > MAX_MEMBERS:
            self.refuse(name, "is one too many (limit %d)" % MAX_MEMBERS)
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or "\\" in name or "\0" in name or (len(name) > 1 and name[1] == ":"):
            self.refuse(name, "has an absolute path or a foreign one")
        if ".." in parts:
            self.refuse(name, "climbs out of the archive with ..")
        if len(name) > 1024 or any(len(part) > 255 for part in parts):
            self.refuse(name, "has a name that is too long")
        place = os.path.join(self.target, *parts)
        if place in self.seen:
            self.refuse(name, "is there twice")
        if parts:
            self.seen.add(place)
        return place

    def write(self, name: str, place: str, stream: Any) -> None:
        """Copy ``stream`` to the new file ``place``, counting."""
        if os.path.exists(place):
            self.refuse(name, "is there twice")
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as out:
            while True:
                block = stream.read(_CHUNK)
                if not block:
                    return
                self.written += len(block)
                if self.written > MAX_BYTES:
                    self.refuse(name, "unpacks to more than %d GiB" % (MAX_BYTES // 2**30))
                if self.written > RATIO_FROM and self.written > MAX_RATIO * self.size:
                    self.refuse(name, "unpacks to more than %d times the archive's size: it looks like a decompression bomb" % MAX_RATIO)
                if self.written % (64 * _CHUNK) < _CHUNK and shutil.disk_usage(self.target).free < 64 * _CHUNK:
                    self.refuse(name, "would fill the disk of %s" % self.target)
                out.write(block)


class _BoundedHeader(tarfile.TarInfo):
    """Refuses extended headers (long names, pax records) that tarfile would read into memory whatever their size."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> "_BoundedHeader":
        member = super(_BoundedHeader, cls).frombuf(buf, encoding, errors)
        if member.type in _HEADER_TYPES and member.size > _MAX_HEADER:
            raise ValueError("an extended header of %d bytes" % member.size)
        return member


def _unpack_tar(path: str, guard: _Guard) -> None:
    with tarfile.open(path, "r:*", tarinfo=_BoundedHeader) as archive:
        for member in archive:
            place = guard.place(member.name)
            if member.isdir():
                os.makedirs(place, exist_ok=True)
            elif member.isreg():
                guard.write(member.name, place, archive.extractfile(member))
            else:
                guard.refuse(member.name, "is a link, a device or another special file")


def _unpack_zip(path: str, guard: _Guard) -> None:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            place = guard.place(member.filename)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                guard.refuse(member.filename, "is a link, a device or another special file")
            if member.flag_bits & 1:
                guard.refuse(member.filename, "is encrypted")
            if member.filename.endswith("/"):
                os.makedirs(place, exist_ok=True)
            else:
                with archive.open(member) as stream:
                    guard.write(member.filename, place, stream)
