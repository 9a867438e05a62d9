"""Runs that are ended in the middle: wait until one says something, then send a signal to it and to all that it started."""

import contextlib
import os
import pathlib
import signal


def wait_until_said(process, words):
    """Read what a process prints until a line of it holds these words; returns that line."""
    said = []
    for line in process.stdout:
        said.append(line)
        if words in line:
            return line
    raise AssertionError("the run never said %r: %s" % (words, "".join(said)[-4000:]))


def kill_tree(pid, number=signal.SIGKILL):
    """Send a signal to a process and its descendants, the youngest first; who left the tree, as a server in the background does, is none of them."""
    # Held first: a process that is started meanwhile would outlive its parent.
    held = []
    while set(_tree(pid)) - set(held):
        new = [one for one in _tree(pid) if one not in held]
        _send(new, signal.SIGSTOP)
        held += new
    _send(reversed(held), number)
    _send(held, signal.SIGCONT)


def _send(pids, number):
    for one in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, number)


def _tree(pid):
    children = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found
