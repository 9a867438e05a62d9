"""Asks a server: by so many clients that each wait for their answer, or at a fixed rate whether it answers or not."""

import threading
import time
from typing import Any, Dict, List, NamedTuple, Sequence

import grpc

from tfleet import wire
from tfleet.client.grpc_client import OPTIONS
from tfleet.measure import builds

Window = NamedTuple(
    "Window",
    [
        ("seconds", float),
        ("took", List[float]),  # of each answered request
        ("errors", Dict[str, int]),  # by gRPC status code
        ("late", float),  # seconds by which the generator itself was behind its plan, the 99th percentile; 0 with clients that wait
    ],
)

_CLIENTS_OF_A_CHANNEL = 4
_MOST_WAITING = 1000
"""Requests under way at a fixed rate; more are counted as errors NOT_SENT, for a server that falls behind has unlimited ones."""


class Target(object):
    """One served build, with its channels. A context manager."""

    def __init__(self, name: str, address: builds.Address, requests: Sequence[bytes], timeout: float, clients: int) -> None:
        self.name = name
        self._requests = list(requests)
        self._timeout = timeout
        # Channels of equal arguments would share one connection.
        options = tuple(OPTIONS) + (("grpc.use_local_subchannel_pool", 1),)
        count = max(1, -(-clients // _CLIENTS_OF_A_CHANNEL))
        self._channels = [grpc.insecure_channel(address.address, options=options) for _ in range(count)]
        self._calls = [channel.unary_unary(wire.PREDICT) for channel in self._channels]

    def __enter__(self) -> "Target":
        return self

    def __exit__(self, *unused: Any) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections."""
        for channel in self._channels:
            channel.close()

    def clients(self, count: int, seconds: float) -> Window:
        """A closed loop: each client sends its next request when it has its answer. Requests that began within the time count."""
        gate = threading.Barrier(count + 1)
        results: List[Any] = [([], {}) for _ in range(count)]
        end = [0.0]
        threads = [threading.Thread(target=self._client, args=(number, count, gate, end, results[number])) for number in range(count)]
        for thread in threads:
            thread.daemon = True
            thread.start()
        begin = time.perf_counter()
        end[0] = begin + seconds
        gate.wait()
        for thread in threads:
            thread.join()
        whole = time.perf_counter() - begin
        took = [value for mine, _ in results for value in mine]
        errors: Dict[str, int] = {}
        for _, mine in results:
            for code, number in mine.items():
                errors[code] = errors.get(code, 0) + number
        return Window(whole, took, errors, 0.0)

    def _client(self, number: int, count: int, gate: Any, end: List[float], result: Any) -> None:
        took, errors = result
        call = self._calls[number // _CLIENTS_OF_A_CHANNEL]
        requests, clock = self._requests, time.perf_counter
        place = number
        gate.wait()
        begin = clock()
        while begin < end[0]:
            try:
                call(requests[place % len(requests)], self._timeout)
                took.append(clock() - begin)
            except grpc.RpcError as error:
                _count(errors, error.code().name)
            place += count
            begin = clock()

    def rate(self, rate: float, seconds: float) -> Window:
        """An open loop: a request every 1/rate seconds. Latency counts from when the request was due, so that a stalled server is not spared."""
        ledger = _Ledger()
        count = max(1, round(rate * seconds))
        begin = time.perf_counter() + 0.01
        late = []
        for number in range(count):
            due = begin + number / rate
            wait = due - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            late.append(max(0.0, time.perf_counter() - due))
            if not ledger.enter(_MOST_WAITING):
                continue
            call = self._calls[number % len(self._calls)]
            future = call.future(self._requests[number % len(self._requests)], self._timeout)
            future.add_done_callback(lambda done, due=due: ledger.leave(done, due))
        ledger.wait(self._timeout + 1)
        late.sort()
        return Window(max(ledger.last, begin + count / rate) - begin, ledger.took, ledger.errors, late[int(0.99 * (len(late) - 1))])


class _Ledger(object):
    """The requests of an open loop that are under way, and what became of the others."""

    def __init__(self) -> None:
        self.took: List[float] = []
        self.errors: Dict[str, int] = {}
        self.last = 0.0
        self._waiting = 0
        self._changed = threading.Condition()

    def enter(self, most: int) -> bool:
        with self._changed:
            if self._waiting >= most:
                _count(self.errors, "NOT_SENT")
                return False
            self._waiting += 1
            return True

    def leave(self, done: Any, due: float) -> None:
        now = time.perf_counter()
        code = done.code()
        with self._changed:
            self._waiting -= 1
            self.last = max(self.last, now)
            if code == grpc.StatusCode.OK:
                self.took.append(now - due)
            else:
                _count(self.errors, code.name)
            self._changed.notify()

    def wait(self, seconds: float) -> None:
        end = time.time() + seconds
        with self._changed:
            while self._waiting and time.time() < end:
                self._changed.wait(max(0.0, end - time.time()))


def _count(errors: Dict[str, int], code: str) -> None:
    errors[code] = errors.get(code, 0) + 1
