"""An HTTP server with ranges for releases, on loopback, that can also do what bad mirrors do, and counts what it sends.

``python range_server.py FOLDER [PORT] [ADDRESS]`` serves until it is ended, for benchmarks.
"""
import contextlib
import http.server
import os
import re
import sys
import threading


class Mirror:
    """Serves the files of ``folder``; what it sent and how it misbehaves are attributes that may change while it runs."""

    def __init__(self, folder, port=0, address="127.0.0.1"):
        self.folder = str(folder)
        self.sent = 0
        self.requests = []
        self.ranges = True
        self.break_after = None  # bytes of the archive, then every connection is cut
        self.flip = None  # offset in the archive at which a byte is wrong
        self.delay = 0.0  # seconds before each chunk
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                mirror.answer(self)

            def log_message(self, *arguments):
                """A test reads ``requests``."""

        self.server = http.server.ThreadingHTTPServer((address, port), Handler)
        self.server.daemon_threads = True
        self.url = "http://%s:%d" % (address, self.server.server_address[1])

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_error):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler):
        name = os.path.basename(handler.path)
        wanted = handler.headers.get("Range") if self.ranges else None
        self.requests.append((name, wanted))
        try:
            stream = open(os.path.join(self.folder, name), "rb")  # noqa: SIM115 - closed below
        except OSError:
            handler.send_error(404)
            return
        with stream, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            size = os.fstat(stream.fileno()).st_size
            first, last = 0, size - 1
            match = re.match(r"bytes=(\d+)-(\d+)", wanted or "")
            if match:
                first, last = int(match.group(1)), min(int(match.group(2)), size - 1)
                if first > last:
                    handler.send_error(416)
                    return
                handler.send_response(206)
                handler.send_header("Content-Range", "bytes %d-%d/%d" % (first, last, size))
            else:
                handler.send_response(200)
            handler.send_header("Content-Length", str(last - first + 1))
            handler.end_headers()
            stream.seek(first)
            self._send(handler, stream, name, first, last + 1)

    def _send(self, handler, stream, name, offset, end):
        archive = name.endswith(".tar")
        while offset < end:
            data = stream.read(min(65536, end - offset))
            if archive and self.flip is not None and offset <= self.flip < offset + len(data):
                at = self.flip - offset
                data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
            if archive and self.break_after is not None and self.sent + len(data) > self.break_after:
                handler.close_connection = True
                handler.connection.close()
                return
            if self.delay:
                threading.Event().wait(self.delay)
            handler.wfile.write(data)
            offset += len(data)
            self.sent += len(data) if archive else 0


if __name__ == "__main__":
    Mirror(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0, sys.argv[3] if len(sys.argv) > 3 else "127.0.0.1").server.serve_forever()
