"""Who waits for the list of models."""

import threading

import pytest

from tfleet.client.answers import VersionStatus
from tfleet.gateway.catalogue import Catalogue


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Upstreams:
    """A server that says what it has when it may."""

    def __init__(self):
        self.version, self.begun, self.may = 1, threading.Event(), threading.Event()
        self.may.set()

    def statuses(self, model):
        self.begun.set()
        assert self.may.wait(10)
        return [("server", [VersionStatus(self.version, "AVAILABLE", "OK", "")])]

    def inquiry(self):
        return None  # there are no labels to ask for


def listed(catalogue):
    """Begins catalogue.list() in a thread; returns that, and where its versions come to stand."""
    found = []
    thread = threading.Thread(target=lambda: found.extend(row["version"] for model in catalogue.list() for row in model["versions"]), daemon=True)
    thread.start()
    return thread, found


@pytest.mark.parametrize("age, expected", [(3, [1]), (61, [2])])
def test_while_one_asks_the_others_get_the_list_before_unless_that_is_old(load, age, expected):
    clock, upstreams = Clock(), Upstreams()
    catalogue = Catalogue(load(models=[{"name": "cats"}]), upstreams, clock)
    assert [model["name"] for model in catalogue.list()] == ["cats"]
    clock.now += age
    upstreams.version = 2
    upstreams.begun.clear()
    upstreams.may.clear()
    asking, new = listed(catalogue)
    assert upstreams.begun.wait(10)
    other, found = listed(catalogue)
    other.join(0.2 if age > 60 else 10)
    assert other.is_alive() == (age > 60)
    upstreams.may.set()
    for thread in (asking, other):
        thread.join(10)
    assert (new, found) == ([2], expected)


def test_all_wait_for_the_first_list(load):
    upstreams = Upstreams()
    upstreams.may.clear()
    catalogue = Catalogue(load(models=[{"name": "cats"}]), upstreams, Clock())
    several = [listed(catalogue) for _ in range(3)]
    assert upstreams.begun.wait(10)
    upstreams.may.set()
    for thread, _ in several:
        thread.join(10)
    assert [found for _, found in several] == [[1]] * 3
