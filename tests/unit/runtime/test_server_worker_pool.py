"""The pool that grpc's server runs on: order, callbacks at any time, and threads that survive what goes wrong."""

import threading

from tfleet.server.worker_pool import WorkerPool


def test_calls_run_in_order_with_their_arguments():
    pool, seen, done = WorkerPool(1, "test"), [], threading.Event()
    for number in range(5):
        pool.submit(lambda *args, **kwargs: seen.append((args, kwargs)), number, last=number == 4)
    pool.submit(done.set)
    assert done.wait(10)
    assert seen == [((number,), {"last": number == 4}) for number in range(5)]


def test_callbacks_come_once_whether_early_or_late():
    pool, go, seen = WorkerPool(2, "test"), threading.Event(), []
    early = pool.submit(go.wait, 10)
    early.add_done_callback(lambda call: seen.append("early"))
    go.set()
    counted = threading.Semaphore(0)
    for _ in range(2000):  # so quick that some are done before they are asked
        pool.submit(int).add_done_callback(lambda call: counted.release())
    for _ in range(2000):
        assert counted.acquire(timeout=10)
    assert seen == ["early"] and not counted.acquire(blocking=False)


def test_a_failure_is_logged_and_the_thread_goes_on(caplog):
    pool, done = WorkerPool(1, "test"), threading.Event()
    pool.submit(int, "x").add_done_callback(lambda call: done.set())
    assert done.wait(10)
    assert "A call met an unexpected error" in caplog.text
    done.clear()
    pool.submit(done.set)
    assert done.wait(10)
