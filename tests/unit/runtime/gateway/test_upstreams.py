"""Several servers as one: who is asked, who is asked instead, and who is left alone until he is back."""

import threading
import time

import grpc
import numpy as np
import pytest

from tfleet import wire
from tfleet.errors import TfleetError
from tfleet.gateway import upstreams
from tfleet.gateway.upstreams import CLOSED, FAILURES, HALF_OPEN, OPEN, OPEN_SECONDS, Breaker, Upstreams

from .parts import Served

INPUT = {"image": np.zeros((1, 4, 4, 3), np.uint8)}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def pool(serve):
    """pool(served, served, …, seconds=…) -> (Upstreams, the servers in this process)."""
    made = []

    def start(*several, seconds=4.0):
        servers = [serve(one.answers()) for one in several]
        made.append(Upstreams([server.address for server in servers], seconds, "cats"))
        return made[-1], servers

    yield start
    for one in made:
        one.close()


def asked(*several):
    return [len(one.asked) for one in several]


def test_the_breaker_opens_after_failures_in_a_row_and_one_probe_decides():
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(FAILURES - 1):
        breaker.failed()
    breaker.succeeded(True)
    for _ in range(FAILURES - 1):
        breaker.failed()
    assert breaker.state == CLOSED and not breaker.may_probe()
    breaker.failed()
    assert breaker.state == OPEN and not breaker.may_probe()
    clock.now += OPEN_SECONDS
    assert breaker.may_probe() and breaker.state == HALF_OPEN and not breaker.may_probe()
    breaker.failed()
    assert breaker.state == OPEN and not breaker.may_probe()
    clock.now += OPEN_SECONDS
    assert breaker.may_probe()
    breaker.succeeded(True)
    assert breaker.state == CLOSED


def test_requests_take_turns(pool):
    first, second = Served(), Served()
    both, _ = pool(first, second)
    for _ in range(10):
        both.inquiry().predict("cats", INPUT)
    assert asked(first, second) == [5, 5]


def test_a_busy_server_is_asked_less(pool):
    ends, begun = threading.Event(), threading.Event()
    slow, quick = Served(), Served()
    before = slow.outputs
    slow.outputs = lambda arrays: begun.set() or (ends.wait(10) and before(arrays))
    both, _ = pool(slow, quick, seconds=20.0)
    threads = [threading.Thread(target=both.inquiry().predict, args=("cats", INPUT)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    for _ in range(6):
        both.inquiry().predict("cats", INPUT)
    ends.set()
    for thread in threads:
        thread.join()
    assert asked(slow, quick) == [1, 7]


def test_another_server_answers_for_one_that_is_gone_which_is_then_left_alone(pool):
    first, second = Served(), Served()
    both, servers = pool(first, second)
    both.inquiry().predict("cats", INPUT)
    servers[0].stop()
    for _ in range(20):
        assert both.inquiry().predict("cats", INPUT).version == 7
    assert sorted(both.states().values()) == [CLOSED, OPEN]


def test_a_server_that_hangs_costs_half_of_the_time_and_only_until_it_is_left_alone(pool):
    ends = threading.Event()
    hangs, good = Served(), Served()
    hangs.outputs = lambda arrays: ends.wait(20) and {}
    both, _ = pool(hangs, good, seconds=0.6)
    took = []
    for _ in range(12):
        begin = time.monotonic()
        assert both.inquiry().predict("cats", INPUT).version == 7
        took.append(time.monotonic() - begin)
    ends.set()
    assert max(took) < 0.6 and sum(one > 0.25 for one in took) == FAILURES


def test_a_server_that_hangs_at_pictures_is_left_alone_though_it_tells_what_it_has(pool, monkeypatch):
    hangs, good = Served(), Served()
    hangs.outputs = lambda arrays: time.sleep(0.3) or {}
    both, _ = pool(hangs, good, seconds=0.4)

    def asked_of_it(pictures):
        before = len(hangs.asked)
        for _ in range(pictures):
            assert both.inquiry().predict("cats", INPUT).version == 7
            assert both.statuses("cats") and both.inquiry().metadata("cats").version == 7
        return len(hangs.asked) - before

    monkeypatch.setattr(upstreams, "OPEN_SECONDS", 60.0)
    assert asked_of_it(3 * FAILURES) == FAILURES and OPEN in both.states().values()
    monkeypatch.setattr(upstreams, "OPEN_SECONDS", 0.0)
    both.usable()  # begins the probe, which finds it there
    monkeypatch.setattr(upstreams, "OPEN_SECONDS", 60.0)
    until = time.monotonic() + 10
    while set(both.states().values()) != {CLOSED}:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert asked_of_it(4) == 1 and OPEN in both.states().values()


def test_two_servers_that_hang_leave_time_for_the_third(pool):
    ends = threading.Event()
    several = [Served() for _ in range(3)]
    for served in several[:2]:
        served.outputs = lambda arrays: ends.wait(20) and {}
    three, _ = pool(*several, seconds=1.0)
    for _ in range(3):
        begin = time.monotonic()
        assert three.inquiry().predict("cats", INPUT).version == 7
        assert time.monotonic() - begin < 1.0
    ends.set()


def test_a_server_that_hangs_costs_a_picture_half_of_its_time_once(pool):
    ends = threading.Event()
    hangs, good = Served(), Served()
    both, servers = pool(hangs, good, seconds=0.8)
    for path in (wire.GET_MODEL_METADATA, wire.PREDICT):
        servers[0].answers[path] = lambda request, context: ends.wait(20) and context.abort(grpc.StatusCode.CANCELLED, "")
    for _ in range(2):
        inquiry, begin = both.inquiry(), time.monotonic()
        assert [inquiry.metadata("cats").version, inquiry.predict("cats", INPUT).version] == [7, 7]
        assert time.monotonic() - begin < 0.55
    ends.set()


def test_a_server_that_had_little_time_left_is_not_taken_for_one_that_hangs(pool):
    ends = threading.Event()
    several = [Served(), Served()]
    for served in several:
        served.outputs = lambda arrays: ends.wait(20) and {}
    two, _ = pool(*several, seconds=0.3)
    for _ in range(2 * FAILURES):
        inquiry = two.inquiry()
        time.sleep(0.24)
        with pytest.raises(TfleetError) as error:
            inquiry.predict("cats", INPUT)
        assert error.value.result["code"] == "DEADLINE_EXCEEDED"
    ends.set()
    assert set(two.states().values()) == {CLOSED}


def test_a_server_that_is_back_is_asked_again_and_no_user_waits_for_the_probe(pool, monkeypatch):
    monkeypatch.setattr(upstreams, "OPEN_SECONDS", 0.05)
    fails, good = Served(), Served()
    both, _ = pool(fails, good)
    fails.fail = ("UNAVAILABLE", "starting")
    while OPEN not in both.states().values():
        both.inquiry().predict("cats", INPUT)
    before, fails.fail = asked(fails), None
    until = time.monotonic() + 10
    while set(both.states().values()) != {CLOSED}:
        assert both.inquiry().predict("cats", INPUT).version == 7 and time.monotonic() < until
        time.sleep(0.01)
    for _ in range(4):
        both.inquiry().predict("cats", INPUT)
    assert asked(fails) > before


@pytest.mark.parametrize("count", [1, 2])
def test_where_no_other_is_left_a_server_is_asked_all_the_same(pool, count):
    several = [Served() for _ in range(count)]
    servers, _ = pool(*several)
    for served in several:
        served.fail = ("UNAVAILABLE", "starting")
    for _ in range(FAILURES + 2):
        with pytest.raises(TfleetError) as error:
            servers.inquiry().predict("cats", INPUT)
        assert error.value.result["code"] == "UNAVAILABLE"
    assert set(servers.states().values()) == {OPEN}
    several[-1].fail = None
    assert servers.inquiry().predict("cats", INPUT).version == 7 and CLOSED in servers.states().values()


def test_a_server_that_is_slow_to_say_what_it_has_is_not_left_alone_and_one_that_is_gone_is(pool, monkeypatch):
    monkeypatch.setattr(upstreams, "PROBE_SECONDS", 0.05)
    slow, ends = Served(), threading.Event()
    both, servers = pool(slow, Served())
    before = servers[0].answers[wire.GET_MODEL_STATUS]
    servers[0].answers[wire.GET_MODEL_STATUS] = lambda *call: ends.wait(10) and before(*call)
    for _ in range(FAILURES + 1):
        assert [address for address, _ in both.statuses("cats")] == [servers[1].address]
    ends.set()
    assert set(both.states().values()) == {CLOSED}
    servers[0].stop()
    for _ in range(FAILURES):
        both.statuses("cats")
    assert both.states()[servers[0].address] == OPEN


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "INTERNAL", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"])
def test_what_another_server_would_answer_too_is_not_asked_twice(pool, code):
    first, second = Served(), Served()
    first.fail = second.fail = (code, "no")
    both, servers = pool(first, second)
    for _ in range(2 * FAILURES):
        with pytest.raises(TfleetError):
            both.inquiry().predict("cats", INPUT)
    assert sum(len(server.seen) for server in servers) == 2 * FAILURES and set(both.states().values()) == {CLOSED}


def test_a_full_queue_is_tried_elsewhere_and_is_no_failure(pool):
    first, second = Served(), Served()
    first.fail = ("UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full")
    both, _ = pool(first, second)
    for _ in range(3 * FAILURES):
        assert both.inquiry().predict("cats", INPUT).version == 7
    assert set(both.states().values()) == {CLOSED}


def test_the_reason_of_who_has_the_version_counts(pool):
    first, second = Served(version=1), Served(version=2)
    second.fail = ("UNAVAILABLE", "gone")
    both, _ = pool(first, second)
    for _ in range(2):
        with pytest.raises(TfleetError) as error:
            both.inquiry().predict("cats", INPUT, version=2)
        assert error.value.result["code"] in ("NOT_FOUND", "UNAVAILABLE")
    assert both.inquiry().predict("cats", INPUT, version=1).version == 1


def test_a_label_that_one_server_does_not_have_is_asked_of_the_other(pool):
    both, _ = pool(Served(labels={"stable": 7, "canary": 7}), Served())
    for _ in range(2 * FAILURES):
        assert both.inquiry().predict("cats", INPUT, label="canary").version == both.inquiry().metadata("cats", label="canary").version == 7


def test_connections_are_kept(serve):
    peers = set()

    def seen(request, context):
        peers.add(context.peer())
        return served.predict(request, context)

    served = Served()
    server = serve({**served.answers(), wire.PREDICT: seen})
    one = Upstreams([server.address], 4.0, "cats")
    for _ in range(20):
        one.inquiry().predict("cats", INPUT)
    one.close()
    assert len(peers) == 1
