# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A release on its way to a device: what of it is here, whatever brought it, and what is still missing.

    <base_path>/.staging/2/          the files of version 2 as far as they have come
    <base_path>/.staging/2.parts/    blocks that were copied here, to be put where they belong

Nothing is remembered between two runs. What is here is found by the digests of its blocks, so that a break, a kill or a reboot costs the
block that was being written, and the version that is in service already saves all blocks that it has in common with the new one.
"""
import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat

from ansible_collections.tfleet.serving.plugins.module_utils import manifest as manifests
from ansible_collections.tfleet.serving.plugins.module_utils import release_index
from ansible_collections.tfleet.serving.plugins.module_utils import signature as signatures
from ansible_collections.tfleet.serving.plugins.module_utils import staging as stagings
from ansible_collections.tfleet.serving.plugins.module_utils.durable import (
    fsync_path,
    fsync_tree_directories,
    make_directories,
    remove_tree,
    sha256_file,
    write_atomically,
)
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.lock import alone_in
from ansible_collections.tfleet.serving.plugins.module_utils.version_store import VersionStore

LOCK_SECONDS = 10


class ArrivalError(ModuleError):
    """A release cannot be staged here."""


class Arrival(object):
    """A version of a model that is to be staged in ``base_path``.

    :param index: what release_index.parse() gave.
    :param signature: content of the manifest's signature, None if there is none.
    :param reserve: bytes that must stay free on the disk.
    """

    def __init__(self, base_path, index, signature=None, reserve=0):
        self.store = VersionStore(base_path, stagings.Ownership(), reserve)
        self.index, self.manifest, self.signature, self.reserve = index, index["parsed"], signature, reserve
        self.content = index["manifest"].encode("utf-8")
        self.path = self.store.staged(self.manifest["version"])
        self.parts = self.path + ".parts"
        self.block = index["block_bytes"]
        self._other = set()
        # Entries of manifest and index belong together, in this order.
        blocks = {entry["path"]: entry for entry in index["files"]}
        self.files = [(entry, blocks[entry["path"]]) for entry in self.manifest["files"]]

    def elsewhere(self):
        """Return where this very release is already, in place or aside, or None."""
        where = self.store.where(self.manifest["version"], self.store.scan())
        if where is None:
            return None
        try:
            manifest, content = manifests.read(where)
        except ModuleError:
            return None
        in_place = os.path.dirname(where) == self.store.base
        # One in place is judged by model_version; one aside is of use only if it is whole.
        return where if content == self.content and (in_place or not manifests.findings(where, manifest)) else None

    def sign(self, where):
        """Give a release that is whole, here or elsewhere, the signature that it has by now; returns whether it had another or none."""
        path = os.path.join(where, signatures.SIGNATURE)
        if self.signature is None or signatures.read(path) == self.signature:
            return False
        write_atomically(path, self.signature)
        return True

    def complete(self):
        """Whether it is wholly staged, by its manifest, which is written last."""
        try:
            _manifest, content = manifests.read(self.path)
        except ModuleError:
            return False
        return content == self.content and not manifests.findings(self.path, self.manifest)

    def lock(self):
        """Return a context in which no other run stages a version of this model."""
        make_directories(self.store.base)
        make_directories(os.path.dirname(self.path), 0o700)
        return alone_in(os.path.dirname(self.path), LOCK_SECONDS)

    def begin(self):
        """Make room, put copied blocks where they belong, and begin missing files with what the versions in service have.

        :raises ModuleError: disk too full.
        """
        try:
            self._clear()
            self.check_space()
            make_directories(self.path, 0o700)
            self._put_parts()
            for entry, _blocks in self.files:
                self._begin_file(os.path.join(self.path, entry["path"]), entry)
        except OSError as error:
            raise self.explain(error) from error

    def missing(self):
        """Return {path: [[first block, count], …]} of what is not here, after reading what is.

        :raises ArrivalError: blocks that make another file than the manifest says.
        """
        found = {}
        for entry, blocks in self.files:
            lacking = self._lacking(entry, blocks)
            if lacking:
                found[entry["path"]] = [list(run) for run in release_index.runs(lacking)]
        return found

    def finish(self):
        """Make the staged version whole: signature, manifest, and everything on the disk.

        Every block was compared with its digest when it came; the files are compared with the manifest by model_version, right before
        they get the version's name, and nowhere else: on a small device that is most of the work.

        :raises ArrivalError: a file has not its size.
        """
        try:
            stagings.prune(self.path, self.manifest)
            for entry, _blocks in self.files:
                path = os.path.join(self.path, entry["path"])
                if not _is_file(path) or os.path.getsize(path) != entry["size"]:
                    raise ArrivalError("%s has not come whole: %d bytes are expected. Run again; what is here is used." % (path, entry["size"]))
                os.chmod(path, 0o644)
                fsync_path(path)
            if self.signature is not None:
                write_atomically(os.path.join(self.path, signatures.SIGNATURE), self.signature)
            # Last: what has a manifest is whole.
            write_atomically(os.path.join(self.path, manifests.NAME), self.content)
            fsync_tree_directories(self.path)
            fsync_path(os.path.dirname(self.path))
        except OSError as error:
            raise self.explain(error) from error

    def write(self, entry, blocks, number, data):
        """Write one block of a file if it is the right one; returns whether it was."""
        if hashlib.sha256(data).hexdigest() != blocks["blocks"][number]:
            return False
        path = os.path.join(self.path, entry["path"])
        make_directories(os.path.dirname(path), 0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            # On a disk that is nearly full, a part may be written without an error.
            if os.pwrite(descriptor, data, number * self.block) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        finally:
            os.close(descriptor)
        return True

    def size_of(self, entry, number):
        """Bytes of one block."""
        return min(self.block, entry["size"] - number * self.block)

    def bytes_of(self, missing):
        """Bytes of the missing blocks."""
        sizes = {entry["path"]: entry["size"] for entry, _blocks in self.files}
        return sum(min(sizes[path], (first + count) * self.block) - first * self.block for path, found in missing.items() for first, count in found)

    def check_space(self):
        """Make sure that what is missing fits on the disk; a full one is freed of what was staged.

        :raises StagingError: it does not.
        """
        disk = os.statvfs(self.store.base)
        try:
            stagings.check_space(self.store.base, stagings.missing_bytes(self.path, self.manifest, disk.f_frsize), self.reserve)
        except stagings.StagingError:
            # Whoever brought it met the end of the disk, and could only break off.
            if disk.f_bavail * disk.f_frsize < self.block and os.path.isdir(self.path):
                raise self.explain(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from None
            raise

    def explain(self, error):
        """Return the exception for an OSError of staging; a full disk is freed of what was staged, for the server that runs here."""
        if getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
            return ArrivalError("Version %d of %s cannot be staged in %s: %s. Put that right and run again; what has come is used then."
                                % (self.manifest["version"], self.manifest["model"], self.path, error))
        remove_tree(self.path)
        remove_tree(self.parts)
        return stagings.StagingError(
            "The disk of %s became full (%s) while the release was being staged. What was staged was removed and nothing else was changed. Free some "
            "space, or raise reserve_bytes to be told before the start, and run again." % (self.store.base, error.strerror))

    def receive_parts(self):
        """Make the directory into which the connecting user may copy blocks, and return it."""
        make_directories(self.parts, 0o700)
        for variable in ("SUDO_UID", "DOAS_UID"):
            if os.environ.get(variable, "").isdigit():
                # Through this one and into that one only: it is the user whose password or key has become root here.
                os.chown(self.parts, int(os.environ[variable]), -1)
                os.chmod(os.path.dirname(self.path), 0o711)  # noqa: S103 - to pass through; nothing can be listed or read
        return self.parts

    def _clear(self):
        """Remove what was staged of other versions: one release of a model is on its way at a time."""
        parent = os.path.dirname(self.path)
        for name in os.listdir(parent):
            if name not in (os.path.basename(self.path), os.path.basename(self.parts)):
                remove_tree(os.path.join(parent, name))
        if os.path.islink(self.path) or (os.path.lexists(self.path) and not os.path.isdir(self.path)):
            remove_tree(self.path)
        if os.path.isdir(self.path):
            stagings.prune(self.path, self.manifest)

    def _put_parts(self):
        """Take apart what was copied here: a line of JSON that names blocks, and the blocks. The last one may be cut off."""
        if not os.path.isdir(self.parts):
            return
        files = {entry["path"]: (entry, blocks) for entry, blocks in self.files}
        for name in sorted(os.listdir(self.parts)):
            with contextlib.suppress(ValueError, KeyError, IndexError, TypeError), open(os.path.join(self.parts, name), "rb") as stream:
                for path, first, count in json.loads(stream.readline(1024 * 1024).decode("utf-8")):
                    entry, blocks = files[path]
                    for number in range(first, first + count):
                        data = stream.read(self.size_of(entry, number))
                        self.write(entry, blocks, number, data)
        remove_tree(self.parts)

    def _begin_file(self, path, entry):
        if not os.path.exists(path) and not self._take_over(path, entry):
            self._other.add(path)
        if not os.path.exists(path) and not entry["size"]:
            make_directories(os.path.dirname(path), 0o700)
            open(path, "wb").close()
        if os.path.exists(path) and os.path.getsize(path) > entry["size"]:
            os.truncate(path, entry["size"])

    def _lacking(self, entry, blocks):
        """Return the numbers of the blocks that a staged file lacks."""
        path = os.path.join(self.path, entry["path"])
        # What was begun with another version's file is not read twice.
        if path not in self._other and _is_file(path) and os.path.getsize(path) == entry["size"] and sha256_file(path) == entry["sha256"]:
            return []
        lacking = release_index.missing(path, blocks, entry["size"], self.block)
        if not lacking and sha256_file(path) != entry["sha256"]:
            os.unlink(path)
            raise ArrivalError("The blocks of %s make another file than the manifest of version %d of %s says: the index does not belong to the release. "
                               "Build the release again with model_release." % (entry["path"], self.manifest["version"], self.manifest["model"]))
        return lacking

    def _take_over(self, path, entry):
        """Begin a file with a copy of the same one, or of the one with the same name, of the newest version that has it.

        :returns: whether it should be the same file.
        """
        named = None
        actual = self.store.scan()
        for version in sorted(actual.versions, reverse=True):
            manifest = self.store.manifest_of(version, actual)
            folder = os.path.join(self.store.base, actual.versions[version])
            for old in manifest["files"] if manifest else ():
                source = os.path.join(folder, old["path"])
                if (old["sha256"], old["size"]) == (entry["sha256"], entry["size"]) and _is_file(source):
                    _copy(source, path)
                    return True
                if old["path"] == entry["path"] and named is None and _is_file(source):
                    named = source
        if named is not None:
            _copy(named, path)
        return False


def _is_file(path):
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _copy(source, path):
    """Copy a file; half a copy never has the name."""
    make_directories(os.path.dirname(path), 0o700)
    shutil.copyfile(source, path + ".tmp")
    os.chmod(path + ".tmp", 0o600)
    os.rename(path + ".tmp", path)
