"""HTTP/1.1 over the standard library: keep-alive, bodies with a length or in chunks, limits against slow clients.

One thread a connection; of these only so many answer at the same time. What a request means is the handler's business.
"""
import logging
import socket
import threading
import time
from http.client import responses
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Callable, Mapping, Optional

log = logging.getLogger(__name__)

_IDLE_SECONDS = 120.0  # a connection that says nothing for so long is closed
_BODY_SECONDS_BASE = 60.0  # a body may take this, and a second more for each of these bytes
_BODY_BYTES_PER_SECOND = 64 * 1024
_READ = 1 << 20

Answering = Callable[[str, str, Mapping, bytes], Any]


class _BadBodyError(Exception):
    pass


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _IDLE_SECONDS
    server: Any = None

    def _answer(self) -> None:
        with self.server.counted():
            try:
                body = self._body()
            except (_BadBodyError, socket.timeout) as error:
                self.close_connection = True
                self._send(400, [("Content-Type", "text/plain")], ("%s\n" % error).encode("utf-8"))
                return
            with self.server.slots:
                answer = self.server.answer(self.command, self.path, self.headers, body)
            self._send(answer.status, answer.headers, answer.body)

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = _answer

    def _body(self) -> bytes:
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            return self._chunks()
        text = self.headers.get("Content-Length") or "0"
        if not text.isdigit():
            raise _BadBodyError("Content-Length is not a number")
        return bytes(self._exactly(int(text), time.monotonic() + _BODY_SECONDS_BASE))

    def _exactly(self, size: int, deadline: float) -> bytearray:
        # Read as it comes: a length alone reserves no memory, and a client that drips bytes runs out of time.
        body = bytearray()
        while len(body) < size:
            part = self.rfile.read1(min(size - len(body), _READ))
            if not part:
                raise _BadBodyError("The connection ended before the body did")
            body += part
            if time.monotonic() > deadline + len(body) / float(_BODY_BYTES_PER_SECOND):
                raise _BadBodyError("The body comes too slowly")
        return body

    def _chunks(self) -> bytes:
        body = bytearray()
        deadline = time.monotonic() + _BODY_SECONDS_BASE
        while True:
            line = self.rfile.readline(1024)
            try:
                size = int(line.split(b";")[0], 16)
            except ValueError:
                raise _BadBodyError("A chunk begins without its size")
            if size < 0:
                raise _BadBodyError("A chunk begins without its size")
            if not size:
                while self.rfile.readline(65536).strip():  # trailers
                    pass
                return bytes(body)
            body += self._exactly(size, deadline + len(body) / float(_BODY_BYTES_PER_SECOND))
            self.rfile.readline(8)

    def _send(self, status: int, headers: Any, body: bytes) -> None:
        head = ["HTTP/1.1 %d %s" % (status, responses.get(status, "Unknown"))]
        head += ["%s: %s" % header for header in headers]
        head += ["Date: " + self.date_time_string(), "Content-Length: %d" % len(body)]
        if self.server.ending:
            self.close_connection = True
        if self.close_connection:
            head.append("Connection: close")
        data = ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")
        self.wfile.write(data if self.command == "HEAD" else data + body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name in the base class)
        log.debug(format, *args)

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, socket.timeout):
            pass  # the client went away; nothing is left to answer


class HttpServer(ThreadingMixIn, TCPServer):
    """start() serves in the background; stop() refuses new connections and waits for running requests."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 1024

    def __init__(self, host: str, port: int, answer: Answering, threads: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.answer = answer
        self.slots = threading.BoundedSemaphore(threads)
        self.ending = False
        self._running = 0
        self._idle = threading.Condition()
        self._thread: Optional[threading.Thread] = None
        super().__init__((host.strip("[]"), port), _Connection)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def counted(self) -> "_Counted":
        """A context in which one more request is running."""
        return _Counted(self)

    def start(self) -> None:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, name="rest", daemon=True)
        self._thread.start()

    def stop(self, drain_seconds: float) -> None:
        """Takes no new connection, closes the others after their next answer, and waits for running requests so long."""
        self.ending = True
        self.shutdown()
        self.server_close()
        deadline = time.monotonic() + drain_seconds
        with self._idle:
            while self._running and time.monotonic() < deadline:
                self._idle.wait(0.1)

    def server_close(self) -> None:
        self.socket.close()  # not ThreadingMixIn's: that would wait for idle connections

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        log.exception("A REST connection of %s met an unexpected error", client_address)

    def change_running(self, by: int) -> None:
        with self._idle:
            self._running += by
            self._idle.notify_all()


class _Counted:
    def __init__(self, server: HttpServer) -> None:
        self._server = server

    def __enter__(self) -> None:
        self._server.change_running(1)

    def __exit__(self, *unused: Any) -> None:
        self._server.change_running(-1)
