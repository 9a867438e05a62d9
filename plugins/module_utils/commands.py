# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Commands of the host's own system: a list of words, no shell, an English locale, and no trust that they end.

``tegrastats`` runs for ever, ``nvpmodel`` may ask a question, a driver's tool may hang in the kernel: every command has no terminal (so nothing asks for
a password), the end of its input where we have no answer, a limit in time and one in what it may say, and its whole process group is ended afterwards.
"""
import collections
import os
import selectors
import signal
import subprocess
import time

from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import child_environment, find_command, last_lines

# `become` keeps the PATH of some users, which has no sbin; swapon and nvpmodel are there.
SBIN = ["/usr/local/sbin", "/usr/sbin", "/sbin"]

# More than any of these commands says; what is longer is cut.
LARGEST_ANSWER = 1024 * 1024

Answer = collections.namedtuple("Answer", "status stdout stderr timed_out")


class Commands(object):
    """Commands of this host, looked up in given directories.

    :param path: list of directories, instead of PATH.
    :param timeout: seconds that one command may take.
    """

    def __init__(self, path, timeout):
        self.path = list(path)
        self.timeout = timeout

    def find(self, name):
        """Return the absolute path of a command, or None."""
        return find_command(name, os.pathsep.join(self.path)) if self.path else None

    def ask(self, name, *args, **options):
        """Run a command and return its Answer, or None if there is no such command.

        ``status`` is None for one that could not be started or was ended by us. With ``first_line=True`` the first whole line is enough: the command is
        ended then, and that is not ``timed_out``. ``answer`` is a short text for its standard input, which is empty otherwise.
        """
        found = self.find(name)
        if found is None:
            return None
        # A stand-in for a command, and a wrapper, must find its own helpers where the command was found.
        environment = child_environment(os.environ, {"PATH": os.pathsep.join(self.path + [os.environ.get("PATH", os.defpath)])})
        try:
            process = subprocess.Popen([found] + list(args), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       env=environment, cwd="/", start_new_session=True)
        except OSError as error:
            return Answer(None, "", "%s cannot be started: %s" % (found, error.strerror), False)
        deadline = time.monotonic() + self.timeout
        try:
            _tell(process, options.get("answer", ""))
            texts, complete = _listen(process, options.get("first_line", False), deadline)
            status = _status(process, deadline) if complete else None
        finally:
            _end(process)
        stdout, stderr = (text.decode("utf-8", "replace") for text in texts)
        return Answer(status, stdout, stderr, status is None and not (options.get("first_line") and "\n" in stdout.lstrip()))


class CommandError(ModuleError):
    """A command is missing, failed or took too long."""


def run(argv, timeout=60, answer=""):
    """Run a command and return its Answer, whatever its exit status.

    :param timeout: seconds; it is killed then.
    :param answer: text for its standard input.
    :raises CommandError: there is no such command, it cannot be started, or the time is up.
    """
    done = Commands(os.environ.get("PATH", os.defpath).split(os.pathsep) + SBIN, timeout).ask(argv[0], *argv[1:], answer=answer)
    if done is None:
        raise CommandError("This host has no command %s. Install what brings it, or check that the role is meant for this host." % argv[0])
    if done.timed_out:
        raise CommandError("`%s` did not end within %d seconds and was killed. Run it by hand on the host to see what it waits for.%s"
                           % (" ".join(argv), timeout, said(done)))
    if done.status is None:
        raise CommandError("`%s` cannot be run. Install what brings it anew.%s" % (" ".join(argv), said(done)))
    return done


def demand(argv, advice, timeout=60):
    """Run a command that must succeed and return what it printed.

    :param advice: the next step, as a sentence, if it fails.
    :raises CommandError: with its last words.
    """
    done = run(argv, timeout)
    if done.status != 0:
        raise CommandError("`%s` failed with exit status %d. %s%s" % (" ".join(argv), done.status, advice, said(done)), rc=done.status)
    return done.stdout


def succeeds(argv, timeout=60):
    """Say whether a command exists and ends with exit status 0."""
    try:
        return run(argv, timeout).status == 0
    except CommandError:
        return False


def said(answer):
    """What a command wrote last, as the end of a message; empty if it was silent."""
    text = last_lines(answer.stderr) or last_lines(answer.stdout)
    return " It said:\n%s" % text if text else ""


def _tell(process, text):
    """Give a command its answers and the end of its input; one that ended without reading them is not our failure."""
    try:
        with process.stdin:
            process.stdin.write(text.encode("utf-8"))
    except BrokenPipeError:
        pass


def _listen(process, first_line, deadline):
    """Read both outputs; say whether the command closed them itself."""
    texts = [b"", b""]
    with selectors.DefaultSelector() as selector:
        for index, stream in enumerate((process.stdout, process.stderr)):
            selector.register(stream, selectors.EVENT_READ, index)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0 or (first_line and b"\n" in texts[0].lstrip()):
                return texts, False
            for key, _events in selector.select(left):
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    selector.unregister(key.fileobj)
                texts[key.data] = (texts[key.data] + chunk)[:LARGEST_ANSWER]
    return texts, True


def _status(process, deadline):
    # Its outputs are closed: it is about to end, or it works on in silence.
    try:
        return process.wait(timeout=max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        return None


def _end(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        pass
    process.stdout.close()
    process.stderr.close()
    try:
        # One that hangs in the kernel cannot be waited for; it is no longer ours.
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        pass
