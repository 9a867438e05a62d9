"""How the tests look at their hosts, and what they do to them and to their links."""

import contextlib
import json
import os
import signal
import subprocess
import time

from tests.bench.transport import lab

SIZE = 17000000
# More than one block, and two files of this size.
SMALL_SIZE = 600000
# A host of its own for each fault of a run.
HOST = ["tfleet-fault-%d" % number for number in (1, 2, 3, 4)]


def each(**values):
    """A variable that is another one on each host."""
    return {"%s_of" % name: dict(zip(HOST, found)) for name, found in values.items()} | {
        name: "{{ %s_of[inventory_hostname] }}" % name for name in values}


def result(folder, host=HOST[0]):
    """What the playbook says of a host."""
    return json.loads((folder / ("result-%s.json" % host)).read_text())


def staged_bytes(host):
    """Bytes of the weights that are on a host's way; blocks of a file may come in any order, so the disk's blocks count."""
    done = subprocess.run(["docker", "exec", host, "sh", "-c", "du -sk /srv/models/weights/.staging 2>/dev/null | cut -f1"], stdout=subprocess.PIPE, check=True)
    return int(done.stdout or 0) * 1024


def wait_for(condition, seconds=180):
    """Look again and again until it is so."""
    end = time.time() + seconds
    while not condition():
        assert time.time() < end
        time.sleep(0.1)


def assert_whole(hosts, version):
    """What model_version has put in place is what was built."""
    for host in hosts:
        lab.docker("exec", host, "cmp", "/releases/tree/%d/weights" % version, "/srv/models/weights/%d/weights" % version)


def visible(host, model="weights"):
    """What a server on the host sees of a model."""
    return lab.docker("exec", host, "sh", "-c", "ls /srv/models/%s 2>/dev/null || true" % model).split()


@contextlib.contextmanager
def rule(hosts, host, *words):
    """A rule of the firewall of one host while the block runs."""
    enter = ["nsenter", "-t", str(hosts.process(host)), "-n", "iptables"]
    lab.run(*enter, "-I", "INPUT", *words)
    try:
        yield
    finally:
        lab.run(*enter, "-D", "INPUT", *words)


def kill_tree(process):
    """End a playbook with all of its processes, as a lost controller does."""
    children = subprocess.run(["pgrep", "-P", str(process.pid)], stdout=subprocess.PIPE, check=False).stdout.split()
    process.kill()
    process.wait()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)
