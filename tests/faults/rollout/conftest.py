"""The fleet on which rollouts are disturbed, and the clients that must notice nothing."""

import contextlib
import os
import subprocess
import sys

import pytest

from ...unit.plugins import conftest as _collection  # noqa: F401  (makes the checkout importable as a collection)

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [_HERE, os.path.dirname(os.path.dirname(_HERE))]

HOSTS = 3


@pytest.fixture(scope="session")
def half_models(tmp_path_factory):
    """A directory with the versions of rollout_models.py, written by TensorFlow in a process of its own."""
    root = tmp_path_factory.mktemp("half")
    done = subprocess.run([sys.executable, os.path.join(_HERE, "rollout_models.py"), str(root)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, check=False)
    assert done.returncode == 0, done.stdout
    return root


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, half_models):
    """Three hosts that serve version 1 of `half`."""
    from fleet import Fleet

    made = Fleet(tmp_path_factory.mktemp("fleet"), half_models, HOSTS)
    for host in made.hosts:
        host.start()
    try:
        for host in made.hosts:
            host.ready()
        yield made
    finally:
        for host in made.hosts:
            host.end()


@pytest.fixture
def asked(fleet):
    """`with asked(row):` every host is asked for `stable` without pause; the counts go into the row of the report."""
    from fleet import Asking

    @contextlib.contextmanager
    def around(row, may_fail=()):
        clients = [Asking(host) for host in fleet.hosts]
        for client in clients:
            client.start()
        try:
            yield clients
        finally:
            for client in clients:
                client.stop()
        row.runs += sum(client.answers for client in clients)
        row.failed_answers += sum(client.failed for client in clients)
        row.wrong_answers += sum(client.wrong for client in clients)
        row.note = (row.note + " Asked %d times." % row.runs).strip()
        for client in clients:
            assert client.wrong == 0, client.host.name
            if client.host.name not in may_fail:
                assert client.failed == 0, (client.host.name, client.errors[:3])
                assert client.answers > 0

    return around
