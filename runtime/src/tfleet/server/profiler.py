"""tensorflow.ProfilerService on the gRPC port: calls are handed on, byte for byte, to TensorFlow's own profiler server.

That server runs in this process, because it profiles it, and starts with the first call. TensorFlow binds it to every
address and without TLS, whatever our port does; so its socket is bound to the loopback interface at once, or it is shut.
"""
import logging
import os
import socket
import stat
import threading
import time
from typing import Any, Dict, List

import grpc

from .executor import tensorflow
from .status import CANCELLED, FAILED_PRECONDITION, INTERNAL, UNIMPLEMENTED, StatusError
from .status import name as code_name

log = logging.getLogger(__name__)

PATHS = tuple("/tensorflow.ProfilerService/" + method for method in ("Profile", "Terminate", "Monitor"))
_SO_BINDTODEVICE = 25  # Python before 3.8 has no name for it
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.enable_http_proxy", 0)]


class Profiler:
    """The three calls as functions (path, request bytes, grpc context) -> response bytes; they raise StatusError."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Dict[str, Any] = {}

    def call(self, path: str, data: bytes, context: Any) -> bytes:
        """Hands one call on and answers what TensorFlow answers."""
        with self._lock:
            if not self._calls:
                channel = grpc.insecure_channel("127.0.0.1:%d" % _start(), options=_OPTIONS)
                self._calls = {known: channel.unary_unary(known) for known in PATHS}
        remaining = context.time_remaining()
        call = self._calls[path].future(data, timeout=None if remaining is None or remaining > 1e9 else remaining)
        if not context.add_callback(call.cancel):
            call.cancel()  # the client has gone already
        try:
            return bytes(call.result())
        except grpc.FutureCancelledError:
            raise StatusError(CANCELLED, "The client went away")
        except grpc.RpcError as error:
            raise StatusError(error.code().value[0], error.details() or code_name(error.code().value[0]))


def _start() -> int:
    """Starts TensorFlow's profiler server; its port, which only this host can reach."""
    start = _starter()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    try:
        start(port)
    except (tensorflow().errors.OpError, RuntimeError) as error:
        raise StatusError(INTERNAL, "TensorFlow's profiler server did not start: %s" % error)
    listening = _listening(port)
    deadline = time.time() + 10
    while not listening and time.time() < deadline:  # TensorFlow 1.15 starts it in a thread of its own
        time.sleep(0.001)
        listening = _listening(port)
    if not listening:
        raise StatusError(INTERNAL, "TensorFlow's profiler server does not listen on its port %d" % port)
    try:
        for one in listening:
            one.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, b"lo\0")
    except OSError as error:
        for one in listening:
            one.shutdown(socket.SHUT_RDWR)
        raise StatusError(FAILED_PRECONDITION, "TensorFlow's profiler would be open to the network, and this kernel does not let an unprivileged "
                          "process keep it on this host (%s): run the server on Linux 5.7 or later, or give it CAP_NET_RAW" % error.strerror)
    finally:
        for one in listening:
            one.close()
    log.info("TensorFlow's profiler server listens on port %d of the loopback interface", port)
    return port


def _starter() -> Any:
    """The function of this TensorFlow that starts a profiler server on a port."""
    tf = tensorflow()
    try:
        return tf.profiler.experimental.server.start  # 2.2 on
    except AttributeError:
        pass
    try:
        from tensorflow.python.eager.profiler import start_profiler_server  # 1.14, 1.15
    except ImportError:
        raise StatusError(UNIMPLEMENTED, "TensorFlow %s has no profiler server" % tf.__version__)
    return start_profiler_server


def _listening(port: int) -> List[socket.socket]:
    """Duplicates of this process's sockets that listen on a TCP port."""
    found = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            if not stat.S_ISSOCK(os.fstat(int(entry)).st_mode):
                continue
            duplicate = os.dup(int(entry))
        except OSError:  # closed since, as the descriptor of the listing itself is
            continue
        # The family only decides how addresses are read; both kinds have the port in the same place.
        one = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, duplicate)
        internet = one.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) in (socket.AF_INET, socket.AF_INET6)
        if internet and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and one.getsockname()[1] == port:
            found.append(one)
        else:
            one.close()
    return found
