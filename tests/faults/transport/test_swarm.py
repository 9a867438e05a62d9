"""Releases by a swarm in which something goes wrong: in the end every host has the release, whole, and nobody is left behind."""

import base64
import contextlib
import json
import pathlib
import subprocess

from tests.bench.transport import lab
from tests.faults.transport.roads import HOST, assert_whole, kill_tree, result, rule, staged_bytes, wait_for

PROGRAM = pathlib.Path("plugins/module_utils/swarm_peer.py").resolve()


def assert_nobody_is_left(hosts):
    for host in hosts.hosts:
        assert "tfleet-peer" not in lab.docker("exec", host, "ps", "-eo", "args")
    wait_for(lambda: subprocess.run(["pgrep", "-f", "swarm_peer.py"], stdout=subprocess.DEVNULL, check=False).returncode == 1)


def test_lost_packets_and_a_device_that_dies(fault, hosts, folder, start, play):
    lost, died = fault("2 % of all packets lost at every host", "swarm"), fault("device killed and started again", "swarm")
    dies = HOST[1]
    others = [host for host in hosts.hosts if host != dies]
    with contextlib.ExitStack() as stack:
        for host in others:
            stack.enter_context(rule(hosts, host, "-m", "statistic", "--mode", "random", "--probability", "0.02", "-j", "DROP"))
        process = start(1, "swarm")
        wait_for(lambda: staged_bytes(dies) > 5000000)
        lab.docker("kill", dies)
        out = process.communicate(timeout=240)[0]
    assert process.returncode != 0, out[-2000:]
    assert_whole(others, 1)
    lost.runs, lost.note = len(others), "all whole"
    lab.docker("start", dies)
    hosts.shape(dies, hosts.rate)
    hosts._answering()
    play(1, "swarm")
    assert_whole(hosts.hosts, 1)
    assert_nobody_is_left(hosts)
    reused = result(folder, dies)["bytes_reused"]
    assert reused > 2000000
    died.runs, died.note = 1, "used %.1f MB of before" % (reused / 1e6)


def test_a_killed_controller_leaves_no_peer_behind(fault, hosts, folder, start, play):
    mine = fault("kill -9 of the controller", "swarm")
    process = start(1, "swarm")
    wait_for(lambda: staged_bytes(HOST[0]) > 4000000)
    kill_tree(process)
    wait_for(lambda: "tfleet-peer" not in lab.docker("exec", HOST[0], "ps", "-eo", "args"))
    play(1, "swarm")
    assert_whole(hosts.hosts, 1)
    assert_nobody_is_left(hosts)
    mine.runs, mine.note = 1, "the peers ended by themselves, and the next run went on"


def test_a_stranger_gets_nothing_and_a_host_without_libtorrent_everything(fault, hosts, folder, start):
    """The stranger has the torrent in its hands, on the same network, but is not of the play."""
    strange, without = fault("a stranger on the network", "swarm"), fault("no libtorrent on one device", "auto")
    bare = HOST[2]
    lab.docker("exec", bare, "sh", "-c", "mv /usr/lib/python3/dist-packages/libtorrent* /root/")
    try:
        process = start(1, "auto")
        wait_for(lambda: staged_bytes(HOST[0]) > 1000000)
        last = stranger(hosts, (folder / "weights-1.tar.torrent").read_bytes())
        out = process.communicate(timeout=120)[0]
    finally:
        lab.docker("exec", bare, "sh", "-c", "mv /root/libtorrent* /usr/lib/python3/dist-packages/")
    assert process.returncode == 0, out[-3000:]
    assert_whole(hosts.hosts, 1)
    assert (last["done"], last["received"]) == (False, 0)
    strange.runs, strange.note = 1, "no byte for it"
    assert result(folder, HOST[0])["transport"] == "swarm"
    other = result(folder, bare)
    assert other["transport"] == "push"
    assert "No Python of this host has libtorrent" in other["reason"]
    without.runs, without.note = 1, "it came by push, and says why"


def stranger(hosts, torrent):
    """Be a peer as swarm_peer is one, on a machine that nobody invited; returns its last words."""
    request = {"metainfo": base64.b64encode(torrent).decode(), "save_path": "/srv", "port": 6881, "late_peers": [],
               "peers": [[address, 6881] for address in [*hosts.hosts.values(), hosts.gateway]], "allowed": [*hosts.hosts.values(), hosts.gateway],
               "rate": 0, "encryption": False, "timeout": 4, "seconds": None, "watch": None}
    done = subprocess.Popen(["docker", "run", "--rm", "-i", "--network", hosts.prefix + "-net", "-v", "%s:/peer.py:ro" % PROGRAM, lab.IMAGE, "python3",
                             "/peer.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    done.stdin.write(json.dumps(request).encode() + b"\n")
    done.stdin.flush()
    last = json.loads(done.stdout.read().splitlines()[-1])
    done.stdin.close()
    done.stdout.close()
    done.wait()
    return last
