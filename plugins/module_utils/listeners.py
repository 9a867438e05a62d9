# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Who listens on which TCP port of this host, from /proc alone."""
import collections
import contextlib
import os
import typing

LISTEN = "0A"

# pid and command are None where this user may not look into the process.
Listener = collections.namedtuple("Listener", "port inode uid pid command")


def listeners(ports):
    """Return a Listener for every socket that listens on one of ``ports``, on any address."""
    sockets = [entry for name in ("/proc/net/tcp", "/proc/net/tcp6") for entry in _sockets(name) if entry[0] in ports]
    owners = _owners({inode for _port, inode, _uid in sockets}) if sockets else {}
    return [Listener(port, inode, uid, owners.get(inode), command_of(owners.get(inode))) for port, inode, uid in sockets]


def command_of(pid):
    """Return the command line of a process as one string, or None if it has none that can be read."""
    with contextlib.suppress(OSError), open("/proc/%s/cmdline" % pid, "rb") as stream:
        return stream.read().replace(b"\0", b" ").decode("utf-8", "replace").strip() or None
    return None


def sentence(listener):
    """Return who has a port and what to do, as a sentence."""
    if listener.pid is None:
        return ("Port %d is taken by a process of user %d that this user may not look into. Find it with `ss -ltnp` as root and end it, or "
                "give the server another port." % (listener.port, listener.uid))
    return "Port %d is taken by process %d (%s). End it, or give the server another port." % (listener.port, listener.pid, listener.command)


def _sockets(path):
    with contextlib.suppress(FileNotFoundError), open(path) as table:
        next(table, None)
        for line in table:
            fields = line.split()
            if fields[3] == LISTEN:
                yield int(fields[1].rsplit(":", 1)[1], 16), int(fields[9]), int(fields[7])


def _owners(inodes):
    names = {"socket:[%d]" % inode: inode for inode in inodes}
    owners: typing.Dict[int, int] = {}
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        # A process may end, or belong to somebody else, while this looks.
        with contextlib.suppress(OSError):
            for descriptor in os.listdir("/proc/%s/fd" % pid):
                with contextlib.suppress(OSError):
                    inode = names.get(os.readlink("/proc/%s/fd/%s" % (pid, descriptor)))
                    if inode is not None:
                        # The parent that opened the socket has the lower number, as a rule.
                        owners[inode] = min(int(pid), owners.get(inode, int(pid)))
    return owners
