"""Loading, serving and unloading of model versions.

The policy is TensorFlow Serving's availability-preserving one: a new version is loaded before the old one goes, one
action per model and tick; a version leaves the serving map first, then its last request ends, then its memory is freed.
"""
import logging
import threading
import time
from typing import Any, Callable, Dict, Optional, Tuple

from . import memory, states, storage
from .start_guard import StartGuard
from .status import INTERNAL, StatusError, not_found

log = logging.getLogger(__name__)

_NEW, _LOADING, _READY, _UNLOADING, _FAILED, _GONE = range(6)

Loader = Callable[[str, int, str], Any]


class Harness:
    """One incarnation of one version: its servable, and how many requests are using it."""

    def __init__(self, model: str, version: int, path: str) -> None:
        self.model = model
        self.version = version
        self.path = path
        self.servable: Any = None
        self.aspired = True
        self.state = _NEW
        self.cancelled = threading.Event()
        self.failed_stamp: Any = None
        self._lock = threading.Lock()
        self._users = 0
        self._closing = False
        self._idle = threading.Event()

    def __str__(self) -> str:
        return "{name: %s version: %d}" % (self.model, self.version)

    def enter(self) -> bool:
        """Counts one more request in; False if the version is already on its way out."""
        with self._lock:
            if self._closing:
                return False
            self._users += 1
            return True

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._closing and not self._users:
                self._idle.set()

    def quiesce(self) -> None:
        """Lets no further request in and waits until the last one has left."""
        with self._lock:
            self._closing = True
            if not self._users:
                self._idle.set()
        self._idle.wait()


class _Slots:
    """At most so many holders at once; the number can change (loading is wider while the server starts)."""

    def __init__(self, count: int) -> None:
        self._free = threading.Condition()
        self._count = count
        self._held = 0

    def resize(self, count: int) -> None:
        with self._free:
            self._count = count
            self._free.notify_all()

    def __enter__(self) -> None:
        with self._free:
            while self._held >= self._count:
                self._free.wait()
            self._held += 1

    def __exit__(self, *unused: Any) -> None:
        with self._free:
            self._held -= 1
            self._free.notify_all()


class _Use:
    """A harness in use: every request passes here, and a context made of a generator would take four times as long."""

    __slots__ = ("_harness", "_manager", "_model", "_version")

    def __init__(self, manager: "Manager", model: str, version: Optional[int]) -> None:
        self._manager = manager
        self._model = model
        self._version = version
        self._harness: Any = None

    def __enter__(self) -> Harness:
        self._harness = self._manager.enter(self._model, self._version)
        return self._harness

    def __exit__(self, *unused: Any) -> None:
        self._harness.leave()


class Manager:
    """Brings the versions in memory towards the aspired ones. Its thread starts with start() and ends with stop()."""

    def __init__(self, loader: Loader, board: states.Board, load_threads: int, unload_threads: int, max_retries: int,
                 retry_seconds: float, tick_seconds: float = 0.1, guard: Optional[StartGuard] = None) -> None:
        self._loader = loader
        self._guard = guard or StartGuard()
        self._board = board
        self._load_slots = _Slots(max(load_threads, 1))
        self._unload_slots = _Slots(max(unload_threads, 1))
        self._max_retries = max_retries
        self._retry_seconds = retry_seconds
        self._tick_seconds = tick_seconds
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
        self._aspired: Dict[str, storage.Versions] = {}
        self._harnesses: Dict[str, Dict[int, Harness]] = {}
        self._serving: Dict[str, Dict[int, Harness]] = {}
        self._latest: Dict[str, Harness] = {}
        self._thread = threading.Thread(target=self._run, name="lifecycle", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the manager's thread; what is loaded stays loaded."""
        self._stopped = True
        self._wake.set()
        with self._lock:
            harnesses = [h for versions in self._harnesses.values() for h in versions.values()]
        for harness in harnesses:
            harness.cancelled.set()

    def set_load_threads(self, count: int) -> None:
        """How many versions may be loading at once (0 counts as 1)."""
        self._load_slots.resize(max(count, 1))

    # What should be there

    def set_aspired(self, model: str, versions: storage.Versions) -> None:
        """The (version, directory) pairs to serve from now on; all others of the model are to go."""
        with self._lock:
            self._aspired[model] = list(versions)
        self._wake.set()

    def retry_changed(self) -> None:
        """Forgets the failure of versions whose directory changed since, so that they are loaded again."""
        with self._lock:
            failed = [h for versions in self._harnesses.values() for h in versions.values() if h.state == _FAILED]
        for harness in failed:
            if storage.stamp(harness.path) != harness.failed_stamp:
                log.info("Retrying servable version %s: its directory changed", harness)
                with self._lock:
                    if self._harnesses.get(harness.model, {}).get(harness.version) is harness and harness.aspired:
                        self._add(harness.model, harness.version, harness.path)
        self._wake.set()

    # Use by requests

    def use(self, model: str, version: Optional[int] = None) -> "_Use":
        """A context: the READY harness of a version, or of the highest one; it stays in memory while the block runs.

        Entering raises StatusError NOT_FOUND if it is not being served.
        """
        return _Use(self, model, version)

    def enter(self, model: str, version: Optional[int]) -> Harness:
        """The harness for use(), with one more user. Raises StatusError."""
        while True:
            harness = self._latest.get(model) if version is None else self._serving.get(model, {}).get(version)
            if harness is None:
                request = "Latest(%s)" % model if version is None else "Specific(%s, %d)" % (model, version)
                raise not_found("Servable not found for request: " + request)
            if harness.enter():
                return harness

    def is_available(self, model: str, version: int) -> bool:
        return version in self._serving.get(model, {})

    # The manager's thread

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait(self._tick_seconds)
            self._wake.clear()
            if self._stopped:
                return
            try:
                with self._lock:
                    self._apply_aspired()
                    actions = [a for a in map(self._next_action, self._harnesses.values()) if a]
                    for harness, work in actions:
                        harness.state = _LOADING if work == self._load else _UNLOADING
            except Exception:  # the thread must outlive any one model's trouble
                log.exception("The lifecycle thread met an unexpected error")
                continue
            for harness, work in actions:
                threading.Thread(target=work, args=(harness,), name="%s-%d" % (harness.model, harness.version), daemon=True).start()
            if actions:
                time.sleep(self._tick_seconds)

    def _apply_aspired(self) -> None:
        for model in list(self._aspired):
            wanted = dict(self._aspired[model])
            present = self._harnesses.get(model, {})
            for version, harness in present.items():
                if version in wanted and not harness.aspired and harness.state == _READY:
                    # Still served because its successor failed or is not there yet: it simply stays.
                    harness.aspired = True
            # A version that comes back while it is on its way out waits until it is out of memory.
            if any(version in wanted and not harness.aspired for version, harness in present.items()):
                continue
            del self._aspired[model]
            for version in sorted(wanted):
                if version not in present:
                    self._add(model, version, wanted[version])
            for version, harness in present.items():
                if version not in wanted and harness.aspired:
                    harness.aspired = False
                    harness.cancelled.set()
        for model in list(self._harnesses):
            self._drop_unaspired(model)

    def _add(self, model: str, version: int, path: str) -> None:
        self._harnesses.setdefault(model, {})[version] = Harness(model, version, path)
        self._board.publish(model, version, states.START)

    def _drop_unaspired(self, model: str) -> None:
        present = self._harnesses[model]
        for version, harness in list(present.items()):
            if harness.state == _GONE or (not harness.aspired and harness.state in (_NEW, _FAILED)):
                if harness.state == _NEW:
                    self._board.publish(model, version, states.END)
                del present[version]
        if not present:
            del self._harnesses[model]

    def _next_action(self, versions: Dict[int, Harness]) -> Optional[Tuple[Harness, Callable[[Harness], None]]]:
        ordered = [versions[version] for version in sorted(versions)]
        wanted = [h for h in ordered if h.aspired]
        old = [h for h in ordered if not h.aspired and h.state == _READY]
        if old and (not wanted or any(h.state == _READY for h in wanted) or len(old) > 1):
            return old[0], self._unload
        new = [h for h in wanted if h.state == _NEW]
        return (new[-1], self._load) if new else None

    # Loading and unloading, each in a thread of its own

    def _load(self, harness: Harness) -> None:
        error: Optional[StatusError] = None
        self._board.publish(harness.model, harness.version, states.LOADING)
        log.info("Loading servable version %s", harness)
        for attempt in range(max(self._max_retries, 0) + 1):
            if attempt:
                log.info("Retry %d of loading servable version %s in %g s", attempt, harness, self._retry_seconds)
                if harness.cancelled.wait(self._retry_seconds):
                    log.info("Loading of servable version %s was cancelled", harness)
                    break
            failed_stamp = storage.stamp(harness.path)
            with self._load_slots, self._guard.loading(harness.model, harness.version, harness.path):
                try:
                    harness.servable = self._loader(harness.model, harness.version, harness.path)
                    error = None
                    break
                except StatusError as failure:
                    error = failure
                except Exception as failure:  # whatever it is, it must not take the other models down
                    log.exception("Loading servable version %s met an unexpected error", harness)
                    error = StatusError(INTERNAL, "%s: %s" % (type(failure).__name__, failure))
            log.error("Loading servable: %s failed: %s", harness, error)
            harness.failed_stamp = failed_stamp
        if error is not None:
            with self._lock:
                harness.state = _FAILED
            self._board.publish(harness.model, harness.version, states.END, error)
        else:
            with self._lock:
                harness.state = _READY
                self._set_serving(harness.model, harness.version, harness)
            self._board.publish(harness.model, harness.version, states.AVAILABLE)
            log.info("Successfully loaded servable version %s", harness)
        self._wake.set()

    def _unload(self, harness: Harness) -> None:
        self._board.publish(harness.model, harness.version, states.UNLOADING)
        with self._lock:
            self._set_serving(harness.model, harness.version, None)
        log.info("Quiescing servable version %s", harness)
        harness.quiesce()
        with self._unload_slots:
            log.info("Unloading servable version %s", harness)
            try:
                harness.servable.close()
            except Exception:
                log.exception("Unloading servable version %s met an unexpected error", harness)
            harness.servable = None
            memory.give_back()
        with self._lock:
            harness.state = _GONE
        self._board.publish(harness.model, harness.version, states.END)
        log.info("Done unloading servable version %s", harness)
        self._wake.set()

    def _set_serving(self, model: str, version: int, harness: Optional[Harness]) -> None:
        # Readers take no lock: they see either the old maps or the new ones, never one being changed.
        versions = dict(self._serving.get(model, {}))
        if harness is None:
            versions.pop(version, None)
        else:
            versions[version] = harness
        serving = dict(self._serving)
        latest = dict(self._latest)
        if versions:
            serving[model] = versions
            latest[model] = versions[max(versions)]
        else:
            serving.pop(model, None)
            latest.pop(model, None)
        self._serving = serving
        self._latest = latest
