"""Several model servers that serve the same models, as if they were one: connections that stay, another server where one fails, a breaker for each."""

import threading
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from tfleet.client.grpc_client import Client
from tfleet.errors import TfleetError
from tfleet.gateway import metrics

FAILURES = 3
"""In a row, until a server is left alone,"""
OPEN_SECONDS = 2.0
"""for so long; then one call, which no user waits for, asks whether it is back."""
PROBE_SECONDS = 1.0
_FAILED = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"


class Breaker(object):
    """CLOSED lets everything through. After FAILURES in a row it is OPEN and lets nothing; when that time is over one probe decides (HALF_OPEN)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._since = 0.0
        self.state = CLOSED

    def succeeded(self) -> None:
        """A call was answered, with whatever."""
        with self._lock:
            self._failures, self.state = 0, CLOSED

    def failed(self) -> None:
        """A call was not answered."""
        with self._lock:
            self._failures += 1
            if self.state == HALF_OPEN or self._failures >= FAILURES:
                self.state, self._since = OPEN, self._clock()

    def may_probe(self) -> bool:
        """Whether the caller is to probe now; then nobody else is told so."""
        with self._lock:
            if self.state != OPEN or self._clock() - self._since < OPEN_SECONDS:
                return False
            self.state = HALF_OPEN
            return True


class Server(Client):
    """One model server. Its errors are for the gateway: looking for the advice that people at a terminal get would take seconds."""

    def __init__(self, address: str, timeout: float) -> None:
        super(Server, self).__init__(address, timeout)
        self.breaker = Breaker()
        self.in_flight = 0

    def _advice(self, *_: Any) -> Optional[str]:
        return ""


class Upstreams(object):
    """What served.Model asks of a Client, spread over several; shared by threads. The calls raise TfleetError with the last server's `code`.

    Only what may be asked twice goes through here. With several servers each gets half of the time, so that one that hangs leaves time for another.
    """

    def __init__(self, addresses: Sequence[str], seconds: float, model: str, connect: Callable[[str, float], Any] = Server) -> None:
        self._seconds = seconds
        self._model = model  # that probes ask for; NOT_FOUND is an answer too
        self.servers = [connect(address, seconds / 2 if len(addresses) > 1 else seconds) for address in addresses]
        self._turn = 0
        self._lock = threading.Lock()

    def predict(
        self, model: str, inputs: Dict[str, Any], version: Optional[int] = None, label: Optional[str] = None, signature: str = ""
    ) -> Any:
        """As Client.predict."""
        return self._ask(lambda server: server.predict(model, inputs, version, label, signature))

    def metadata(self, model: str, version: Optional[int] = None, label: Optional[str] = None) -> Any:
        """As Client.metadata."""
        return self._ask(lambda server: server.metadata(model, version, label, timeout=min(self._seconds / 2, 5.0)))

    def statuses(self, model: str) -> List[Tuple[str, Any]]:
        """(address, list of VersionStatus) of each server that answers; a model that one has not is an empty list."""
        found = []
        for server in self._usable():
            try:
                found.append((server.address, self._call(server, lambda one: one.status(model, timeout=PROBE_SECONDS), late_fails=False)))
            except TfleetError as error:
                if error.result.get("code") == "NOT_FOUND":
                    found.append((server.address, []))
        return found

    def states(self) -> Dict[str, str]:
        """{address: state of its breaker}."""
        return {server.address: server.breaker.state for server in self.servers}

    def close(self) -> None:
        """Ends the connections."""
        for server in self.servers:
            server.close()

    def _ask(self, call: Callable[[Any], Any]) -> Any:
        # Half of the time is over: what is left would not be enough for another attempt.
        until = time.monotonic() + self._seconds / 2 + 0.05
        error: Optional[TfleetError] = None
        for server in self._usable():
            if error is not None:
                if time.monotonic() > until:
                    break
                metrics.RETRIES.inc()
            try:
                return self._call(server, call)
            except TfleetError as failed:
                # The next one may have the version that this one does not have yet, or no longer.
                if failed.result.get("code") not in _FAILED and not missing(failed):
                    raise
                if error is None or error.result.get("code") in _FAILED:
                    error = failed
        raise error or TfleetError("No model server can be reached.", code="UNAVAILABLE")

    def _call(self, server: Any, call: Callable[[Any], Any], late_fails: bool = True) -> Any:
        with self._lock:
            server.in_flight += 1
        try:
            answer = call(server)
        except TfleetError as error:
            code = error.result.get("code", "")
            if code in _FAILED and not overloaded(error):
                # A server that is busy with pictures is late with a list, and not away.
                if late_fails or code != "DEADLINE_EXCEEDED":
                    server.breaker.failed()
            else:
                server.breaker.succeeded()
            if code in _FAILED:
                metrics.UPSTREAM_FAILURES.labels(server.address, code).inc()
            metrics.UPSTREAM_UP.labels(server.address).set(server.breaker.state == CLOSED)
            raise
        finally:
            with self._lock:
                server.in_flight -= 1
        server.breaker.succeeded()
        metrics.UPSTREAM_UP.labels(server.address).set(1)
        return answer

    def _usable(self) -> List[Any]:
        """The servers to try, the least busy first, in turns: those that are not left alone, or all where that leaves none."""
        closed = [server for server in self.servers if server.breaker.state == CLOSED]
        if closed:
            for server in self.servers:
                if server.breaker.may_probe():
                    threading.Thread(target=self._probe, args=(server,), daemon=True).start()
        with self._lock:
            self._turn += 1
            turn = self._turn
        count = len(self.servers)
        order = sorted(range(count), key=lambda place: (self.servers[place].in_flight, (place + turn) % count))
        return [self.servers[place] for place in order if not closed or self.servers[place] in closed]

    def _probe(self, server: Any) -> None:
        try:
            self._call(server, lambda one: one.status(self._model, timeout=PROBE_SECONDS))
        except TfleetError:
            pass


def overloaded(error: TfleetError) -> bool:
    """Whether the server is there and has too much to do."""
    details = error.result.get("details", "")
    return error.result.get("code") == "UNAVAILABLE" and "batch" in details and "queue" in details


def missing(error: TfleetError) -> bool:
    """Whether the server does not have the model, the version or the label: of a label it says that the request is wrong."""
    code, details = error.result.get("code"), error.result.get("details", "")
    return code == "NOT_FOUND" or (code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION") and "version label" in details)
