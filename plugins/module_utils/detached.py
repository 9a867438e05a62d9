# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Work that outlives the module which began it: a process of its own, found again through a folder by the next module run, or by a shell command.

Ansible's own ``async`` would start the interpreter twice more, bring the module over five connections instead of one, and ask for the end by another module.

    <folder>/lock           held by the process as long as it lives; the kernel lets go of it however the process ended
    <folder>/request.json   what it was asked
    <folder>/progress.json  how far it is, written by the work itself
    <folder>/result.json    what came of it: {"answer": …} or {"failure": {"msg", …}}
"""
import errno
import fcntl
import glob
import json
import os
import shlex
import shutil
import stat
import time

from ansible_collections.tfleet.serving.plugins.module_utils.durable import canonical_json, write_atomically
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError

POLL_SECONDS = 0.2
# Exit code of the command that waits, if its time was up.
LATE = 75
# The kernel and util-linux alone: nothing looks again and again, and a process that is killed lets go of its lock too.
_WAIT = "flock --shared --timeout %d --conflict-exit-code %d %s cat %s; code=$?; rm -rf %s; exit $code"


class Detached(object):
    """The work that belongs to ``folder``, whether it runs, has ended, or was never begun."""

    def __init__(self, folder):
        self.folder = folder

    def exists(self):
        """Whether anything is known of such work."""
        return os.path.isdir(self.folder)

    def running(self):
        """Whether its process lives."""
        try:
            descriptor = os.open(self._path("lock"), os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            return True
        finally:
            os.close(descriptor)
        return False

    def request(self):
        """What it was asked, None if nothing is known."""
        return self._read("request.json")

    def progress(self):
        """How far it is, ``{}`` if it has not said."""
        return self._read("progress.json") or {}

    def progress_path(self):
        """Where the work is to write it."""
        return self._path("progress.json")

    def result(self):
        """What came of it, None if it has not ended by itself."""
        return self._read("result.json")

    def forget(self):
        """Remove the folder of work that has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, request, work, mode=0o755):
        """Begin ``work()``, which returns a dict or raises ModuleError, in a process that nothing of this one holds on to.

        :param mode: of the folder, which is made anew.
        """
        self.forget()
        os.makedirs(self.folder, mode)
        write_atomically(self._path("request.json"), canonical_json(request))
        descriptor = os.open(self._path("lock"), os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        first = os.fork()
        if first:
            # The lock belongs to the child now: it is let go when the last copy of the descriptor closes.
            os.close(descriptor)
            os.waitpid(first, 0)
            return
        self._leave(work)

    def _leave(self, work):
        """Become a daemon (Ansible waits for whatever holds its pipes), do the work, write the result, end."""
        try:
            os.setsid()
            if os.fork():
                os._exit(0)
            null = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(null, number)
            os.chdir("/")
            try:
                result = {"answer": work()}
            except ModuleError as failure:
                result = {"failure": dict(failure.result, msg=str(failure))}
            except (Exception, SystemExit) as error:  # noqa: BLE001 - nobody else would ever hear of it
                result = {"failure": {"msg": "%s: %s. This is a fault of tfleet: report it." % (type(error).__name__, error)}}
            # Not canonical: a message may hold half a character, and a measurement be no number. In a line of its own, whatever a terminal puts around it.
            write_atomically(self._path("result.json"), b"\n%s\n" % json.dumps(result).encode("ascii"))
        finally:
            os._exit(0)

    def forget_old(self, seconds):
        """Remove what this user's earlier works of the same prefix left beside this folder, whose end is so long ago that nobody will ask."""
        for folder in glob.glob(glob.escape(self.folder.rpartition("-")[0]) + "-*"):
            other = Detached(folder)
            try:
                status = os.lstat(folder)
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and status.st_mtime < time.time() - seconds and not other.running():
                other.forget()

    def wait(self, seconds):
        """Wait for its end for at most so long; whether it ended."""
        end = time.time() + seconds
        while self.running():
            if time.time() >= end:
                return False
            time.sleep(min(POLL_SECONDS, max(0.0, end - time.time())))
        return True

    def wait_command(self, seconds):
        """Return the shell command that waits for its end for at most so long, prints the result and forgets the work; its exit code is LATE if it goes on."""
        return _WAIT % ((max(1, round(seconds)), LATE) + tuple(map(shlex.quote, (self._path("lock"), self._path("result.json"), self.folder))))

    def _path(self, name):
        return os.path.join(self.folder, name)

    def _read(self, name):
        try:
            with open(self._path(name), encoding="utf-8") as stream:
                return json.load(stream)
        except (OSError, ValueError):
            return None
