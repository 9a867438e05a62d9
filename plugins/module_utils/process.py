# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A background process without a service manager: started detached, recorded, found again, stopped; never mistaken for another.

``<pid_file>`` holds the number for people and their scripts. ``<pid_file>.json`` holds what the process was started with and
what tells it from a later process with the same number: its start time and the kernel's boot id.
"""
import collections
import contextlib
import json
import os
import signal
import subprocess
import time

from ansible_collections.tfleet.serving.plugins.module_utils import listeners as ports_of
from ansible_collections.tfleet.serving.plugins.module_utils.durable import canonical_json, write_atomically
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError

POLL_SECONDS = 0.05
KILL_SECONDS = 10
# A process without ports to wait for counts as started when it has lived so long.
SETTLE_SECONDS = 0.5
LOG_LINES = 20

Status = collections.namedtuple("Status", "state session start_time")
Record = collections.namedtuple("Record", "pid start_time boot_id argv env")


class ProcessError(ModuleError):
    """The process cannot be started, found or stopped."""


class BackgroundProcess:
    """The process that belongs to one pid file.

    :param pid_file: absolute path; its directory must exist when the process is started.
    """

    def __init__(self, pid_file):
        self.pid_file = pid_file
        self.record_file = pid_file + ".json"

    def files_exist(self):
        """Say whether the pid file or the record is there, of a process that lives or not."""
        return os.path.lexists(self.pid_file) or os.path.lexists(self.record_file)

    def running(self):
        """Return the Record of the process if it is alive, else None.

        :raises ProcessError: there is a pid file of somebody else with a living process, or a record that cannot be read.
        """
        record = self._read()
        if record is None:
            self._refuse_foreign()
            return None
        status = status_of(record.pid)
        if status is None or status.start_time != record.start_time or record.boot_id != boot_id():
            return None
        return record

    def start(self, argv, env, log_file):
        """Start ``argv`` detached from this process, its output appended to ``log_file``; return the subprocess.Popen.

        The child writes its own record before it becomes ``argv``, so that it can be found even if this process is killed.

        :raises ProcessError: the log cannot be written or the command cannot be executed.
        """
        for path in (self.pid_file, log_file):
            if not os.path.isdir(os.path.dirname(path)):
                raise ProcessError("The directory of %s does not exist. Create it first." % path)
        environment = dict(os.environ)
        environment.update(env)
        try:
            with open(log_file, "ab") as log:
                return subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd="/", start_new_session=True,
                    preexec_fn=lambda: self._record(argv, env))  # noqa: PLW1509 - a module has one thread
        except (OSError, subprocess.SubprocessError) as error:
            self.forget()
            raise ProcessError("%s could not be started: %s. Check that its interpreter is there, and that %s and %s can be written."
                               % (argv[0], error, log_file, self.pid_file)) from error

    def wait_until_listening(self, record, ports, timeout, popen=None):
        """Wait until the process listens on all ``ports``.

        :param popen: what start() returned, None for a process of an earlier run.
        :returns: None if it does, else how it ended: "exit status 1", "signal SIGKILL" or "an unknown status".
        :raises ProcessError: it is alive but does not listen after ``timeout`` seconds; it is left alone.
        """
        begin = time.time()
        while True:
            if popen is not None and popen.poll() is not None:
                return _ending(popen.returncode)
            if self.running() is None:
                return "an unknown status"
            missing = sorted(set(ports) - _listening(record.pid, ports))
            if not missing and (ports or time.time() - begin >= SETTLE_SECONDS):
                return None
            if time.time() - begin >= timeout:
                raise ProcessError("Process %d (%s) is alive but does not listen on port %s after %d seconds. It was left running: look at its "
                                   "log, and raise start_timeout if it only needs longer to load its models."
                                   % (record.pid, record.argv[0], ", ".join(map(str, missing)), timeout), pid=record.pid)
            time.sleep(POLL_SECONDS)

    def stop(self, record, timeout):
        """End the process: ask it, wait ``timeout`` seconds, then kill it and all it started; forget it.

        :returns: True if it went when asked.
        :raises ProcessError: it belongs to somebody else, or survives even that.
        """
        self._signal(record, signal.SIGTERM)
        asked = self._wait_gone(timeout)
        if not asked:
            self._signal(record, signal.SIGKILL)
            if not self._wait_gone(KILL_SECONDS):
                raise ProcessError("Process %d (%s) does not end, not even when killed: it hangs in the kernel, mostly on a disk or a device. "
                                   "Look at `dmesg`; a reboot ends it." % (record.pid, record.argv[0]), pid=record.pid)
        for pid in _session(record.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.forget()
        return asked

    def forget(self):
        """Remove pid file and record."""
        for path in (self.pid_file, self.record_file):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def write_pid_file(self, pid):
        """Write the pid file."""
        write_atomically(self.pid_file, b"%d\n" % pid)

    def pid_file_is(self, pid):
        """Say whether the pid file holds ``pid``."""
        return self._pid_in_file() == pid

    def _record(self, argv, env):
        pid = os.getpid()
        record = Record(pid, status_of(pid).start_time, boot_id(), argv, env)
        # The environment may hold secrets.
        write_atomically(self.record_file, canonical_json(dict(record._asdict())), mode=0o600)
        self.write_pid_file(pid)

    def _read(self):
        try:
            with open(self.record_file, "rb") as stream:
                record = Record(**json.loads(stream.read().decode("utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ProcessError("%s cannot be read: %s. End the process in %s by hand if it is alive, and remove both files."
                               % (self.record_file, error, self.pid_file)) from error
        return record

    def _pid_in_file(self):
        with contextlib.suppress(OSError, ValueError), open(self.pid_file) as stream:
            return int(stream.read().strip())
        return None

    def _refuse_foreign(self):
        pid = self._pid_in_file()
        if pid is not None and status_of(pid) is not None:
            raise ProcessError("%s names process %d (%s), which was not started by this module, so it is not touched. End it by hand and remove "
                               "the file, or name another pid_file." % (self.pid_file, pid, ports_of.command_of(pid)), pid=pid)

    def _signal(self, record, number):
        # Looked at again right before: the number may have got a new owner since.
        if self.running() is None:
            return
        try:
            os.kill(record.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError as error:
            raise ProcessError("Process %d (%s) belongs to another user, so it cannot be stopped. Run with become, as the user that started it."
                               % (record.pid, record.argv[0]), pid=record.pid) from error

    def _wait_gone(self, timeout):
        end = time.time() + timeout
        while self.running() is not None:
            if time.time() >= end:
                return False
            time.sleep(POLL_SECONDS)
        return True


def status_of(pid):
    """Return the Status of a process, or None if there is none or it is only waiting to be reaped."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as stream:
            # The command in parentheses may hold spaces and parentheses itself.
            fields = stream.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    status = Status(fields[0].decode("ascii"), int(fields[3]), int(fields[19]))
    return None if status.state in "ZX" else status


def belongs_to(pid, session):
    """Say whether process ``pid`` (None: unknown) is the background process ``session`` or one that it started."""
    status = status_of(pid) if pid is not None else None
    return status is not None and status.session == session


def boot_id():
    """Return what identifies the kernel's run since the last boot: start times count from it."""
    with open("/proc/sys/kernel/random/boot_id") as stream:
        return stream.read().strip()


def log_tail(log_file, offset=0):
    """Return the last lines of a log, of what was written after ``offset``."""
    try:
        with open(log_file, "rb") as stream:
            stream.seek(0, os.SEEK_END)
            # Long lines are rare; 64 KiB hold the last lines and bound the memory.
            stream.seek(max(offset, stream.tell() - 65536))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "\n".join([line for line in lines if line.strip()][-LOG_LINES:])


def _session(session):
    found = []
    for name in os.listdir("/proc"):
        status = status_of(int(name)) if name.isdigit() else None
        if status is not None and status.session == session:
            found.append(int(name))
    return found


def _listening(session, ports):
    """Return those of ``ports`` that a process of the session listens on."""
    return {entry.port for entry in ports_of.listeners(ports) if belongs_to(entry.pid, session)}


def _ending(returncode):
    return "signal %s" % signal.Signals(-returncode).name if returncode < 0 else "exit status %d" % returncode
