# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""How the controller sends missing blocks over Ansible's own connection: by rsync, or packed into files that are copied."""
import contextlib
import fcntl
import functools
import itertools
import json
import operator
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time

from ansible_collections.tfleet.serving.plugins.module_utils import release_index
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.release_archive import copy_verified, open_release

# A broken copy costs at most one of these; so many bytes are on the device twice until they are put where they belong.
PART_BYTES = 16 * 1024 * 1024
# A part is to take about so long: while one is copied nobody sees that the link moves.
PART_SECONDS = 2
ROUND_BYTES = 256 * 1024 * 1024
SSH = ("ssh", "ansible.builtin.ssh")
# rsync's own words for: killed, network error, time-out, connection lost.
BROKEN_LINK = (10, 12, 20, 30, 35, 255)
PAUSE_SECONDS = 3
PROGRESS = re.compile("([0-9]+) +[0-9]+% ")


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


def rsync(connection, remote_shell, source, missing, staged, rate, timeout, moved):
    """Send the files that have missing blocks; rsync finds out itself what of them is there.

    :param timeout: seconds without getting farther, over all attempts, after which it is given up.
    :param moved: called whenever it got farther.
    :returns: bytes that were sent.
    :raises SendingError: what rsync said; ``unreachable`` in its result if the link broke again and again.
    """
    argv = ["rsync", "--recursive", "--inplace", "--no-whole-file", "--ignore-times", "--chmod=D700,F600", "--files-from=-", "--stats", "--no-human-readable",
            "--info=progress2", "--outbuf=N", "--timeout=%d" % min(timeout, 60), "--rsh=%s" % " ".join(shlex.quote(word) for word in remote_shell)]
    if rate:
        argv.append("--bwlimit=%d" % max(1, rate // 1024))
    become = connection.become
    if become is not None:
        argv.append("--rsync-path=sudo -n -u %s rsync" % shlex.quote(become.get_option("become_user") or "root"))
    host = connection.get_option("host") or connection.host
    argv += [source + "/", "%s:%s/" % ("[%s]" % host if ":" in host else host, staged)]
    farthest, since = 0, time.time()
    while True:
        with tempfile.TemporaryFile() as names, tempfile.TemporaryFile() as said:
            names.write("".join(path + "\n" for path in sorted(missing)).encode("utf-8"))
            names.seek(0)
            process = subprocess.Popen(argv, stdin=names, stdout=subprocess.PIPE, stderr=said, env=dict(os.environ, LC_ALL="C"))
            assert process.stdout is not None
            try:
                printed = ""
                for data in iter(functools.partial(os.read, process.stdout.fileno(), 65536), b""):
                    printed = (printed + data.decode("utf-8", "replace"))[-4096:]
                    so_far = PROGRESS.findall(printed)
                    # Another attempt begins by passing over what is there already.
                    if so_far and int(so_far[-1]) > farthest:
                        farthest, since = int(so_far[-1]), time.time()
                        moved()
                status = process.wait()
            finally:
                # The task's time limit may end this at any place.
                process.kill()
                process.wait()
                process.stdout.close()
            said.seek(0)
            why = said.read().decode("utf-8", "replace").strip()[-600:]
        if status == 0:
            sent = re.search(r"Total bytes sent: ([0-9]+)", printed)
            return int(sent.group(1)) if sent else 0
        # What has come stays and is not sent again, so that it is worth trying.
        if status not in BROKEN_LINK:
            raise SendingError("rsync to %s failed with exit status %d: %s. What has come is kept; run again when that is put right." % (host, status, why))
        if time.time() - since > timeout:
            raise SendingError("The link to %s breaks, and in %d seconds nothing more came through (rsync ended with exit status %d: %s). What has come is "
                               "kept; run again when the link is better." % (host, timeout, status, why), unreachable=True)
        time.sleep(PAUSE_SECONDS)


def parts(archive, index, missing):
    """Yield the missing blocks packed into files, as paths that live until the next one; one round of them at most.

    Each begins with a line of JSON that names its blocks: [[path, first, count], …]. The first has one block, and how long each took to be sent decides on
    the size of the next.
    """
    block = index["block_bytes"]
    sizes = {entry["path"]: entry["size"] for entry in index["parsed"]["files"]}
    offsets = {entry["path"]: entry["offset"] for entry in index["files"]}
    # A device may ask for anything; what the release does not have is not even counted.
    waiting = sorted({(path, number) for path in set(missing) & set(sizes) for first, count in missing[path]
                      for number in range(max(0, first), min(first + count, -(-sizes[path] // block)))})
    del waiting[max(1, ROUND_BYTES // block):]
    count = most = 0
    with open(archive, "rb") as stream, tempfile.TemporaryDirectory(prefix="tfleet-parts-") as folder:
        while waiting:
            most = max(1, min(most, PART_BYTES // block))
            packet, waiting = waiting[:most], waiting[most:]
            name = os.path.join(folder, "part-%04d" % count)
            with open(name, "wb") as part:
                named = [[path, first, length] for path, blocks in itertools.groupby(packet, operator.itemgetter(0))
                         for first, length in release_index.runs([number for _path, number in blocks])]
                part.write(json.dumps(named).encode("utf-8") + b"\n")
                for path, number in packet:
                    stream.seek(offsets[path] + number * block)
                    part.write(stream.read(min(sizes[path] - number * block, block)))
            begin = time.time()
            yield name
            took = time.time() - begin
            count, most = count + 1, most * 2 if took < PART_SECONDS / 2 else most // 2 if took > PART_SECONDS * 2 else most
            os.unlink(name)
