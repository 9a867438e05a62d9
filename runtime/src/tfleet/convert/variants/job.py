"""A conversion's child process: started, watched (time, memory, progress), ended, and its end put into a sentence. No TensorFlow here."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from tfleet.convert.variants import resources
from tfleet.errors import TfleetError

_POLL_SECONDS = 0.2
_GRACE_SECONDS = 10
_MIB = resources.MIB

Progress = NamedTuple(
    "Progress", [("phase", str), ("done", int), ("total", int), ("elapsed_seconds", float), ("memory_bytes", int), ("peak_bytes", int)]
)
Watcher = Callable[[Progress], None]


def line(progress: Progress) -> str:
    """``building engines, 1 of 3, 74 s, 1320 MiB``."""
    counted = ", %d of %d" % (progress.done, progress.total) if progress.total else ""
    return "%s%s, %d s, %d MiB" % (progress.phase, counted, progress.elapsed_seconds, progress.memory_bytes // _MIB)


class Job(object):
    """One child process that speaks as `worker` does.

    :param module: the module that Python runs
    :param task: what it gets on standard input, as JSON
    :param log: the file for its standard error
    :param environment: added to the child's
    """

    def __init__(self, module: str, task: Dict[str, Any], log: str, environment: Dict[str, str]) -> None:
        self._argv = [sys.executable, "-m", module]
        self._task = task
        self._log = log
        self._environment = dict(os.environ, **environment)
        # The child finds this very package, however this one was found.
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
        self._environment["PYTHONPATH"] = os.pathsep.join([package] + [part for part in [os.environ.get("PYTHONPATH")] if part])
        # TensorFlow 1.15's TensorFlow Lite converter is a command beside the interpreter, looked up in PATH.
        self._environment["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
        self._said: Dict[str, Any] = {"phase": "starting", "done": 0, "total": 0}
        self._last: Dict[str, Any] = {}
        self._peak = 0
        self._lowest = resources.memory()

    def run(self, limit: float, watch: Optional[Watcher] = None) -> Dict[str, Any]:
        """The child's result. Raises TfleetError for whatever else it came to; the child is gone then."""
        began = time.time()
        with open(self._log, "wb") as log:
            child = subprocess.Popen(self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=self._environment, start_new_session=True)
            reader = threading.Thread(target=self._read, args=(child.stdout,), daemon=True)
            reader.start()
            try:
                self._feed(child)
                while child.poll() is None:
                    if time.time() - began > limit:
                        raise TfleetError(
                            "The conversion did not finish within %d seconds and was ended while it was %s. Nothing was left behind. Give it more time "
                            "(--time-limit), or build fewer shapes; engines of detectors take ten minutes and more on a small device."
                            % (limit, self._said["phase"]),
                            timed_out=True, progress=self._progress(began, child.pid)._asdict(),
                        )  # fmt: skip
                    progress = self._progress(began, child.pid)
                    if watch:
                        watch(progress)
                    time.sleep(_POLL_SECONDS)
            finally:
                _end(child)
                reader.join(_GRACE_SECONDS)
                child.stdout.close()  # type: ignore[union-attr]
        if child.returncode == 0 and "result" in self._last:
            peak = max(self._peak, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
            return dict(self._last["result"], seconds=round(time.time() - began, 1), peak_bytes=peak)
        raise self._failure(child.returncode)

    def _feed(self, child: Any) -> None:
        try:
            child.stdin.write(json.dumps(self._task).encode("utf-8"))
            child.stdin.close()
        except OSError:
            pass  # it ended at once: its exit status says why

    def _read(self, stream: Any) -> None:
        for raw in stream:
            if not raw.startswith(b"tfleet "):
                continue
            said = json.loads(raw[len(b"tfleet ") :].decode("utf-8"))
            if "phase" in said:
                self._said = dict({"done": 0, "total": 0}, **said)
            else:
                self._last = said

    def _progress(self, began: float, pid: int) -> Progress:
        now = resources.resident([pid])
        self._peak = max(self._peak, now)
        found = resources.memory()
        if found.available < self._lowest.available:
            self._lowest = found
        return Progress(self._said["phase"], self._said["done"], self._said["total"], round(time.time() - began, 1), now, self._peak)

    def _failure(self, returncode: int) -> TfleetError:
        known = {"rc": returncode, "phase": self._said["phase"], "log": self.tail()}
        if self._last.get("memory"):
            return TfleetError(self._memory_sentence("ran out of memory"), **known)
        if self._last.get("error"):
            return TfleetError(self._last["error"], **dict(known, **self._last.get("result", {})))
        number = -returncode if returncode < 0 else 0
        if number == signal.SIGKILL:
            return TfleetError(self._memory_sentence("was killed, most likely by the kernel for lack of memory (`dmesg | grep -i oom` tells)"), **known)
        if number == signal.SIGABRT:
            return TfleetError(
                "The conversion aborted in native code while it was %s (signal 6, exit status 134). That is mostly a library that is missing or of another "
                "version than TensorFlow was built for (libnvinfer, CUDA, cuDNN): `tfleet probe` tells which were found. Nothing was left behind. It "
                "said last:\n%s" % (self._said["phase"], known["log"]), **known)  # fmt: skip
        if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            sentence = "The conversion was ended from outside (signal %d) while it was %s. Nothing was left behind. Run it again."
            return TfleetError(sentence % (number, self._said["phase"]), **known)
        return TfleetError(
            "The conversion ended while it was %s, with %s and without a result. Nothing was left behind. It said last:\n%s"
            % (self._said["phase"], "signal %d" % number if number else "exit status %d" % returncode, known["log"]), **known)  # fmt: skip

    def _memory_sentence(self, what: str) -> str:
        return (
            "The conversion %s while it was %s: it held %d MiB, and %d of %d MiB of memory and %d MiB of swap were free at the least. Nothing was left "
            "behind. Lower the workspace (--workspace-bytes) and the batch sizes, stop the model server for the time, or add swap or zram."
            % (what, self._said["phase"], self._peak // _MIB, self._lowest.available // _MIB, self._lowest.total // _MIB, self._lowest.swap_free // _MIB)
        )

    def tail(self, count: int = 12) -> str:
        """The last lines that the child logged."""
        return "\n".join(self.log_lines()[-count:])

    def log_lines(self) -> List[str]:
        """All lines that the child logged."""
        try:
            with open(self._log, encoding="utf-8", errors="replace") as stream:
                return [text.rstrip("\n") for text in stream if text.strip()]
        except OSError:
            return []


def _end(child: Any) -> None:
    """End the child with all it started, if it still runs."""
    if child.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except OSError:
            pass
        try:
            child.wait(_GRACE_SECONDS)
            return
        except subprocess.TimeoutExpired:
            continue
