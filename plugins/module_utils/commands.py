# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Commands of the host's own system: a list of words, no shell, an English locale, a time limit, and never our standard input.

A command that asks a question gets its answer as ``answer``, or the end of its input: nothing ever waits for a person.
"""
import collections
import os
import subprocess

from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import child_environment, find_command, last_lines

# `become` keeps the PATH of some users, which has no sbin; swapon and nvpmodel are there.
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"

Answer = collections.namedtuple("Answer", "rc out err")


class CommandError(ModuleError):
    """A command is missing, failed or took too long."""


def run(argv, timeout=60, answer=None):
    """Run a command and return its Answer, whatever its exit status.

    :param timeout: seconds; it is killed then.
    :param answer: text for its standard input.
    :raises CommandError: there is no such command, or the time is up.
    """
    environment = child_environment(os.environ, {"PATH": "%s:%s" % (os.environ.get("PATH", "/usr/bin:/bin"), SBIN)})
    command = find_command(argv[0], environment["PATH"])
    if command is None:
        raise CommandError("This host has no command %s. Install what brings it, or check that the role is meant for this host." % argv[0])
    process = subprocess.Popen([command] + list(argv[1:]), stdin=subprocess.DEVNULL if answer is None else subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd="/")
    try:
        out, err = process.communicate(None if answer is None else answer.encode("utf-8"), timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise CommandError("`%s` did not end within %d seconds and was killed. Run it by hand on the host to see what it waits for.%s"
                           % (" ".join(argv), timeout, said(Answer(None, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")))))
    return Answer(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


def demand(argv, advice, timeout=60):
    """Run a command that must succeed and return what it printed.

    :param advice: the next step, as a sentence, if it fails.
    :raises CommandError: with its last words.
    """
    done = run(argv, timeout)
    if done.rc != 0:
        raise CommandError("`%s` failed with exit status %d. %s%s" % (" ".join(argv), done.rc, advice, said(done)), rc=done.rc)
    return done.out


def succeeds(argv, timeout=60):
    """Say whether a command exists and ends with exit status 0."""
    try:
        return run(argv, timeout).rc == 0
    except CommandError:
        return False


def said(answer):
    """What a command wrote last, as the end of a message; empty if it was silent."""
    text = last_lines(answer.err) or last_lines(answer.out)
    return " It said:\n%s" % text if text else ""
