# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The controller's side of a swarm: one seeding process for all hosts of a play, and who is a peer of whom.

    <archive>.swarm/          a file for each of Ansible's processes that waits for a host
    <archive>.swarm.json      what the seeding process says of itself
    <archive>.swarm.lock      held by it as long as it lives
    <archive>.swarm.peers     the addresses and sites of the play's hosts, resolved once
"""
import base64
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time

from ansible_collections.tfleet.serving.plugins.module_utils import swarm_peer
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.release_archive import open_release
from ansible_collections.tfleet.serving.plugins.module_utils.torrent import metainfo
from ansible_collections.tfleet.serving.plugins.plugin_utils.release_sending import locked, tree

# So many others are enough for everyone to have all pieces near, and few enough for a small device.
MOST_PEERS = 40
START_SECONDS = 60


class SwarmControlError(ModuleError):
    """The controller cannot seed."""


def has_libtorrent():
    """Whether the Python that runs Ansible has libtorrent."""
    return importlib.util.find_spec("libtorrent") is not None


def addresses(archive, names, lookup):
    """Return [[host, address, site]] of the play's hosts; the first process resolves them for all others.

    :param names: inventory names.
    :param lookup: function from a name to (address or host name, site).
    """
    digest = hashlib.sha256("\n".join(names).encode("utf-8")).hexdigest()
    path = archive + ".swarm.peers"
    with locked(archive + ".lock"):
        with contextlib.suppress(OSError, ValueError), open(path) as stream:
            found = json.load(stream)
            # Hosts keep their addresses for the time of a play, not for ever.
            if found["of"] == digest and time.time() - os.stat(path).st_mtime < 900:
                return found["hosts"]
        hosts = []
        for name in names:
            address, site = lookup(name)
            with contextlib.suppress(OSError, UnicodeError):
                hosts.append([name, socket.getaddrinfo(address, None, 0, socket.SOCK_STREAM)[0][4][0], site])
        with open(path, "w") as stream:
            json.dump({"of": digest, "hosts": hosts}, stream)
        return hosts


def own_address(towards):
    """Return the address from which this machine speaks to ``towards``; no packet is sent."""
    with socket.socket(socket.AF_INET6 if ":" in towards else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((towards, 9))
        return probe.getsockname()[0]


def peers_of(name, hosts, port):
    """Return (peers, late peers) of a host: its neighbours at the site at once, the others later.

    One host of each site has no neighbours to wait for: through it the release enters the site.
    """
    own = [host for host in hosts if host[0] == name]
    site = own[0][2] if own else ""
    start = [host[0] for host in hosts].index(name) if own else 0
    # Everyone begins with who follows in the inventory, so that not all call the same few.
    others = hosts[start + 1:] + hosts[:start]
    near = [host for host in others if host[2] == site][:MOST_PEERS]
    far = [host for host in others if host[2] != site][:max(4, MOST_PEERS - len(near))]
    door = name == min(host[0] for host in hosts if host[2] == site) if own else True
    near, far = [[host[1], port] for host in near], [[host[1], port] for host in far]
    return (near + far, []) if door else (near, far)


@contextlib.contextmanager
def seeding(archive, hosts, port, rate, encryption):
    """Have the controller's peer run while the block does; yields (metainfo as base64, its port).

    :raises SwarmControlError: it does not start.
    """
    folder = archive + ".swarm"
    source = tree(archive)
    with locked(archive + ".lock"):
        os.makedirs(folder, exist_ok=True)
        own = os.path.join(folder, "%d-%f" % (os.getpid(), time.time()))
        with open(own, "w"):
            pass
        try:
            info = _metainfo(archive)
            if not _alive(folder + ".lock"):
                _start(archive, folder, info, source, hosts, port, rate, encryption)
            state = _state(folder)
        except BaseException:
            os.unlink(own)
            raise
    try:
        yield info, state["port"]
    finally:
        os.unlink(own)


def _metainfo(archive):
    path = archive + ".torrent"
    if not os.path.exists(path) or os.stat(path).st_mtime_ns < os.stat(archive).st_mtime_ns:
        release = open_release(archive)
        try:
            content = metainfo(release)
        finally:
            release.close()
        with open(path + ".tmp", "wb") as stream:
            stream.write(content)
        os.rename(path + ".tmp", path)
    with open(path, "rb") as stream:
        return base64.b64encode(stream.read()).decode("ascii")


def _start(archive, folder, info, source, hosts, port, rate, encryption):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(folder + ".json")
    allowed = [host[1] for host in hosts]
    request = {"metainfo": info, "save_path": os.path.dirname(source), "port": port, "peers": [[address, port] for address in allowed[:MOST_PEERS]],
               "late_peers": [], "allowed": allowed, "rate": rate, "encryption": encryption, "timeout": 3600, "watch": folder}
    process = subprocess.Popen([sys.executable, swarm_peer.__file__], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               cwd="/", start_new_session=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps(request).encode("utf-8") + b"\n")
    process.stdin.close()
    end = time.time() + START_SECONDS
    while not _state(folder, wait=False):
        if process.poll() is not None or time.time() > end:
            process.kill()
            raise SwarmControlError("The controller's peer of the swarm did not start for %s (exit status %s)." % (archive, process.poll()))
        time.sleep(0.1)


def _state(folder, wait=True):
    end = time.time() + (START_SECONDS if wait else 0)
    while True:
        with contextlib.suppress(OSError, ValueError), open(folder + ".json") as stream:
            state = json.load(stream)
            if state.get("why"):
                raise SwarmControlError("The controller cannot seed: %s." % state["why"])
            if "port" in state:
                return state
        if time.time() >= end:
            return None
        time.sleep(0.1)


def _alive(lock):
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
