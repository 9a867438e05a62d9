"""The manager of versions, with loaders that the test controls; the live tests drive it with real models."""

import threading
import time

import pytest

from tfleet.server import lifecycle, states
from tfleet.server.status import StatusError, not_found


class Servable:
    def __init__(self, log, version):
        self._log, self._version = log, version

    def close(self):
        self._log.append(("close", self._version))


class Bench:
    """A manager whose loader waits until the test lets each version load."""

    def __init__(self, retries=0, retry_seconds=0.05, load_threads=8):
        self.log = []
        self.failures = {}
        self.gates = {}
        self.board = states.Board()
        self.manager = lifecycle.Manager(self.load, self.board, load_threads, 0, retries, retry_seconds, tick_seconds=0.01)
        self.manager.start()

    def load(self, model, version, path):
        self.log.append(("load", version))
        gate = self.gates.get(version)
        if gate:
            gate.wait(10)
        if self.failures.get(version):
            self.failures[version] -= 1
            raise not_found("version %d is broken" % version)
        return Servable(self.log, version)

    def aspire(self, *versions):
        self.manager.set_aspired("m", [(version, "/m/%d" % version) for version in versions])

    def wait(self, version, state, seconds=5):
        deadline = time.time() + seconds
        while True:
            now = dict(self.board.versions("m")).get(version)
            if now and now.state == state:
                return now.error
            assert time.time() < deadline, "version %d is %s" % (version, now)
            time.sleep(0.005)

    def latest(self):
        with self.manager.use("m") as harness:
            return harness.version


@pytest.fixture
def bench():
    made = []

    def make(**options):
        made.append(Bench(**options))
        return made[-1]

    yield make
    for one in made:
        for gate in one.gates.values():
            gate.set()
        one.manager.stop()


def test_the_new_version_is_there_before_the_old_one_goes(bench):
    one = bench()
    one.aspire(1)
    one.wait(1, states.AVAILABLE)
    one.gates[2] = threading.Event()
    one.aspire(2)
    one.wait(2, states.LOADING)
    time.sleep(0.1)
    assert one.latest() == 1
    one.gates[2].set()
    one.wait(1, states.END)
    assert one.latest() == 2
    assert one.log == [("load", 1), ("load", 2), ("close", 1)]


def test_highest_version_is_loaded_first_and_latest_is_the_highest(bench):
    one = bench()
    one.aspire(1, 5, 3)
    for version in (5, 3, 1):
        one.wait(version, states.AVAILABLE)
    assert one.log == [("load", 5), ("load", 3), ("load", 1)]
    assert one.latest() == 5


def test_a_failed_version_keeps_the_old_one_serving_and_is_not_retried(bench):
    one = bench()
    one.aspire(1)
    one.wait(1, states.AVAILABLE)
    one.failures[2] = 1
    one.aspire(2)
    assert str(one.wait(2, states.END)) == "NOT_FOUND: version 2 is broken"
    one.aspire(2)
    time.sleep(0.1)
    assert one.latest() == 1
    assert one.log.count(("load", 2)) == 1
    # Away for one poll and back: tried again, while version 1 serves without a gap.
    one.aspire(1)
    time.sleep(0.1)
    assert one.latest() == 1
    one.aspire(2)
    one.wait(2, states.AVAILABLE)
    one.wait(1, states.END)


def test_retries(bench):
    one = bench(retries=2)
    one.failures[1] = 2
    one.aspire(1)
    one.wait(1, states.AVAILABLE)
    assert one.log == [("load", 1)] * 3


def test_retries_end_when_the_version_is_not_wanted_any_more(bench):
    one = bench(retries=5, retry_seconds=60)
    one.failures[1] = 9
    one.aspire(1)
    deadline = time.time() + 5
    while not one.log:
        assert time.time() < deadline
        time.sleep(0.01)
    one.aspire()
    one.wait(1, states.END)
    assert one.log == [("load", 1)]


def test_a_loader_that_raises_anything_fails_only_its_version(bench):
    one = bench()
    one.manager._loader = lambda model, version, path: 1 / 0
    one.aspire(1)
    assert str(one.wait(1, states.END)) == "INTERNAL: ZeroDivisionError: division by zero"


def test_a_version_in_use_is_unloaded_after_its_last_request(bench):
    one = bench()
    one.aspire(1)
    one.wait(1, states.AVAILABLE)
    with one.manager.use("m", 1) as harness:
        one.aspire()
        one.wait(1, states.UNLOADING)
        time.sleep(0.1)
        assert harness.servable is not None
        with pytest.raises(StatusError) as failure, one.manager.use("m"):
            pass
        assert failure.value.message == "Servable not found for request: Latest(m)"
        assert ("close", 1) not in one.log
    one.wait(1, states.END)
    assert one.log == [("load", 1), ("close", 1)]


def test_a_version_that_comes_back_waits_for_its_previous_incarnation(bench):
    one = bench()
    one.aspire(1)
    one.wait(1, states.AVAILABLE)
    with one.manager.use("m", 1):
        one.aspire()
        one.wait(1, states.UNLOADING)
        one.aspire(1)
        time.sleep(0.1)
        assert one.log == [("load", 1)]
    one.wait(1, states.AVAILABLE)
    assert one.log == [("load", 1), ("close", 1), ("load", 1)]


def test_without_load_threads_one_version_loads_at_a_time(bench):
    one = bench(load_threads=0)
    one.gates[1] = one.gates[2] = threading.Event()
    one.manager.set_aspired("m", [(1, "/m/1")])
    one.manager.set_aspired("n", [(2, "/n/2")])
    time.sleep(0.2)
    assert len(one.log) == 1
    one.gates[1].set()
    one.wait(1, states.AVAILABLE)


def test_waiting_takes_the_highest_settled_version():
    board = states.Board()
    board.publish("m", 1, states.AVAILABLE)
    board.publish("m", 2, states.LOADING)
    assert board.wait_settled(lambda: ["m"])["m"] == (1, states.State(states.AVAILABLE, None))
    board.publish("m", 2, states.END)
    assert board.wait_settled(lambda: ["m"])["m"][0] == 2


def test_waiting_ends_when_nobody_is_waited_for_any_more():
    board = states.Board()
    names = ["m"]
    waiter = threading.Thread(target=lambda: board.wait_settled(lambda: list(names)))
    waiter.start()
    names.clear()
    board.poke()
    waiter.join(5)
    assert not waiter.is_alive()
