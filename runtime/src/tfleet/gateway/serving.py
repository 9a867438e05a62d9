"""gunicorn around the application: worker processes with threads, and a limit to how long a client may take."""

import ctypes
import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from typing import Any, Dict

from gunicorn.app.base import BaseApplication
from gunicorn.workers.gthread import ThreadWorker

from tfleet.gateway.settings import Settings, address_text

_SPARE_THREADS = 8
"""Threads of a worker beside those that work on pictures: for clients that send slowly, for the page, and for those that only look."""
_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8
"""Of glibc's malloc.h."""
_MALLOC = ((_MMAP_THRESHOLD, 8 << 20), (_TRIM_THRESHOLD, 16 << 20), (_ARENA_MAX, 2))


def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT; what is begun is answered."""
    directory = tempfile.mkdtemp(prefix="tfleet-gateway-")
    # Before anything imports prometheus_client: its values go into files that all workers share.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.path.join(directory, "metrics")
    os.mkdir(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    owner = os.getpid()
    try:
        _Application(settings, directory).run()
    finally:
        if os.getpid() == owner:
            shutil.rmtree(directory, ignore_errors=True)


class _Application(BaseApplication):
    def __init__(self, settings: Settings, directory: str) -> None:
        self._settings = settings
        self._directory = directory
        super(_Application, self).__init__()

    def load_config(self) -> None:
        threads = self._settings.at_once + _SPARE_THREADS
        values: Dict[str, Any] = {
            "bind": address_text(self._settings.listen),
            "workers": self._settings.workers,
            "worker_class": Worker,
            "threads": threads,
            "worker_connections": 20 * threads,
            "keepalive": 15,
            "timeout": 60,  # of a worker whose main loop hangs
            "graceful_timeout": int(self._settings.deadline_seconds) + 5,
            "limit_request_line": 2048,
            "limit_request_fields": 64,
            "limit_request_field_size": 16384,  # cookies of a proxy's log-in have several kilobytes
            "worker_tmp_dir": self._directory,
            "control_socket_disable": True,
            "forwarded_allow_ips": "",  # access.py judges what proxies say
            "loglevel": "warning",
            "proc_name": "tfleet-gateway",
            "when_ready": _tell,
            "child_exit": _forget_metrics,
        }
        for name, value in values.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        # In a worker: gRPC must not have begun before a fork.
        from tfleet.gateway import app

        keep_memory()
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        Worker.request_seconds = self._settings.request_seconds
        return app.create(self._settings, os.path.join(self._directory, "rates"))


class Worker(ThreadWorker):
    """gunicorn's worker with threads, which by itself waits for ever for a client that sends a byte now and then."""

    request_seconds = 60.0

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super(Worker, self).__init__(*arguments, **keywords)
        self._begun: Dict[Any, float] = {}
        self._begun_lock = threading.Lock()

    def handle(self, conn: Any) -> Any:
        """One request of a connection, in a thread."""
        with self._begun_lock:
            self._begun[conn] = time.monotonic()
        try:
            return super(Worker, self).handle(conn)
        finally:
            with self._begun_lock:
                del self._begun[conn]

    def murder_pending(self) -> None:
        """Called every second: ends the connections whose request takes too long."""
        super(Worker, self).murder_pending()
        until = time.monotonic() - self.request_seconds
        with self._begun_lock:
            late = [conn for conn, begun in self._begun.items() if begun < until]
            for conn in late:
                try:
                    conn.sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # closed by the client


def keep_memory() -> None:
    """Has the C library keep up to 32 MiB that are free: what each picture gives back, the next one gets page by page, which took three of eight milliseconds.

    Pictures of more than 8 MiB still give back theirs at once. Where the C library is not glibc nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in _MALLOC:
            mallopt(option, value)


def _tell(server: Any) -> None:
    address = address_text(server.address[0]) if not isinstance(server.address, str) else server.address
    sys.stderr.write("tfleet gateway listens at http://%s/\n" % address)
    sys.stderr.flush()


def _forget_metrics(_server: Any, worker: Any) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)
