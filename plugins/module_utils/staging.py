# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The staging directory: where a release becomes a verified directory on the disk before it gets a version's name."""
import errno
import grp
import os
import pwd
import re
import stat
import tarfile
import typing

from ansible_collections.tfleet.serving.plugins.module_utils import manifest as manifests
from ansible_collections.tfleet.serving.plugins.module_utils.durable import fsync_path, fsync_tree_directories, remove_tree, sha256_file
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.release_archive import copy_verified

# chown's "leave it", and a number that no file has.
KEEP, UNBORN = -1, -2


class StagingError(ModuleError):
    """A release cannot be unpacked here."""


class Ownership:
    """Who owns the files of a version and who may read them.

    :param owner: user name or number, None for whoever runs this.
    :param group: group name or number, None likewise.
    :param mode: octal string for files, such as "0644"; a directory also gets x wherever a file gets r.
    :param announced: in check mode a user or group that does not exist yet is taken for one that will.
    """

    def __init__(self, owner=None, group=None, mode="0644", announced=False):
        if not re.match(r"^0?[0-7]{3}\Z", mode):
            raise StagingError("mode %r is not an octal file mode of three digits such as '0644' or '0640'." % mode)
        self.file_mode = int(mode, 8)
        if self.file_mode & 0o400 == 0:
            raise StagingError("mode %s would hide the model from its own owner. Use '0644', or '0640' with a group." % mode)
        self.directory_mode = self.file_mode | (self.file_mode & 0o444) >> 2
        self.uid = _number(owner, "user", lambda name: pwd.getpwnam(name).pw_uid, announced)
        self.gid = _number(group, "group", lambda name: grp.getgrnam(name).gr_gid, announced)

    def differs(self, path):
        """Say whether ``path`` (not a link) is owned or readable otherwise."""
        status = os.lstat(path)
        mode = self.directory_mode if stat.S_ISDIR(status.st_mode) else self.file_mode
        return (stat.S_IMODE(status.st_mode) != mode or self.uid not in (KEEP, status.st_uid) or self.gid not in (KEEP, status.st_gid))

    def tree_differs(self, root):
        """Say whether anything in the directory ``root``, itself included, is owned or readable otherwise."""
        return any(self.differs(path) for path in _walk(root))

    def apply(self, path):
        """Give ``path`` its owner, group and mode.

        :raises StagingError: this user may not give files away.
        """
        if not self.differs(path):
            return
        try:
            # chown first: it clears bits that chmod sets.
            if self.uid != KEEP or self.gid != KEEP:
                os.chown(path, self.uid, self.gid)
            os.chmod(path, self.directory_mode if os.path.isdir(path) else self.file_mode)
        except PermissionError:
            raise StagingError("%s cannot be given to user %s, group %s: only root may do that. Run with become: true, or leave owner and "
                               "group out." % (path, self.uid, self.gid)) from None

    def apply_tree(self, root):
        """``apply`` to everything in the directory ``root``, the directory itself last."""
        for path in reversed(list(_walk(root))):
            self.apply(path)


def check_space(path, size, reserve):
    """Make sure that ``size`` bytes fit on the disk of ``path`` and ``reserve`` bytes stay free.

    :param path: a file or directory that need not exist yet.
    :raises StagingError: with the numbers and the next step.
    """
    while not os.path.exists(path):
        path = os.path.dirname(path)
    disk = os.statvfs(path)
    # Not f_bfree: the blocks kept for root are what lets a full system still be repaired.
    free = disk.f_bavail * disk.f_frsize
    if size + reserve > free:
        raise StagingError(
            "Not enough room on the disk of %s: the release needs %d bytes and %d are to stay free (reserve_bytes), but only %d are free. "
            "Nothing was changed. Free %d bytes, for example by a smaller `keep` or by removing versions set aside, and run again."
            % (path, size, reserve, free, size + reserve - free), needed_bytes=size, reserve_bytes=reserve, free_bytes=free)


def missing_bytes(staging, manifest, block):
    """Return how many bytes of disk the release still needs, given what a killed run left in ``staging``.

    :param block: size of the file system's blocks, of which each file takes whole ones.
    """
    total = block * 2
    for entry in manifest["files"]:
        path = os.path.join(staging, entry["path"])
        if not (os.path.isfile(path) and os.path.getsize(path) == entry["size"]):
            total += -(-entry["size"] // block) * block + block
    return total


def fill(staging, release, ownership):
    """Make ``staging`` exactly the release, flushed to the disk, with the owner and modes of a version.

    What a killed run left there is kept as far as its hash is right. If anything fails, ``staging`` is removed.

    :param release: what release_archive.open_release() gave.
    :raises StagingError, ReleaseError: disk full, or the release's content is not what its manifest says.
    """
    try:
        if not os.path.isdir(staging) or os.path.islink(staging):
            remove_tree(staging)
            os.mkdir(staging, 0o700)
        prune(staging, release.manifest)
        for entry in release.manifest["files"]:
            _place(staging, entry, release, ownership)
        _write(os.path.join(staging, manifests.NAME), release.content, ownership)
        if release.signature is not None:
            _write(os.path.join(staging, manifests.SIGNATURE), release.signature, ownership)
        ownership.apply_tree(staging)
        fsync_tree_directories(staging)
        fsync_path(os.path.dirname(staging))
    except OSError as error:
        remove_tree(staging)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StagingError("The disk of %s became full (%s) while the release was being unpacked. What was unpacked was removed and nothing "
                           "else was changed. Free some space, or raise reserve_bytes to be told before the start, and run again."
                           % (os.path.dirname(staging), error.strerror)) from error
    except (ModuleError, tarfile.TarError):
        remove_tree(staging)
        raise


def adopt(staging, manifest, ownership):
    """Make sure that ``staging``, which was filled by somebody else, is exactly the release and on the disk, with owner and modes of a version.

    :raises StagingError: it is not; it was left as it is, for release_stage to mend.
    """
    wrong = manifests.findings(staging, manifest)
    if wrong:
        raise StagingError("What was staged in %s is not what its manifest says: %s Stage the release again (release_stage); only what is wrong is "
                           "sent." % (staging, manifests.sentence(wrong)), findings=wrong)
    ownership.apply_tree(staging)
    for path in _walk(staging):
        fsync_path(path)
    fsync_path(os.path.dirname(staging))


def _place(staging, entry, release, ownership):
    path = os.path.join(staging, entry["path"])
    if os.path.isfile(path):
        if os.path.getsize(path) == entry["size"] and sha256_file(path) == entry["sha256"]:
            # The killed run may not have come to this.
            ownership.apply(path)
            fsync_path(path)
            return
        os.unlink(path)
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    with _new_file(path) as target:
        with release.open(entry["path"]) as source:
            copy_verified(source, target, entry, release.path)
        _flush(target, path, ownership)


def _write(path, content, ownership):
    if os.path.lexists(path):
        os.unlink(path)
    with _new_file(path) as target:
        target.write(content)
        _flush(target, path, ownership)


def _new_file(path):
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")


def _flush(target, path, ownership):
    target.flush()
    ownership.apply(path)
    os.fsync(target.fileno())


def prune(staging, manifest):
    """Remove from a left-over staging directory all that is no directory, no regular file, or not in the manifest."""
    listed = {entry["path"] for entry in manifest["files"]}
    needed: typing.Set[str] = set()
    for path in listed:
        parts = path.split("/")
        needed.update("/".join(parts[:count]) for count in range(1, len(parts)))
    for directory, names, files in os.walk(staging):
        for name in names + files:
            path = os.path.join(directory, name)
            mode = os.lstat(path).st_mode
            relative = os.path.relpath(path, staging)
            if not ((stat.S_ISREG(mode) and relative in listed) or (stat.S_ISDIR(mode) and relative in needed)):
                remove_tree(path)
                if name in names:
                    names.remove(name)


def _walk(root):
    yield root
    for directory, names, files in os.walk(root):
        for name in names + files:
            yield os.path.join(directory, name)


def _number(name, what, lookup, announced):
    if name is None:
        return KEEP
    if name.isdigit():
        return int(name)
    try:
        return lookup(name)
    except KeyError:
        if announced:
            return UNBORN
        raise StagingError("There is no %s %r on this host. Create it first (role model_server does), or leave the option out." % (what, name)) from None
