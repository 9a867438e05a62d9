# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A release as one file: a tar that depends on nothing but the release, and the two forms a release can be read from.

``open_release(path)`` gives an object with ``manifest`` (dict), ``content`` (the manifest's bytes), ``signature`` (bytes, None if it is
not signed) and ``open(name)`` (a binary stream of one listed file), whether ``path`` is an archive or a version directory.
The signature of an archive lies beside it, ``<archive>.sig``: the archive stays the same, byte for byte, whoever signs it.
"""
import errno
import hashlib
import io
import os
import tarfile
import typing

from ansible_collections.tfleet.serving.plugins.module_utils import manifest as manifests
from ansible_collections.tfleet.serving.plugins.module_utils import signature as signatures
from ansible_collections.tfleet.serving.plugins.module_utils.durable import CHUNK
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError

# The size field of a tar header has eleven octal digits.
MAX_OCTAL_SIZE = 8 ** 11 - 1


class ReleaseError(ModuleError):
    """A release archive cannot be written, or is not one that may be unpacked."""


def write(stream, src, manifest):
    """Write the files of the SavedModel directory ``src`` and their manifest to ``stream`` as an uncompressed tar.

    The same manifest gives the same bytes: sorted members, times and ids zero, modes 0644 and 0755.

    :param stream: a binary stream, or None to learn digest and size without writing anything.
    :returns: (sha256 of the tar, its size in bytes).
    :raises ReleaseError: a file is not (any more) what the manifest says.
    """
    output = _HashingWriter(stream)
    entries = {entry["path"]: entry for entry in manifest["files"]}
    content = manifests.dump(manifest)
    for name in sorted(set(entries) | {manifests.NAME} | _directories(entries)):
        if name == manifests.NAME:
            _write_member(output, name, io.BytesIO(content), len(content))
        elif name in entries:
            _write_file(output, os.path.join(src, name), entries[name])
        else:
            output.write(_headers(name, 0, tarfile.DIRTYPE))
    output.write(b"\0" * (2 * tarfile.BLOCKSIZE))
    output.write(b"\0" * (-output.count % tarfile.RECORDSIZE))
    return output.digest.hexdigest(), output.count


def open_release(path):
    """Return the release at ``path`` for reading, after checking everything but the content of its files.

    :raises ReleaseError, ManifestError: not there, not a release, or one with a member that may not be unpacked.
    """
    if os.path.isdir(path):
        return DirectoryRelease(path)
    if not os.path.exists(path):
        raise ReleaseError("There is no release at %s. Build it with model_release and copy it to this host first." % path)
    return ArchiveRelease(path)


class DirectoryRelease:
    """A release that lies unpacked in a directory."""

    def __init__(self, path):
        self.path = path
        self.manifest, self.content = manifests.read(path)
        self.signature = signatures.read(os.path.join(path, manifests.SIGNATURE))
        present = set(manifests.list_files(path)) - {manifests.NAME, manifests.SIGNATURE}
        _same_names(path, present, {entry["path"] for entry in self.manifest["files"]})

    def open(self, name):
        """Return a binary stream of the listed file ``name``."""
        return open(os.path.join(self.path, name), "rb")

    def close(self):
        """Nothing stays open."""


class ArchiveRelease:
    """A release in an uncompressed tar; no member's name or type is trusted."""

    def __init__(self, path):
        self.path = path
        self.signature = signatures.read(path + ".sig")
        try:
            self._tar = tarfile.open(path, mode="r:")  # noqa: SIM115 - close() closes it
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise ReleaseError("%s is not an uncompressed tar: %s. Build the release again with model_release." % (path, error)) from error
        try:
            self._members = self._read_members()
            content = self._members.pop(manifests.NAME, None)
            if content is None:
                raise ReleaseError("%s holds no manifest.json, so it is not a release. Build one with model_release." % path)
            if content.size > manifests.MAX_BYTES:
                raise ReleaseError("manifest.json in %s claims %d bytes. Do not use this archive." % (path, content.size))
            self.content = self._tar.extractfile(content).read()  # type: ignore[union-attr] # it is a regular file
            self.manifest = manifests.parse(self.content, "manifest.json in %s" % path)
            self._check_members()
        except BaseException as error:
            self.close()
            # Python 3.6 seeks before the start of a tar that holds nothing, which the kernel refuses.
            if isinstance(error, (tarfile.TarError, EOFError, ValueError)) or getattr(error, "errno", None) == errno.EINVAL:
                raise ReleaseError("%s is damaged or cut off: %s. Copy it again, or build the release again with model_release."
                                   % (path, error)) from error
            raise

    def open(self, name):
        """Return a binary stream of the listed file ``name``; a truncated archive makes its ``read`` end early or raise TarError."""
        return self._tar.extractfile(self._members[name])

    def offset(self, name):
        """Return at which byte of the archive the content of ``name`` begins."""
        return self._members[name].offset_data

    def close(self):
        """Close the archive."""
        self._tar.close()

    def _read_members(self):
        members: typing.Dict[str, tarfile.TarInfo] = {}
        directories: typing.Set[str] = set()
        offset = -1
        while True:
            member = self._tar.next()
            if member is None:
                return members
            # A forged negative size sends old tarfile modules round in a circle.
            if member.offset_data <= offset or member.size < 0:
                raise ReleaseError("%s has a member that points backwards. Do not use this archive." % self.path)
            offset = member.offset_data
            name = manifests.check_path(member.name, self.path)
            if name in members or name in directories:
                raise ReleaseError("%s holds %s twice. Do not use this archive." % (self.path, name))
            if member.isdir():
                directories.add(name)
            elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and member.sparse is None:
                members[name] = member
            else:
                raise ReleaseError("%s holds %s, which is a %s. A release holds regular files only; do not use this archive."
                                   % (self.path, name, _member_kind(member)))

    def _check_members(self):
        listed = {entry["path"]: entry for entry in self.manifest["files"]}
        _same_names(self.path, set(self._members), set(listed))
        for name, member in sorted(self._members.items()):
            if member.size != listed[name]["size"]:
                raise ReleaseError("%s: %s: expected %d bytes, found %d bytes. Build the release again with model_release."
                                   % (self.path, name, listed[name]["size"], member.size))


def copy_verified(source, target, entry, where):
    """Copy the stream ``source`` to the stream ``target`` while checking it against a manifest's file entry.

    :param where: what the stream was read from, for messages.
    :raises ReleaseError: size or SHA-256 differ; at most one chunk more than the expected size was written then.
    """
    digest, count = hashlib.sha256(), 0
    try:
        for chunk in iter(lambda: source.read(CHUNK), b""):
            count += len(chunk)
            if count > entry["size"]:
                break
            digest.update(chunk)
            target.write(chunk)
    except tarfile.TarError as error:
        raise ReleaseError("%s is cut off inside %s: %s. Copy it again." % (where, entry["path"], error)) from error
    if count != entry["size"]:
        raise ReleaseError("%s: %s: expected %d bytes, found %s%d bytes. Copy the release again, or build it again with model_release."
                           % (where, entry["path"], entry["size"], "more than " if count > entry["size"] else "", min(count, entry["size"])))
    if digest.hexdigest() != entry["sha256"]:
        raise ReleaseError("%s: %s: expected sha256 %s, found sha256 %s. Copy the release again, or build it again with model_release."
                           % (where, entry["path"], entry["sha256"], digest.hexdigest()))


def _same_names(where, found, expected):
    for name in sorted(found - expected):
        raise ReleaseError("%s: %s: expected no such file, found one that is not in the manifest. Build the release again with model_release."
                           % (where, name))
    for name in sorted(expected - found):
        raise ReleaseError("%s: %s: expected a file, found no such file. Copy the release again, or build it again with model_release."
                           % (where, name))


def _directories(paths):
    found: typing.Set[str] = set()
    for path in paths:
        parts = path.split("/")
        found.update("/".join(parts[:count]) for count in range(1, len(parts)))
    return found


def _write_file(output, path, entry):
    with open(path, "rb") as stream:
        try:
            _write_member(output, entry["path"], _Checked(stream, entry), entry["size"])
        except EOFError:
            raise ReleaseError("%s changed while it was being released. Let what writes it finish, and run again." % path) from None


def _write_member(output, name, stream, size):
    output.write(_headers(name, size, tarfile.REGTYPE))
    for chunk in iter(lambda: stream.read(CHUNK), b""):
        output.write(chunk)
    output.write(b"\0" * (-size % tarfile.BLOCKSIZE))


def _headers(name, size, kind):
    """Return the header blocks of a member.

    Not tarfile's: it fills fields that mean nothing differently from one Python to the next, and a release's digest must not
    depend on the controller's Python.
    """
    encoded = name.encode("utf-8")
    records = []
    if len(encoded) > tarfile.LENGTH_NAME or encoded != name.encode("ascii", "replace"):
        records.append(_pax_record(b"path", encoded))
    if size > MAX_OCTAL_SIZE:
        records.append(_pax_record(b"size", str(size).encode("ascii")))
    blocks = b""
    if records:
        extension = b"".join(records)
        blocks = _header(b"././@PaxHeader", len(extension), tarfile.XHDTYPE) + extension + b"\0" * (-len(extension) % tarfile.BLOCKSIZE)
    short = name.encode("ascii", "replace")[:tarfile.LENGTH_NAME]
    return blocks + _header(short, 0 if size > MAX_OCTAL_SIZE else size, kind)


def _header(name, size, kind):
    mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    block = b"".join((
        name.ljust(100, b"\0"), b"%07o\0" % mode, b"%07o\0" % 0, b"%07o\0" % 0, b"%011o\0" % size, b"%011o\0" % 0,
        b" " * 8, kind, b"\0" * 100, b"ustar\x0000", b"\0" * 64, b"%07o\0" % 0, b"%07o\0" % 0, b"\0" * 167))
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _pax_record(key, value):
    # The length at the start counts itself.
    length = len(key) + len(value) + 3
    while length != len(key) + len(value) + 3 + len(str(length)):
        length = len(key) + len(value) + 3 + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


class _Checked:
    """A stream whose ``read`` raises EOFError if it turns out not to be the manifest's ``entry``."""

    def __init__(self, stream, entry):
        self._stream, self._entry = stream, entry
        self._digest, self._count = hashlib.sha256(), 0

    def read(self, size):
        data = self._stream.read(size)
        self._digest.update(data)
        self._count += len(data)
        if self._count > self._entry["size"] or (not data and self._digest.hexdigest() != self._entry["sha256"]):
            raise EOFError
        return data


class _HashingWriter:
    """Hashes and counts what is written, and keeps it only if there is a stream."""

    def __init__(self, stream):
        self._stream = stream
        self.digest, self.count = hashlib.sha256(), 0

    def write(self, data):
        self.digest.update(data)
        self.count += len(data)
        if self._stream is not None:
            self._stream.write(data)


def _member_kind(member):
    for test, word in ((member.issym, "symbolic link"), (member.islnk, "hard link"), (member.ischr, "character device"),
                       (member.isblk, "block device"), (member.isfifo, "named pipe")):
        if test():
            return word
    return "special file"
