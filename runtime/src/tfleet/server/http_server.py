"""HTTP/1.1 over the standard library: keep-alive, bodies with a length or in chunks, limits against slow clients.

One thread a connection; of these only so many answer at the same time. What a request means is the handler's business.
"""
import errno
import io
import logging
import re
import socket
import threading
import time
from http.client import responses
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Callable, Mapping, Optional, Set

log = logging.getLogger(__name__)

_IDLE_SECONDS = 120.0  # a connection that says nothing for so long is closed
_HEAD_SECONDS = 20.0  # from the first byte of a request to the end of its head
# A body, or an answer, may take this, and a second more for each of these bytes: a slow line has time, a drip has not.
_BODY_SECONDS_BASE = 30.0
_BODY_BYTES_PER_SECOND = 8 * 1024
_READ = 1 << 20
_LENGTH = re.compile(r"[0-9]{1,18}\Z", re.A)
_CHUNK = re.compile(br"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?\r?\n\Z")
_MAX_TRAILERS = 100

Answering = Callable[[str, str, Mapping, bytes], Any]


class _BadBodyError(Exception):
    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class _TimedReader(io.RawIOBase):
    """What a socket receives until `deadline` (time.monotonic()), however little comes at a time; then socket.timeout."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self.deadline = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any = None

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._reader = _TimedReader(self.connection)
        self.rfile = io.BufferedReader(self._reader, 1 << 16)

    def handle_one_request(self) -> None:
        self._reader.deadline = time.monotonic() + _IDLE_SECONDS
        if not self.server.wait_for_request(self.connection, self.rfile):
            self.close_connection = True
            return
        self._reader.deadline = time.monotonic() + _HEAD_SECONDS
        super().handle_one_request()

    def _answer(self) -> None:
        try:
            body = self._body()
        except (_BadBodyError, socket.timeout) as error:
            self.close_connection = True
            status = error.status if isinstance(error, _BadBodyError) else 408
            text = "The body comes too slowly" if status == 408 else str(error)
            self._send(status, [("Content-Type", "text/plain")], (text + "\n").encode("utf-8"))
            return
        with self.server.slots:
            answer = self.server.answer(self.command, self.path, self.headers, body)
        self._send(answer.status, answer.headers, answer.body)

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = _answer

    def _body(self) -> bytes:
        deadline = time.monotonic() + _BODY_SECONDS_BASE
        encodings = self.headers.get_all("Transfer-Encoding") or []
        lengths = set(self.headers.get_all("Content-Length") or ["0"])
        # What two readers could understand differently is refused: behind a proxy it smuggles requests.
        if encodings:
            if [encoding.strip().lower() for encoding in encodings] != ["chunked"]:
                raise _BadBodyError("The only Transfer-Encoding here is chunked", 501)
            if lengths != {"0"}:
                raise _BadBodyError("Transfer-Encoding and Content-Length exclude each other")
            return self._chunks(deadline)
        length = lengths.pop()
        if lengths or not _LENGTH.match(length):
            raise _BadBodyError("Content-Length is not a number")
        return bytes(self._exactly(int(length), deadline))

    def _exactly(self, size: int, deadline: float) -> bytearray:
        # Read as it comes: a length alone reserves no memory.
        body = bytearray()
        while len(body) < size:
            self._reader.deadline = deadline + len(body) / float(_BODY_BYTES_PER_SECOND)
            part = self.rfile.read1(min(size - len(body), _READ))
            if not part:
                raise _BadBodyError("The connection ended before the body did")
            body += part
        return body

    def _chunks(self, deadline: float) -> bytes:
        body = bytearray()
        while True:
            self._reader.deadline = deadline + len(body) / float(_BODY_BYTES_PER_SECOND)
            match = _CHUNK.match(self.rfile.readline(1024))
            if match is None:
                raise _BadBodyError("A chunk begins without its size")
            size = int(match.group(1), 16)
            if not size:
                self._skip_trailers()
                return bytes(body)
            body += self._exactly(size, deadline + len(body) / float(_BODY_BYTES_PER_SECOND))
            if self.rfile.readline(2) not in (b"\r\n", b"\n"):
                raise _BadBodyError("A chunk is longer than its size")

    def _skip_trailers(self) -> None:
        for _ in range(_MAX_TRAILERS):
            if not self.rfile.readline(4096).strip():
                return
        raise _BadBodyError("Too many trailers")

    def _send(self, status: int, headers: Any, body: bytes) -> None:
        head = ["HTTP/1.1 %d %s" % (status, responses.get(status, "Unknown"))]
        head += ["%s: %s" % header for header in headers]
        head += ["Date: " + self.date_time_string(), "Content-Length: %d" % len(body)]
        if self.server.ending:
            self.close_connection = True
        if self.close_connection:
            head.append("Connection: close")
        data = ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")
        self.connection.settimeout(_BODY_SECONDS_BASE + len(body) / float(_BODY_BYTES_PER_SECOND))
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
        self._connections: Set[socket.socket] = set()
        self._waiting: Set[socket.socket] = set()  # those of them whose client has nothing asked for
        self._changed = threading.Condition()
        self._thread: Optional[threading.Thread] = None
        super().__init__((host.strip("[]"), port), _Connection)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def start(self) -> None:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, name="rest", daemon=True)
        self._thread.start()

    def stop(self, drain_seconds: float) -> None:
        """Takes no new connection, ends those without a request, and the others after their answer or after so long."""
        self.shutdown()
        self._accept_what_waits()
        self.server_close()
        deadline = time.monotonic() + drain_seconds
        with self._changed:
            self.ending = True
            for connection in self._waiting:
                _receive_no_more(connection)
            while self._connections and time.monotonic() < deadline:
                self._changed.wait(0.1)

    def _accept_what_waits(self) -> None:
        # The kernel has taken these connections already: closing the socket would reset them.
        self.socket.setblocking(False)
        while True:
            try:
                self.process_request(*self.socket.accept())
            except OSError:
                return

    def wait_for_request(self, connection: socket.socket, reader: Any) -> bool:
        """Waits for the first byte of a request; False if none comes."""
        with self._changed:
            self._waiting.add(connection)
            if self.ending:
                _receive_no_more(connection)
        try:
            return bool(reader.peek(1))
        except socket.timeout:
            return False
        finally:
            with self._changed:
                self._waiting.discard(connection)

    def get_request(self) -> Any:
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                # The connection stays in the queue and would be offered again at once, for ever.
                log.error("Cannot accept a REST connection: %s", error.strerror)
                time.sleep(0.5)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    def server_close(self) -> None:
        self.socket.close()  # not ThreadingMixIn's: that would wait for idle connections

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        log.exception("A REST connection of %s met an unexpected error", client_address)


def _receive_no_more(connection: socket.socket) -> None:
    # What has arrived can still be read; then the connection looks ended.
    try:
        connection.shutdown(socket.SHUT_RD)
    except OSError:
        pass  # the client has closed it
