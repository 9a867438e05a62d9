"""Model servers for the time of a measurement: each serves one build on the loopback, with the flags that are measured."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any, List, Optional, Sequence

from tfleet.errors import TfleetError
from tfleet.measure import builds

_MODEL = "measured"
_START_SECONDS = 180.0
_END_SECONDS = 15.0
# A measurement that is killed leaves no server behind: the kernel sends it SIGKILL (prctl's PR_SET_PDEATHSIG) when we end.
_END_WITH_US = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.getppid() == int(sys.argv[1]) or sys.exit(); os.execvp(sys.argv[2], sys.argv[2:])"
)


class Server(object):
    """`tfleet serve` for one build, or another server with TensorFlow Serving's flags (`command`). A context manager.

    `batching` is the text of a batching parameters file; None for no batching.
    """

    def __init__(self, source: str, batching: Optional[str] = None, command: Sequence[str] = ()) -> None:
        path = os.path.abspath(os.path.expanduser(source))
        if not os.path.isdir(path):
            raise TfleetError("There is no folder %s to serve: give the folder of a SavedModel, or one with model.tflite." % path, missing=True)
        self.source = source
        self._directory = tempfile.mkdtemp(prefix="tfleet-served-")
        base = os.path.join(self._directory, _MODEL)
        os.mkdir(base)
        os.symlink(path, os.path.join(base, "1"))
        port = _free_port()
        self.address = builds.Address("127.0.0.1:%d" % port, _MODEL, 1, None)
        argv = list(command) or [sys.executable, "-m", "tfleet", "serve", "--tfleet_bind_address=127.0.0.1"]
        argv += ["--port=%d" % port, "--rest_api_port=0", "--model_name=" + _MODEL, "--model_base_path=" + base]
        argv.append("--max_num_load_retries=0")
        if os.path.isfile(os.path.join(path, "model.tflite")):
            argv.append("--prefer_tflite_model=true")
        if batching is not None:
            file = os.path.join(self._directory, "batching_parameters.pbtxt")
            with open(file, "w", encoding="utf-8") as stream:
                stream.write(batching)
            argv += ["--enable_batching=true", "--batching_parameters_file=" + file]
        self._log = os.path.join(self._directory, "log")
        try:
            with open(self._log, "wb") as log:
                whole = [sys.executable, "-c", _END_WITH_US, str(os.getpid())] + argv
                self._process = subprocess.Popen(whole, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        except OSError as error:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise TfleetError("The server cannot be started: %s." % error.strerror)

    def wait(self) -> None:
        """Returns when the model is served. Raises TfleetError, with what the server said last, if it is not."""
        from tfleet.client.grpc_client import Client

        end = time.time() + _START_SECONDS
        with Client(self.address.address, 5.0) as client:
            while True:
                state = self._state(client)
                if state == "AVAILABLE":
                    return
                if state == "END" or self._process.poll() is not None or time.time() > end:
                    raise TfleetError("The server of %s does not serve it. It said last: %s" % (self.source, " ".join(self._said())))
                time.sleep(0.1)

    def _state(self, client: Any) -> str:
        try:
            with socket.create_connection(("127.0.0.1", int(self.address.address.rpartition(":")[2])), 1):
                pass
            found = client.status(_MODEL, 1)
            return str(found[0].state) if found else ""
        except (OSError, TfleetError):
            return ""

    def cpu(self) -> float:
        """Seconds of the processor that it has used so far."""
        try:
            with open("/proc/%d/stat" % self._process.pid, encoding="ascii", errors="replace") as stream:
                fields = stream.read().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))

    def memory(self) -> Any:
        """{"resident", "peak"} in MB, None where the kernel does not tell."""
        from tfleet.measure import worker

        return worker.memory(self._process.pid) or None

    def _said(self) -> List[str]:
        with open(self._log, encoding="utf-8", errors="replace") as stream:
            return [line.strip() for line in stream.readlines() if line.strip()][-4:]

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *unused: Any) -> None:
        self.close()

    def close(self) -> None:
        """Ends the server."""
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
