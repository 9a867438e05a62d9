"""The threads that answer gRPC calls: a ThreadPoolExecutor without what grpc's server does not use of its futures.

Making a Future with its locks for each call is a tenth of the time of a small one.
"""
import logging
import queue
import threading
from concurrent import futures
from typing import Any, Callable, List

log = logging.getLogger(__name__)

_Queue: Any = getattr(queue, "SimpleQueue", queue.Queue)  # Python 3.6 has only the second


class _Call:
    """What submit() answers: nothing of a Future but add_done_callback."""

    __slots__ = ("_callbacks", "_done", "_work")

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._done = False
        self._callbacks: List[Callable[[Any], Any]] = []

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        """Calls back when the call has been answered, in its thread, or now."""
        self._callbacks.append(callback)
        if self._done:
            self._call_back()

    def run(self) -> None:
        try:
            self._work()
        except Exception:  # grpc and the handlers catch their own; a thread must not end
            log.exception("A call met an unexpected error")
        self._done = True
        self._call_back()

    def _call_back(self) -> None:
        # Both threads may be here: pop() gives each callback to one of them.
        while self._callbacks:
            try:
                callback = self._callbacks.pop()
            except IndexError:
                return
            callback(self)


class WorkerPool(futures.ThreadPoolExecutor):
    """So many threads, which run what is submitted in its order; they end with the process."""

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._calls: Any = _Queue()
        for number in range(threads):
            threading.Thread(target=self._serve, name="%s-%d" % (name, number), daemon=True).start()

    def submit(self, fn: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Runs fn(*args, **kwargs) in a thread of the pool."""
        call = _Call(lambda: fn(*args, **kwargs))
        self._calls.put(call)
        return call

    def _serve(self) -> None:
        while True:
            self._calls.get().run()
