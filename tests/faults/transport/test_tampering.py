"""Releases that somebody has tampered with, on the way or on the device: nothing of them is ever seen by the server, and the next run mends it."""

import pathlib
import shutil

import pytest

from tests.bench.transport import lab
from tests.faults.transport.roads import HOST, SMALL_SIZE, each, result, visible
from tests.unit.plugins.range_server import Mirror

BASE = "/srv/models/small"
STAGED = BASE + "/.staging/2"
# On the device, between staging and placing, by somebody who is root there; /releases is the controller's.
CHANGES = {
    "a flipped byte": ("printf X | dd of=%s/weights bs=1 seek=300000 conv=notrunc 2>/dev/null" % STAGED, "weights: expected sha256"),
    "a truncated file": ("truncate -s 300000 %s/weights" % STAGED, "weights: expected %d bytes, found 300000" % SMALL_SIZE),
    "two files swapped": ("cd %s; mv weights x; mv more weights; mv x more" % STAGED, "expected sha256"),
    "replaced by an older signed release": ("rm -r %s/*; tar -xf /releases/small-1.tar -C %s; cp /releases/small-1.tar.sig %s/manifest.json.sig"
                                            % (STAGED, STAGED, STAGED), "is version 1 of small"),
}


@pytest.fixture(scope="session")
def trusted(folder):
    """What a device is told that wants signatures."""
    return [(folder / "key.pub").read_text()]


def assert_refused(rows, folder, words):
    for one, host, expected in zip(rows, HOST, words):
        found = result(folder, host)
        assert found["failed"]
        assert expected in found["msg"]
        assert visible(host, "small") == []
        one.runs = 1


def assert_mended(rows, folder, play, trusted):
    play(2, "push", model="small", trusted=trusted)
    for one, host in zip(rows, HOST):
        lab.docker("exec", host, "sh", "-c", "cd %s/2 && cmp weights /releases/tree/small-1/weights && cmp more /releases/tree/small-1/more" % BASE)
        assert visible(host, "small") == ["2"]
        one.note = "refused, never visible; the next run sent %d of %d bytes" % (result(folder, host)["bytes_sent"], 2 * SMALL_SIZE)


def test_what_was_changed_after_it_was_staged_is_refused_and_mended(fault, hosts, folder, play, trusted):
    rows = [fault(name, "staged") for name in CHANGES]
    play(2, "push", model="small", places=False)
    for host, (command, _expected) in zip(HOST, CHANGES.values()):
        lab.docker("exec", host, "sh", "-c", command)
    play(2, "push", model="small", stages=False, trusted=trusted, fails=True)
    assert_refused(rows, folder, [expected for _command, expected in CHANGES.values()])
    assert_mended(rows, folder, play, trusted)
    # Of the swapped file all is sent again; of the flipped byte, little more than its block.
    assert result(folder, HOST[0])["bytes_sent"] < SMALL_SIZE / 2


def test_what_nobody_trusted_has_signed_is_refused(fault, hosts, folder, play, trusted):
    rows = [fault(name, "push, keys configured") for name in ("signed by a stranger's key", "unsigned", "an older signature of the same number")]
    rows.append(fault("an older signed release of the same number on a mirror", "pull, keys configured"))
    (folder / "mixed").mkdir()
    for suffix in (".tar", ".tar.index"):
        shutil.copy2(str(folder / "small-2") + suffix, str(folder / "mixed"))
    shutil.copy(str(folder / "older" / "small-2.tar.sig"), str(folder / "mixed"))
    offered = ["strange/small-2.tar", "unsigned/small-2.tar", "mixed/small-2.tar", "small-2.tar"]
    with Mirror(folder / "older", address=hosts.gateway) as mirror:
        play(2, "{{ how }}", model="small", trusted=trusted, urls=[mirror.url], fails=True,
             **each(release=[str(pathlib.Path(folder, name)) for name in offered], how=["push", "push", "push", "pull"]))
    assert_refused(rows, folder, ["not one of a trusted key", "is not signed", "not one of a trusted key for exactly this manifest",
                                  "is not what the index says"])
    assert_mended(rows, folder, play, trusted)
    # The older release of the same number, which is signed as well, does not take the place of the newer one either.
    play(2, "push", limit_to=HOST[0], model="small", trusted=trusted, release=str(folder / "older" / "small-2.tar"), fails=True)
    assert "comes from another release" in result(folder)["msg"]
    assert visible(HOST[0], "small") == ["2"]
