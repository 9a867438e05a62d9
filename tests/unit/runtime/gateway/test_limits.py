"""How often, how many at once, how large."""

import io
import multiprocessing
import threading
import time

import pytest

from tfleet.gateway.limits import Places, Rates
from tfleet.gateway.refusal import RefusedError

from .parts import picture


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def taken(rates, client="192.0.2.1", times=1000):
    """How many requests go through before one has to wait, and how long it has to."""
    for count in range(times):
        try:
            rates.take(client)
        except RefusedError as refused:
            return count, refused.retry_after
    return times, None


def test_a_client_has_a_burst_and_then_its_rate(tmp_path):
    clock = Clock()
    rates = Rates(str(tmp_path / "rates"), 2, 5, clock)
    assert taken(rates) == (5, 1)
    clock.now += 1
    assert taken(rates) == (2, 1)
    clock.now += 1000
    assert taken(rates) == (5, 1)
    assert taken(rates, "192.0.2.2") == (5, 1)  # another client
    assert taken(Rates(str(tmp_path / "slow"), 0.1, 1, clock)) == (1, 11)


def test_no_rate_is_no_limit(tmp_path):
    assert taken(Rates(str(tmp_path / "rates"), 0, 1)) == (1000, None)


def test_the_addresses_of_one_ipv6_network_are_one_client(tmp_path):
    rates = Rates(str(tmp_path / "rates"), 1, 3, Clock())
    assert taken(rates, "2001:db8::1")[0] == 3 and taken(rates, "2001:db8::ffff:1")[0] == 0 and taken(rates, "2001:db8:1::1")[0] == 3


def test_ipv4_clients_of_an_ipv6_socket_are_clients_of_their_own(tmp_path):
    rates = Rates(str(tmp_path / "rates"), 1, 3, Clock())
    assert taken(rates, "::ffff:192.0.2.1")[0] == 3 and taken(rates, "::ffff:192.0.2.2")[0] == 3 and taken(rates, "192.0.2.1")[0] == 0


def test_many_clients_take_no_memory_and_harm_no_active_one(tmp_path):
    clock = Clock()
    rates = Rates(str(tmp_path / "rates"), 0.001, 3, clock)
    rates.take("192.0.2.1")
    size = (tmp_path / "rates").stat().st_size
    for number in range(2000):
        clock.now += 0.001
        rates.take("198.51.%d.%d" % (number // 256, number % 256))
    assert taken(rates)[0] == 2 and (tmp_path / "rates").stat().st_size == size


def ask(path, answers):
    answers.put(taken(Rates(path, 0.001, 40), times=40)[0])


def test_all_workers_count_together(tmp_path):
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    workers = [context.Process(target=ask, args=(str(tmp_path / "rates"), answers)) for _ in range(4)]
    for worker in workers:
        worker.start()
    assert sum(answers.get(timeout=20) for _ in workers) == 40
    for worker in workers:
        worker.join()


def test_too_many_requests_are_told_when_to_come_back(gateway, predict):
    client = gateway(rate=0.5, burst=2)
    assert [predict(client).status_code for _ in range(3)] == [200, 200, 429]
    answer = client.get("/api/v1/models")
    assert answer.status_code == 429 and int(answer.headers["Retry-After"]) >= 1 and "second" in answer.get_json()["error"]
    # Whoever looks whether the gateway lives is never in the way.
    assert client.get("/healthz").status_code == 200


def test_a_wrong_token_costs_as_much_as_a_right_one(gateway, predict):
    client = gateway(rate=0.5, burst=2, token_file="token")
    assert [predict(client, headers={"Authorization": "Bearer no"}).status_code for _ in range(3)] == [401, 401, 429]


def test_places_are_given_back(tmp_path):
    places = Places(1, 0)
    with pytest.raises(ZeroDivisionError), places.one():
        raise ZeroDivisionError
    with places.one(), pytest.raises(RefusedError) as refused, places.one():
        pass
    assert (refused.value.status, refused.value.retry_after) == (503, 1)


def test_more_pictures_than_places_wait_and_are_then_refused(gateway, served, predict):
    begun, ends = threading.Event(), threading.Event()

    def slow(arrays):
        begun.set()
        ends.wait(10)
        return before(arrays)

    before, served.outputs = served.outputs, slow
    client, answers = gateway(at_once=1, waiting_seconds=0.05), []
    thread = threading.Thread(target=lambda: answers.append(predict(client.application.test_client())))
    thread.start()
    assert begun.wait(10)
    refused = predict(client)
    assert client.get("/healthz").status_code == 200
    ends.set()
    thread.join()
    assert (refused.status_code, refused.get_json()["code"], refused.headers["Retry-After"]) == (503, "busy", "1")
    assert answers[0].status_code == 200


def test_waiting_for_a_place_leaves_half_of_the_deadline(gateway, predict):
    client = gateway(at_once=1, waiting_seconds=60, deadline_seconds=0.4)
    begin = time.monotonic()
    with client.application.view_functions["healthz"].__self__.places.one():
        refused = predict(client)
    assert refused.get_json()["code"] == "busy" and 0.15 < time.monotonic() - begin < 1


@pytest.mark.parametrize("form", [False, True])
@pytest.mark.parametrize("more, status", [(0, 200), (1, 413)])
def test_a_file_may_be_as_large_as_is_said_however_it_comes(gateway, predict, form, more, status):
    content = picture().ljust(4096 + more, b"\0")
    data = {"picture": (io.BytesIO(content), "x.png")} if form else content
    assert predict(gateway(body_bytes=4096), data, content_type="multipart/form-data" if form else "image/png").status_code == status


@pytest.mark.parametrize("form", [False, True])
def test_a_file_that_is_too_large_is_not_read(gateway, predict, served, form):
    content = picture() + b"\0" * 100000
    data = {"picture": (io.BytesIO(content), "x.png")} if form else content
    answer = predict(gateway(body_bytes=4096), data, content_type="multipart/form-data" if form else "image/png")
    assert (answer.status_code, answer.get_json()["code"]) == (413, "too_large") and not served.asked
