# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""How the controller sends missing blocks over Ansible's own connection: by rsync, or packed into files that are copied."""
import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
import typing

from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.release_archive import copy_verified, open_release

# A broken copy costs at most one of these; so many bytes are on the device twice until they are put where they belong.
PART_BYTES = 16 * 1024 * 1024
ROUND_BYTES = 256 * 1024 * 1024
SSH = ("ssh", "ansible.builtin.ssh")
# rsync's own words for: killed, network error, time-out, connection lost.
BROKEN_LINK = (10, 12, 20, 30, 35, 255)


class SendingError(ModuleError):
    """The release did not reach the device."""


@contextlib.contextmanager
def locked(path):
    """Let one process of this machine work at what ``path`` stands for; ``path`` itself is made and stays."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def tree(archive):
    """Return the directory that holds the release ``archive`` unpacked, under the name of its version; made once, checked by its digests."""
    folder = archive + ".tree"
    with locked(archive + ".lock"):
        release = open_release(archive)
        try:
            path = os.path.join(folder, str(release.manifest["version"]))
            # A finished tree is told by its time: the archive never changes, and is replaced whole.
            done = os.path.join(folder, ".of")
            mark = "%d" % os.stat(archive).st_mtime_ns
            try:
                with open(done) as stream:
                    if stream.read() == mark:
                        return path
            except OSError:
                pass
            shutil.rmtree(folder, ignore_errors=True)
            for entry in release.manifest["files"]:
                target = os.path.join(path, entry["path"])
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with release.open(entry["path"]) as source, open(target, "wb") as stream:
                    copy_verified(source, stream, entry, archive)
            with open(done, "w") as stream:
                stream.write(mark)
            return path
        finally:
            release.close()


def rsync_command(connection):
    """Return the remote shell for rsync over the connection's own settings as a list of words, None where that cannot be had.

    A password has no way into rsync: then the blocks are copied by Ansible itself.
    """
    if connection.transport not in SSH or shutil.which("rsync") is None or connection.get_option("password"):
        return None
    become = connection.become
    if become is not None and (become.name.split(".")[-1] != "sudo" or become.get_option("become_pass")):
        return None
    with contextlib.suppress(AttributeError, KeyError):
        words = [word.decode() if isinstance(word, bytes) else word for word in connection._build_command(connection.get_option("ssh_executable"), "ssh")]
        # What travels is compressed data mostly; ssh's own compression would only cost CPU.
        return [word for word in words if word != "-C"]
    return None


def rsync(connection, remote_shell, source, missing, staged, rate, timeout):
    """Send the files that have missing blocks; rsync finds out itself what of them is there.

    :returns: bytes that were sent.
    :raises SendingError: what rsync said.
    """
    argv = ["rsync", "--recursive", "--inplace", "--no-whole-file", "--ignore-times", "--chmod=D700,F600", "--files-from=-", "--stats", "--no-human-readable",
            "--timeout=%d" % min(timeout, 60), "--rsh=%s" % " ".join(shlex.quote(word) for word in remote_shell)]
    if rate:
        argv.append("--bwlimit=%d" % max(1, rate // 1024))
    become = connection.become
    if become is not None:
        argv.append("--rsync-path=sudo -n -u %s rsync" % shlex.quote(become.get_option("become_user") or "root"))
    host = connection.get_option("host") or connection.host
    argv += [source + "/", "%s:%s/" % ("[%s]" % host if ":" in host else host, staged)]
    end = time.time() + timeout
    while True:
        done = subprocess.run(argv, input="".join(path + "\n" for path in sorted(missing)).encode("utf-8"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=dict(os.environ, LC_ALL="C"), check=False)
        if done.returncode == 0:
            sent = re.search(r"Total bytes sent: ([0-9]+)", done.stdout.decode("utf-8", "replace"))
            return int(sent.group(1)) if sent else 0
        # What has come stays and is not sent again, so that it is worth trying.
        if done.returncode not in BROKEN_LINK or time.time() > end:
            raise SendingError("rsync to %s failed with exit status %d: %s. What has come is kept; run again when that is put right."
                               % (host, done.returncode, done.stderr.decode("utf-8", "replace").strip()[-600:]), rsync=done.returncode)
        time.sleep(3)


def parts(archive, index, missing):
    """Yield the missing blocks packed into files of some megabytes, as paths that live until the next one; one round of them at most.

    Each begins with a line of JSON that names its blocks: [[path, first, count], …].
    """
    block = index["block_bytes"]
    sizes = {entry["path"]: entry["size"] for entry in index["parsed"]["files"]}
    offsets = {entry["path"]: entry["offset"] for entry in index["files"]}
    most = max(1, PART_BYTES // block)
    packets: typing.List[typing.List[typing.Any]] = [[]]
    room = most
    for path in sorted(missing):
        for begin, count in missing[path]:
            first, end = begin, begin + count
            while first < end:
                take = min(end - first, room)
                packets[-1].append([path, first, take])
                first, room = first + take, room - take
                if not room:
                    packets.append([])
                    room = most
    with open(archive, "rb") as stream, tempfile.TemporaryDirectory(prefix="tfleet-parts-") as folder:
        for number, packet in enumerate(packets[:ROUND_BYTES // PART_BYTES]):
            if not packet:
                continue
            name = os.path.join(folder, "part-%04d" % number)
            with open(name, "wb") as part:
                part.write(json.dumps(packet).encode("utf-8") + b"\n")
                for path, first, count in packet:
                    stream.seek(offsets[path] + first * block)
                    part.write(stream.read(min(sizes[path], (first + count) * block) - first * block))
            yield name
            os.unlink(name)
