"""Several model servers that serve the same models, as if they were one: connections that stay, another server where one fails, a breaker for each."""

import copy
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
_LOOK_UP_SECONDS = 5.0
FAILED = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"


class Breaker(object):
    """CLOSED lets everything through. After FAILURES in a row it is OPEN and lets nothing; when that time is over one probe decides (HALF_OPEN)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._since = 0.0
        self.state = CLOSED

    def succeeded(self, predicted: bool) -> None:
        """A call was answered, with whatever. What was no prediction shows that the server is there, and not that it does not hang at the next picture."""
        with self._lock:
            self._failures = 0 if predicted else min(self._failures, FAILURES - 1)
            self.state = CLOSED

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

    def within(self, seconds: float) -> "Server":
        """The same server and connection, for calls of so many seconds."""
        other = copy.copy(self)
        other.timeout = seconds
        return other

    def _advice(self, *_: Any) -> Optional[str]:
        return ""


class Upstreams(object):
    """The servers, shared by threads. `seconds` is what an inquiry() takes at most. Only what may be asked twice goes through here."""

    def __init__(self, addresses: Sequence[str], seconds: float, model: str, connect: Callable[[str, float], Any] = Server) -> None:
        self.seconds = seconds
        self._model = model  # that probes ask for; NOT_FOUND is an answer too
        self.servers = [connect(address, seconds) for address in addresses]
        self._turn = 0
        self._lock = threading.Lock()

    def inquiry(self) -> "Inquiry":
        """For one picture; its time begins now."""
        return Inquiry(self)

    def statuses(self, model: str) -> List[Tuple[str, Any]]:
        """(address, list of VersionStatus) of each server that answers; a model that one has not is an empty list."""
        found = []
        for server in self.usable():
            try:
                # A server that is busy with pictures is late with a list, and not away.
                found.append((server.address, self.call(server, PROBE_SECONDS, lambda one: one.status(model), late_fails=False)))
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

    def usable(self) -> List[Any]:
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

    def call(self, server: Any, seconds: float, ask: Callable[[Any], Any], late_fails: bool = True, predicts: bool = False) -> Any:
        """One call, and what it tells of the server; that it was late only if `late_fails`. Raises TfleetError."""
        with self._lock:
            server.in_flight += 1
        try:
            answer = ask(server.within(seconds))
        except TfleetError as error:
            code = error.result.get("code", "")
            if code in FAILED and not overloaded(error):
                if late_fails or code != "DEADLINE_EXCEEDED":
                    server.breaker.failed()
            else:
                server.breaker.succeeded(predicts)
            if code in FAILED:
                metrics.UPSTREAM_FAILURES.labels(server.address, code).inc()
            metrics.UPSTREAM_UP.labels(server.address).set(server.breaker.state == CLOSED)
            raise
        finally:
            with self._lock:
                server.in_flight -= 1
        server.breaker.succeeded(predicts)
        metrics.UPSTREAM_UP.labels(server.address).set(1)
        return answer

    def _probe(self, server: Any) -> None:
        try:
            self.call(server, PROBE_SECONDS, lambda one: one.status(self._model))
        except TfleetError:
            pass


class Inquiry(object):
    """What served.Model asks a Client, for one picture: all calls together end in the time of the Upstreams. They raise TfleetError with the last `code`.

    While another server, or what a look-up is for, is still to come, a call gets half of what is left: one that hangs leaves time for the others.
    """

    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams
        self._until = time.monotonic() + upstreams.seconds
        self._away: List[Any] = []

    def predict(
        self, model: str, inputs: Dict[str, Any], version: Optional[int] = None, label: Optional[str] = None, signature: str = ""
    ) -> Any:
        """As Client.predict."""
        return self._ask(lambda server: server.predict(model, inputs, version, label, signature), self._upstreams.seconds)

    def metadata(self, model: str, version: Optional[int] = None, label: Optional[str] = None) -> Any:
        """As Client.metadata; it leaves time for a prediction."""
        return self._ask(lambda server: server.metadata(model, version, label), min(_LOOK_UP_SECONDS, self._upstreams.seconds / 2), look_up=True)

    def _ask(self, call: Callable[[Any], Any], most: float, look_up: bool = False) -> Any:
        error: Optional[TfleetError] = None
        servers = self._upstreams.usable()
        servers = [server for server in servers if server not in self._away] or servers
        for others, server in zip(reversed(range(len(servers))), servers):
            left = self._until - time.monotonic()
            if left <= 0:
                break
            if error is not None:
                metrics.RETRIES.inc()
            seconds = min(most, left / 2 if others or look_up else left)
            try:
                return self._upstreams.call(server, seconds, call, late_fails=seconds >= most / 4, predicts=not look_up)
            except TfleetError as failed:
                # The next one may have the version that this one does not have yet, or no longer.
                if failed.result.get("code") in FAILED:
                    self._away.append(server)
                elif not missing(failed):
                    raise
                if error is None or error.result.get("code") in FAILED:
                    error = failed
        raise error or TfleetError("No time is left for this picture.", code="DEADLINE_EXCEEDED")


def overloaded(error: TfleetError) -> bool:
    """Whether the server is there and has too much to do."""
    details = error.result.get("details", "")
    return error.result.get("code") == "UNAVAILABLE" and "batch" in details and "queue" in details


def missing(error: TfleetError) -> bool:
    """Whether the server does not have the model, the version or the label: of a label it says that the request is wrong."""
    code, details = error.result.get("code"), error.result.get("details", "")
    return code == "NOT_FOUND" or (code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION") and "version label" in details)
