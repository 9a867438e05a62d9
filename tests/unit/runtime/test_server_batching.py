"""Joining requests, with a servable that shows what it was given."""

import threading
import time

import numpy as np
import pytest
from google.protobuf import text_format

from tfleet import wire
from tfleet.server import batching
from tfleet.server.metrics import Metrics
from tfleet.server.status import StatusError, invalid_argument


class Servable:
    """y = 2 x and n = the number of rows that came in one run; waits at the gate."""

    signatures = {"serving_default": None}

    def __init__(self):
        self.runs = []
        self.gate = threading.Event()
        self.closed = False
        self.error = None

    def run(self, feeds, fetches, timeout_ms=None):
        self.gate.wait(10)
        self.runs.append(({name: array.copy() for name, array in feeds}, timeout_ms))
        if self.error:
            raise self.error
        x = dict(feeds)["x:0"]
        outputs = {"y:0": x * 2 if x.dtype != object else x, "n:0": np.full(len(x), len(x)), "scalar:0": np.array(1.0), "short:0": x[:1]}
        return [outputs[name] for name in fetches]

    def close(self):
        self.closed = True


class Bench:
    def __init__(self, text="", threads=1):
        self.metrics = Metrics()
        self.inner = Servable()
        rules = batching.parameters(text_format.Parse(text, wire.BatchingParameters()))
        self.servable = batching.BatchedServable(self.inner, rules, batching.Pool(self.metrics, threads, "pool"))
        self._threads = []

    def ask(self, *arrays, fetches=("y:0",), timeout_ms=None):
        """Starts one request an array; answers the list that fills with (outputs or error) in the order of asking."""
        answers = [None] * len(arrays)

        def work(position, array):
            try:
                answers[position] = self.servable.run([("x:0", array)], fetches, timeout_ms)
            except StatusError as error:
                answers[position] = error

        for position, array in enumerate(arrays):
            self._threads.append(threading.Thread(target=work, args=(position, array)))
            self._threads[-1].start()
            time.sleep(0.02)  # so that they are queued in order
        return answers

    def finish(self):
        self.inner.gate.set()
        for thread in self._threads:
            thread.join(10)


@pytest.fixture
def bench():
    made = []

    def make(*arguments, **options):
        made.append(Bench(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.finish()


def x(*values):
    return np.array(values, np.float32)


def rows(count):
    return np.arange(count, dtype=np.float32)


def test_requests_that_wait_together_run_together(bench):
    one = bench()
    answers = one.ask(x(1), x(2, 3), x(4), fetches=("n:0", "y:0"))
    one.finish()
    # The first one found the thread free.
    assert [len(run[0]["x:0"]) for run in one.inner.runs] == [1, 3]
    assert [answer[1].tolist() for answer in answers] == [[2], [4, 6], [8]]
    assert [answer[0].tolist() for answer in answers] == [[1], [3, 3], [3]]
    assert one.metrics.batch_run_count.first() == 2


def test_a_batch_waits_for_its_time(bench):
    one = bench("batch_timeout_micros { value: 200000 }")
    one.inner.gate.set()
    began = time.monotonic()
    answers = one.ask(x(1), x(2))
    one.finish()
    assert time.monotonic() - began >= 0.2
    assert [len(run[0]["x:0"]) for run in one.inner.runs] == [2]
    assert [answer[0].tolist() for answer in answers] == [[2], [4]]


def test_a_full_batch_does_not_wait(bench):
    one = bench("batch_timeout_micros { value: 60000000 } max_batch_size { value: 4 }")
    one.inner.gate.set()
    answers = one.ask(rows(3), rows(3), rows(1))
    one.finish()
    # 3 + 3 is too much, so the first goes alone; 3 + 1 is full.
    assert [len(run[0]["x:0"]) for run in one.inner.runs] == [3, 4]
    assert all(not isinstance(answer, StatusError) for answer in answers)


def test_padding_to_an_allowed_size_repeats_the_last_requests_first_row(bench):
    one = bench("max_batch_size { value: 8 } allowed_batch_sizes: [2, 8]")
    one.ask(x(9))
    answers = one.ask(x(1), x(2, 3))
    one.finish()
    assert [run[0]["x:0"].tolist() for run in one.inner.runs] == [[9, 9], [1, 2, 3, 2, 2, 2, 2, 2]]
    assert [answer[0].tolist() for answer in answers] == [[2], [4, 6]]


def test_padding_of_variable_lengths(bench):
    one = bench("pad_variable_length_inputs: true")
    one.ask(x(0))
    answers = one.ask(np.array([[5, 6, 7]], np.float32), np.array([[1], [2]], np.float32))
    one.finish()
    assert one.inner.runs[1][0]["x:0"].tolist() == [[5, 6, 7], [1, 1, 1], [2, 1, 1]]
    assert answers[1][0].tolist() == [[2, 2, 2], [4, 2, 2]]


def test_other_shapes_without_padding_fail_the_whole_batch(bench):
    one = bench()
    one.ask(x(0))
    answers = one.ask(np.zeros((1, 2), np.float32), np.zeros((1, 3), np.float32))
    one.finish()
    assert {str(answer) for answer in answers} == {
        "FAILED_PRECONDITION: Tensors with name 'x:0' from different tasks have different shapes and padding is turned off. Set "
        "pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal dimensions starting with the first dim."}


def test_a_request_of_another_dtype_does_not_touch_the_others(bench):
    one = bench()
    one.ask(x(0))
    answers = one.ask(x(1), np.array([1], np.float64), np.array([b"a"], dtype=object))
    one.finish()
    assert answers[0][0].dtype == np.float32
    assert answers[1][0].dtype == np.float64
    assert answers[2][0].tolist() == [b"a"]


@pytest.mark.parametrize(("feeds", "message"), [
    ([("x:0", np.float32(1))], "Batching Run() input tensors must have at least one dimension"),
    ([("x:0", rows(2)), ("z:0", rows(3))], "Batching Run() input tensors must have equal 0th-dimension size"),
    ([("x:0", rows(1001))], "Task size 1001 is larger than maximum input batch size 1000"),
])
def test_refused_requests(bench, feeds, message):
    with pytest.raises(StatusError) as failure:
        bench().servable.run(feeds, ["y:0"])
    assert str(failure.value) == "INVALID_ARGUMENT: " + message


def test_a_full_queue(bench):
    one = bench("max_batch_size { value: 2 } max_enqueued_batches { value: 1 }")
    one.ask(rows(2))
    answers = one.ask(rows(2), rows(1))
    assert str(answers[1]) == ("UNAVAILABLE: The batch scheduling queue to which this task was submitted is full; currently 1 batches enqueued and "
                               "max_enqueued_batches is 1")
    one.finish()
    assert answers[0][0].tolist() == [0, 2]


@pytest.mark.parametrize(("fetch", "message"), [
    ("scalar:0", "Batched output tensor has 0 dimensions"),
    ("short:0", "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input tensors")])
def test_outputs_that_cannot_be_divided(bench, fetch, message):
    one = bench()
    answers = one.ask(rows(2), fetches=(fetch,))
    one.finish()
    assert str(answers[0]) == "FAILED_PRECONDITION: " + message


def test_splitting_of_large_requests(bench):
    one = bench("max_batch_size { value: 10 } enable_large_batch_splitting { value: true } max_execution_batch_size { value: 4 }")
    one.ask(rows(1))
    answers = one.ask(rows(3), rows(6))
    one.finish()
    assert [len(run[0]["x:0"]) for run in one.inner.runs] == [1, 4, 4, 1]
    assert answers[1][0].tolist() == (rows(6) * 2).tolist()


def test_the_batch_has_the_latest_deadline_of_its_requests(bench):
    one = bench()
    one.ask(x(0))
    one.ask(x(1), timeout_ms=1000)
    one.ask(x(2), timeout_ms=9000)
    one.finish()
    assert 8000 < one.inner.runs[1][1] <= 9001


def test_one_request_without_a_deadline_frees_the_batch_of_it(bench):
    one = bench()
    one.ask(x(0))
    one.ask(x(1), timeout_ms=1000)
    one.ask(x(2))
    one.finish()
    assert one.inner.runs[1][1] is None


def test_requests_that_waited_too_long(bench):
    one = bench()
    one.ask(x(0))
    answers = one.ask(x(1), timeout_ms=10)
    time.sleep(0.05)
    one.finish()
    assert str(answers[0]) == "RESOURCE_EXHAUSTED: Run() timeout exceeded while waiting in batching queue"
    assert len(one.inner.runs) == 1


@pytest.mark.parametrize(("error", "text"), [(invalid_argument("no"), "INVALID_ARGUMENT: no"), (KeyError("k"), "INTERNAL: KeyError: 'k'")])
def test_an_error_of_the_model_reaches_every_request_and_the_pool_lives_on(bench, error, text):
    one = bench()
    one.inner.error = error
    answers = one.ask(x(0), x(1), x(2))
    one.finish()
    assert [str(answer) for answer in answers] == [text] * 3
    one.inner.error = None
    assert one.servable.run([("x:0", x(1))], ["y:0"])[0].tolist() == [2]


def test_models_take_turns_in_one_pool(bench):
    one = bench("max_batch_size { value: 1 } max_enqueued_batches { value: 100 }")
    order = []
    other = Servable()
    other.gate.set()
    other.run = lambda feeds, fetches, timeout_ms=None: order.append("other") or [dict(feeds)["x:0"]]
    inner_run = one.inner.run
    one.inner.run = lambda *arguments: order.append("one") or inner_run(*arguments)
    second = batching.BatchedServable(other, batching.parameters(wire.BatchingParameters()), one.servable._pool)
    one.ask(*[x(n) for n in range(4)])
    asker = threading.Thread(target=lambda: second.run([("x:0", x(1))], ["y:0"]))
    asker.start()
    time.sleep(0.05)
    one.finish()
    asker.join(10)
    assert order.index("other") <= 2


def test_close(bench):
    one = bench()
    one.ask(x(1))
    one.finish()
    one.servable.close()
    assert one.inner.closed
    assert not one.servable._pool._queues
