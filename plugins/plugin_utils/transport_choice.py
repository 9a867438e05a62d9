# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Which transport suits a play, and why."""

# From so many hosts on, a swarm is faster than sending to each (docs/performance.md); below so many bytes, starting it takes longer than sending.
SWARM_HOSTS = 4
SWARM_BYTES = 16 * 1024 * 1024


def choose(hosts, size, connection, has_release, urls, libtorrent):
    """Return (transport, the reason as the end of a sentence).

    :param hosts: how many hosts of the play get the release.
    :param size: its bytes.
    :param connection: name of Ansible's connection plugin for the host.
    :param has_release: whether the archive is on the controller.
    :param urls: whether there are mirrors.
    :param libtorrent: whether the controller has it.
    """
    people = "%d host%s want%s %s each" % (hosts, "" if hosts == 1 else "s", "s" if hosts == 1 else "", megabytes(size))
    if not has_release:
        return "pull", "the release is on the mirrors only"
    if hosts >= SWARM_HOSTS and size >= SWARM_BYTES:
        if connection not in ("ssh", "ansible.builtin.ssh", "paramiko", "paramiko_ssh"):
            why = "the connection %s says nothing of the network between them" % connection
        elif libtorrent:
            return "swarm", "%s, and the controller has libtorrent" % people
        else:
            why = "the controller has no libtorrent for a swarm"
        if urls:
            return "pull", "%s, there are mirrors, and %s" % (people, why)
        return "push", "%s, but %s" % (people, why)
    return "push", people


def megabytes(size):
    """Return a number of bytes as people say it."""
    return "%d MB" % round(size / 1e6) if size >= 1e7 else "%.1f MB" % (size / 1e6)
