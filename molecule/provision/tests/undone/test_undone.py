"""After playbooks/undo.yml each host is what it was: every package, file, link, mode, unit, swap area and setting."""

import re

import pytest

testinfra_hosts = ["ansible://gpu_servers", "ansible://jetsons"]
# What stays: images and volumes are nobody's to remove unasked, and the directories of records are empty.
STAYS = re.compile(r".* (?:/data/docker.*|/var/lib/tfleet(?:/originals)?) *")


def test_the_host_is_what_it_was(host):
    before = host.file("/opt/test-host/before").content_string.splitlines()
    after = host.check_output("/checkout/molecule/provision/files/snapshot").splitlines()
    gone = sorted(set(before) - set(after))
    come = sorted(line for line in set(after) - set(before) if not STAYS.fullmatch(line))
    assert (gone, come) == ([], [])


@pytest.mark.parametrize("command", ["docker", "dockerd", "nvidia-container-runtime", "nvidia-ctk"])
def test_no_command_is_left(host, command):
    assert not host.exists(command)


def test_nothing_of_ours_is_left_in_the_records(host):
    assert host.run("find /var/lib/tfleet -type f").stdout == ""
