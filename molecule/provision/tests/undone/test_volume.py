"""After playbooks/undo.yml volumes are still there, though Debian's docker.io deletes its data root when it is purged."""

testinfra_hosts = ["ansible://jetsons"]


def test_the_volume_stays(host):
    assert host.file("/var/lib/docker/volumes/kept/_data/letter").content_string == "still here\n"
