"""Releases on bad roads: every fault on real hosts, and in the end every host has the release, whole, with little sent twice."""

import base64
import contextlib
import json
import os
import signal
import subprocess
import time

import pytest

from tests.bench.transport import lab

SIZE = 17000000


def result(folder, host="tfleet-fault-1"):
    return json.loads((folder / ("result-%s.json" % host)).read_text())


def staged_bytes(host):
    """Bytes of the weights that are on a host's way; blocks of a file may come in any order, so the disk's blocks count."""
    done = subprocess.run(["docker", "exec", host, "sh", "-c", "du -sk /srv/models/weights/.staging 2>/dev/null | cut -f1"], stdout=subprocess.PIPE, check=True)
    return int(done.stdout or 0) * 1024


def wait_for(condition, seconds=180):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end
        time.sleep(0.1)


def assert_whole(hosts, version):
    """What model_version has put in place is what was built."""
    for host in hosts:
        lab.docker("exec", host, "cmp", "/releases/tree/%d/weights" % version, "/srv/models/weights/%d/weights" % version)


def assert_nobody_is_left(hosts):
    for host in hosts.hosts:
        assert "tfleet-peer" not in lab.docker("exec", host, "ps", "-eo", "args")
    wait_for(lambda: subprocess.run(["pgrep", "-f", "swarm_peer.py"], stdout=subprocess.DEVNULL, check=False).returncode == 1)


@contextlib.contextmanager
def rule(hosts, host, *words):
    """A rule of the firewall of one host while the block runs."""
    enter = ["nsenter", "-t", str(hosts.process(host)), "-n", "iptables"]
    lab.run(*enter, "-I", "INPUT", *words)
    try:
        yield
    finally:
        lab.run(*enter, "-D", "INPUT", *words)


@pytest.mark.parametrize("user", ["root", "deploy"])
def test_rsync_as_root_and_by_sudo_sends_the_difference(fault, hosts, folder, play, user):
    mine = fault("none, user %s" % user, "push by rsync")
    become = ["-e", "ansible_user=deploy", "-e", "ansible_become=true"] if user == "deploy" else []
    play(1, "push", *become, limit="tfleet-fault-1")
    play(2, "push", *become, limit="tfleet-fault-1")
    assert_whole(["tfleet-fault-1"], 2)
    assert result(folder)["bytes_sent"] < 300000
    mine.runs, mine.note = 1, "the update of 0.1 MB sent %d bytes" % result(folder)["bytes_sent"]


def test_without_rsync_packed_copies_do_it_and_a_killed_run_is_not_lost(fault, hosts, folder, play, start):
    mine = fault("kill -9 of the controller", "push by copies, by sudo")
    sudo = ["-e", "ansible_user=deploy", "-e", "ansible_become=true"]
    lab.docker("exec", "tfleet-fault-1", "mv", "/usr/bin/rsync", "/usr/bin/rsync.away")
    try:
        process = start(1, "push", *sudo, limit="tfleet-fault-1")
        wait_for(lambda: staged_bytes("tfleet-fault-1") > 6000000)
        kill_tree(process)
        play(1, "push", *sudo, limit="tfleet-fault-1")
        assert_whole(["tfleet-fault-1"], 1)
        assert result(folder)["bytes_reused"] > 4000000
        play(2, "push", *sudo, limit="tfleet-fault-1")
        assert_whole(["tfleet-fault-1"], 2)
        assert result(folder)["bytes_sent"] < 1000000
    finally:
        lab.docker("exec", "tfleet-fault-1", "mv", "/usr/bin/rsync.away", "/usr/bin/rsync")
    mine.runs, mine.note = 1, "the next run used %d bytes of the killed one" % result(folder)["bytes_reused"]


def kill_tree(process):
    """End a playbook with all of its processes, as a lost controller does."""
    children = subprocess.run(["pgrep", "-P", str(process.pid)], stdout=subprocess.PIPE, check=False).stdout.split()
    process.kill()
    process.wait()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)


def test_a_link_that_is_cut_and_restored_costs_the_time_it_was_cut(fault, hosts, folder, start):
    mine = fault("link cut for 8 s", "push by rsync")
    process = start(1, "push", limit="tfleet-fault-1")
    wait_for(lambda: staged_bytes("tfleet-fault-1") > 4000000)
    with rule(hosts, "tfleet-fault-1", "-p", "tcp", "-j", "DROP"):
        time.sleep(8)
    out = process.communicate(timeout=120)[0]
    assert process.returncode == 0, out[-3000:]
    assert_whole(["tfleet-fault-1"], 1)
    assert result(folder)["bytes_sent"] < 1.2 * SIZE
    mine.runs, mine.note = 1, "%d bytes sent for %d" % (result(folder)["bytes_sent"], SIZE)


def test_a_swarm_survives_lost_packets_and_leaves_nobody_behind(fault, hosts, folder, play):
    mine = fault("2 % of all packets lost at every host", "swarm")
    with contextlib.ExitStack() as stack:
        for host in hosts.hosts:
            stack.enter_context(rule(hosts, host, "-m", "statistic", "--mode", "random", "--probability", "0.02", "-j", "DROP"))
        play(1, "swarm")
    assert_whole(hosts.hosts, 1)
    assert_nobody_is_left(hosts)
    mine.runs, mine.note = len(hosts.hosts), "all whole"


def test_a_device_that_dies_in_the_swarm_goes_on_where_it_was(fault, hosts, folder, start, play):
    mine = fault("device killed and started again", "swarm")
    process = start(1, "swarm")
    wait_for(lambda: staged_bytes("tfleet-fault-2") > 5000000)
    lab.docker("kill", "tfleet-fault-2")
    out = process.communicate(timeout=240)[0]
    assert process.returncode != 0, out[-2000:]
    assert_whole([host for host in hosts.hosts if host != "tfleet-fault-2"], 1)
    lab.docker("start", "tfleet-fault-2")
    hosts._answering()
    play(1, "swarm")
    assert_whole(hosts.hosts, 1)
    assert result(folder, "tfleet-fault-2")["bytes_reused"] > 2000000
    mine.runs, mine.note = 1, "used %d bytes of before" % result(folder, "tfleet-fault-2")["bytes_reused"]


def test_a_killed_controller_leaves_no_peer_behind(fault, hosts, folder, start, play):
    mine = fault("kill -9 of the controller", "swarm")
    process = start(1, "swarm")
    wait_for(lambda: staged_bytes("tfleet-fault-1") > 4000000)
    kill_tree(process)
    wait_for(lambda: "tfleet-peer" not in lab.docker("exec", "tfleet-fault-1", "ps", "-eo", "args"))
    play(1, "swarm")
    assert_whole(hosts.hosts, 1)
    assert_nobody_is_left(hosts)
    mine.runs, mine.note = 1, "the peers ended by themselves, and the next run went on"


def test_a_stranger_gets_nothing(fault, hosts, folder, start):
    """A host that is not of the play, with the torrent in its hands, on the same network."""
    mine = fault("a stranger on the network", "swarm")
    stranger = "tfleet-fault-4"
    process = start(1, "swarm", limit="all:!" + stranger)
    wait_for(lambda: staged_bytes("tfleet-fault-1") > 1000000)
    request = {"metainfo": base64.b64encode((folder / "weights-1.tar.torrent").read_bytes()).decode(), "save_path": "/srv", "port": 6881, "late_peers": [],
               "peers": [[address, 6881] for name, address in hosts.hosts.items() if name != stranger] + [[hosts.gateway, 6881]],
               "allowed": [*hosts.hosts.values(), hosts.gateway], "rate": 0, "encryption": False, "timeout": 4, "seconds": None, "watch": None}
    with open("plugins/module_utils/swarm_peer.py", "rb") as program:
        subprocess.run(["docker", "exec", "-i", stranger, "tee", "/tmp/peer.py"], stdin=program, stdout=subprocess.DEVNULL, check=True)
    done = subprocess.Popen(["docker", "exec", "-i", stranger, "python3", "/tmp/peer.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    done.stdin.write(json.dumps(request).encode() + b"\n")
    done.stdin.flush()
    last = json.loads(done.stdout.read().splitlines()[-1])
    done.stdin.close()
    done.stdout.close()
    done.wait()
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert (last["done"], last["received"]) == (False, 0)
    mine.runs, mine.note = 1, "no byte for it"


def test_a_host_without_libtorrent_gets_it_all_the_same(fault, hosts, folder, play):
    mine = fault("no libtorrent on one device", "auto")
    lab.docker("exec", "tfleet-fault-3", "sh", "-c", "mv /usr/lib/python3/dist-packages/libtorrent* /root/")
    try:
        play(1, "auto")
    finally:
        lab.docker("exec", "tfleet-fault-3", "sh", "-c", "mv /root/libtorrent* /usr/lib/python3/dist-packages/")
    assert_whole(hosts.hosts, 1)
    assert result(folder, "tfleet-fault-1")["transport"] == "swarm"
    other = result(folder, "tfleet-fault-3")
    assert other["transport"] == "push"
    assert "No Python of this host has libtorrent" in other["reason"]
    mine.runs, mine.note = 1, "it came by push, and says why"
