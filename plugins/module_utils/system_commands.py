# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Commands of the system that are asked for something and cannot be trusted to end.

``tegrastats`` runs for ever, ``nvpmodel`` may ask a question, a driver's tool may hang in the kernel: every command has no input and no terminal
(so nothing asks for a password), a limit in time and one in what it may say, and its whole process group is ended afterwards.
"""
import collections
import os
import selectors
import signal
import subprocess
import time

from ansible_collections.tfleet.serving.plugins.module_utils.runtime import child_environment, find_command

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
        ended then, and that is not ``timed_out``.
        """
        found = self.find(name)
        if found is None:
            return None
        # A stand-in for a command, and a wrapper, must find its own helpers where the command was found.
        environment = child_environment(os.environ, {"PATH": os.pathsep.join(self.path + [os.environ.get("PATH", os.defpath)])})
        try:
            process = subprocess.Popen([found] + list(args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       env=environment, start_new_session=True)
        except OSError as error:
            return Answer(None, "", "%s cannot be started: %s" % (found, error.strerror), False)
        try:
            texts, complete = self._listen(process, options.get("first_line", False))
            status = _status(process) if complete else None
        finally:
            _end(process)
        stdout, stderr = (text.decode("utf-8", "replace") for text in texts)
        return Answer(status, stdout, stderr, not complete and not (options.get("first_line") and "\n" in stdout.lstrip()))

    def _listen(self, process, first_line):
        """Read both outputs; say whether the command closed them itself."""
        deadline = time.monotonic() + self.timeout
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


def _status(process):
    # Its outputs are closed: it is about to end, or it never will.
    try:
        return process.wait(timeout=1)
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
