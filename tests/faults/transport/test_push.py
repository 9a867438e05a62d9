"""Releases that are pushed over bad roads, a fault on each host of one run: in the end every host has the release, whole, with little sent twice."""

import time

from tests.bench.transport import lab
from tests.faults.transport.roads import HOST, SIZE, assert_whole, each, kill_tree, result, rule, staged_bytes, visible, wait_for


def without_rsync(host, path="/usr/bin/rsync"):
    lab.docker("exec", host, "mv", path, path + ".away")


def with_rsync(host):
    without_rsync(host, "/usr/bin/rsync.away")
    lab.docker("exec", host, "mv", "/usr/bin/rsync.away.away", "/usr/bin/rsync")


def test_a_killed_controller_and_clocks_that_are_wrong(fault, hosts, folder, play, start):
    """By rsync as root and by sudo, and by copies where there is no rsync."""
    killed = [fault("kill -9 of the controller", "push by " + way) for way in ("rsync", "rsync, by sudo", "copies, by sudo")]
    clocks = fault("the controller's clock in 2015, then in 2035", "push")
    update = fault("none, an update of 0.1 MB", "push")
    used = HOST[:3]
    users = {"limit_to": ",".join(used), **each(ansible_user=["root", "deploy", "deploy"], ansible_become=[False, True, True])}
    without_rsync(used[2])
    try:
        process = start(1, "push", **users)
        wait_for(lambda: min(staged_bytes(host) for host in used) > 3000000)
        kill_tree(process)
        assert [visible(host) for host in used] == [[], [], []]
        play(1, "push", before=("faketime", "2015-06-01 12:00:00"), **users)
        assert_whole(used, 1)
        for one, host in zip(killed, used):
            sent = result(folder, host)["bytes_sent"]
            assert sent < SIZE - 2000000
            one.runs, one.note = 1, "the next run sent %.1f of %.1f MB" % (sent / 1e6, SIZE / 1e6)
        play(2, "push", before=("faketime", "2035-06-01 12:00:00"), **users)
        assert_whole(used, 2)
        sent = [result(folder, host)["bytes_sent"] for host in used]
        assert max(sent[:2]) < 300000
        assert sent[2] < 1000000
    finally:
        with_rsync(used[2])
    clocks.runs, clocks.note = len(used), "whole at both times"
    update.runs, update.note = len(used), "sent %.2f MB by rsync, %.2f MB by copies, in whole blocks" % (sent[0] / 1e6, sent[2] / 1e6)


def test_a_link_that_is_cut_one_that_is_slow_one_that_loses_packets_and_a_device_that_dies(fault, hosts, folder, start, play):
    cut, slow, loses, dies = HOST
    rows = {cut: fault("link cut for 4 s and restored", "push by rsync"),
            slow: fault("slow link (tbf, 7 Mbit/s), longer than the step's limit", "push by rsync"),
            loses: fault("5 % of all packets lost", "push by rsync")}
    died = fault("device killed while it is staged, and started again", "push by rsync")
    hosts.shape(slow, "7mbit")
    with rule(hosts, loses, "-m", "statistic", "--mode", "random", "--probability", "0.05", "-j", "DROP"):
        process = start(1, "push", limit=16, patience=8)
        wait_for(lambda: staged_bytes(dies) > 3000000)
        lab.docker("kill", dies)
        wait_for(lambda: staged_bytes(cut) > 4000000)
        with rule(hosts, cut, "-p", "tcp", "-j", "DROP"):
            time.sleep(4)
        out = process.communicate(timeout=240)[0]
    hosts.shape(slow, hosts.rate)
    assert process.returncode != 0, out[-3000:]
    assert_whole(rows, 1)
    assert result(folder, slow)["seconds"] > 16
    # Only the dead one is missing, and it is so as a host, not as one with a bad version.
    assert result(folder, dies)["unreachable"]
    for host, one in rows.items():
        sent = result(folder, host)["bytes_sent"]
        assert sent < 1.3 * SIZE
        one.runs, one.note = 1, "%.1f MB sent for %.1f MB, in %d s" % (sent / 1e6, SIZE / 1e6, result(folder, host)["seconds"])
    lab.docker("start", dies)
    hosts.shape(dies, hosts.rate)
    hosts._answering()
    assert visible(dies) == []
    play(1, "push", limit_to=dies)
    assert_whole([dies], 1)
    sent = result(folder, dies)["bytes_sent"]
    assert sent < SIZE - 2000000
    died.runs, died.note = 1, "unreachable in that run; the next one sent %.1f of %.1f MB" % (sent / 1e6, SIZE / 1e6)


def test_a_disk_that_becomes_full_is_freed_of_what_was_staged(fault, hosts, folder, start, play):
    used = HOST[:2]
    rows = [fault("disk full while it is staged", "push by " + way) for way in ("rsync", "copies")]
    mount = {host: ["nsenter", "-t", str(hosts.process(host)), "-m"] for host in used}
    for host in used:
        lab.docker("exec", host, "mkdir", "-p", "/srv/models")
        lab.run(*mount[host], "mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", "/srv/models")
    without_rsync(used[1])
    try:
        process = start(1, "push", limit_to=",".join(used))
        for host in used:
            wait_for(lambda host=host: staged_bytes(host) > 1000000)
            lab.docker("exec", host, "sh", "-c", "dd if=/dev/zero of=/srv/models/log bs=1M 2>/dev/null || true")
        out = process.communicate(timeout=120)[0]
        assert process.returncode != 0, out[-3000:]
        for host in used:
            assert "became full" in result(folder, host)["msg"]
            assert staged_bytes(host) < 100000
            assert visible(host) == []
            lab.docker("exec", host, "rm", "/srv/models/log")
        play(1, "push", limit_to=",".join(used))
        assert_whole(used, 1)
    finally:
        with_rsync(used[1])
        for host in used:
            lab.run(*mount[host], "umount", "/srv/models")
    for one in rows:
        one.runs, one.note = 1, "what was staged was removed at once; with room again the next run is a good one"
