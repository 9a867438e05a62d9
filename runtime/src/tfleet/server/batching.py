"""Joins requests of one model into batches, by the rules of TensorFlow Serving's BatchingSession.

One pool of threads runs the batches of all models, queue after queue in turn. A queue exists for each set of inputs and
outputs; a batch is filled by whole requests (or parts of them, with large batch splitting) and padded to an allowed size.
"""
import threading
import time
from collections import deque
from typing import Any, Deque, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from . import config as configs
from .flags import CPUS
from .metrics import Metrics
from .status import INTERNAL, RESOURCE_EXHAUSTED, UNAVAILABLE, StatusError, failed_precondition, invalid_argument

Parameters = NamedTuple("Parameters", [
    ("max_batch_size", int), ("timeout_seconds", float), ("max_enqueued_batches", int), ("allowed_sizes", Tuple[int, ...]),
    ("pad_variable_length", bool), ("splitting", bool), ("max_execution_size", int)])

DEFAULT_POOL = "model_server_batch_threads"  # without a parameters file


def parameters(message: Any) -> Parameters:
    """The rules of a BatchingParameters message, defaults filled in. Raises StatusError for rules that contradict each other."""
    configs.check_batching(message)

    def value(field: str, default: int) -> int:
        return int(getattr(message, field).value) if message.HasField(field) else default

    largest = value("max_batch_size", 1000)
    splitting = message.enable_large_batch_splitting.value
    return Parameters(largest, value("batch_timeout_micros", 0) / 1e6, value("max_enqueued_batches", 10), tuple(message.allowed_batch_sizes),
                      message.pad_variable_length_inputs, splitting, value("max_execution_batch_size", largest) if splitting else largest)


class _Task:
    """A request, or a part of one: the arrays by tensor name and, when it is done, its outputs or its error."""

    def __init__(self, feeds: Dict[str, Any], rows: int, deadline: Optional[float]) -> None:
        self.feeds = feeds
        self.rows = rows
        self.deadline = deadline
        self.born = time.monotonic()
        self.outputs: List[Any] = []
        self.error: Optional[StatusError] = None
        self.done = threading.Event()


class _Batch:
    def __init__(self) -> None:
        self.tasks: List[_Task] = []
        self.rows = 0
        self.born = time.monotonic()


class Pool:
    """The threads that run batches."""

    def __init__(self, metrics: Metrics, threads: int = 0, name: str = DEFAULT_POOL) -> None:
        self.metrics = metrics
        self.name = name
        self.changed = threading.Condition()
        self._queues: Deque["_Queue"] = deque()
        for number in range(threads or CPUS):
            threading.Thread(target=self._work, name="%s-%d" % (name, number), daemon=True).start()

    def add(self, queue: "_Queue") -> None:
        with self.changed:
            self._queues.append(queue)

    def remove(self, queues: Sequence["_Queue"]) -> None:
        with self.changed:
            self._queues = deque(queue for queue in self._queues if queue not in queues)

    def _work(self) -> None:
        while True:
            queue, batch = self._next()
            queue.process(batch)

    def _next(self) -> Tuple["_Queue", _Batch]:
        with self.changed:
            while True:
                now = time.monotonic()
                wait: Optional[float] = None
                for _ in range(len(self._queues)):
                    queue = self._queues[0]
                    self._queues.rotate(-1)
                    ready_in = queue.ready_in(now)
                    if ready_in is not None and ready_in <= 0:
                        return queue, queue.batches.popleft()
                    if ready_in is not None:
                        wait = ready_in if wait is None else min(wait, ready_in)
                self.changed.wait(wait)


class _Queue:
    def __init__(self, pool: Pool, servable: Any, rules: Parameters, fetches: Tuple[str, ...]) -> None:
        self.batches: Deque[_Batch] = deque()
        self._pool = pool
        self._servable = servable
        self._rules = rules
        self._fetches = fetches

    def ready_in(self, now: float) -> Optional[float]:
        """Seconds until the oldest batch may run; None if there is none. A batch with another behind it is full."""
        if not self.batches:
            return None
        batch = self.batches[0]
        if len(self.batches) > 1 or batch.rows >= self._rules.max_execution_size:
            return 0.0
        return batch.born + self._rules.timeout_seconds - now

    def submit(self, feeds: Dict[str, Any], rows: int, deadline: Optional[float]) -> List[_Task]:
        """Puts a request into batches: the tasks to wait for, in the order of its rows. Raises StatusError."""
        rules = self._rules
        if rows > rules.max_batch_size:
            raise invalid_argument("Task size %d is larger than maximum input batch size %d" % (rows, rules.max_batch_size))
        with self._pool.changed:
            room = rules.max_execution_size - self.batches[-1].rows if self.batches else 0
            sizes = _split(rows, room, rules.max_execution_size) if rules.splitting else [rows]
            fresh = len(sizes) - (1 if sizes[0] <= room else 0)
            if fresh and len(self.batches) + fresh > rules.max_enqueued_batches:
                raise StatusError(UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full; currently %d batches "
                                  "enqueued and max_enqueued_batches is %d" % (len(self.batches), rules.max_enqueued_batches))
            tasks = []
            start = 0
            for size in sizes:
                part = feeds if size == rows else {name: array[start:start + size] for name, array in feeds.items()}
                start += size
                if not self.batches or self.batches[-1].rows + size > rules.max_execution_size:
                    self.batches.append(_Batch())
                tasks.append(_Task(part, size, deadline))
                self.batches[-1].tasks.append(tasks[-1])
                self.batches[-1].rows += size
            self._pool.changed.notify_all()
        return tasks

    def process(self, batch: _Batch) -> None:
        """Runs a batch and finishes its tasks; never raises."""
        try:
            self._run(batch)
        except StatusError as error:
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 (a thread of the pool must survive, and its callers must not wait for ever)
            _fail(batch, StatusError(INTERNAL, "%s: %s" % (type(error).__name__, error)))
        for task in batch.tasks:
            task.done.set()

    def _run(self, batch: _Batch) -> None:
        now = time.monotonic()
        metrics = self._pool.metrics
        for task in batch.tasks:
            metrics.batch_queuing_latency.observe((now - task.born) * 1e6, self._pool.name)
        timeout_ms = None
        if all(task.deadline is not None for task in batch.tasks):
            latest = max(task.deadline for task in batch.tasks if task.deadline is not None)
            if latest <= now:
                raise StatusError(RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")
            timeout_ms = int((latest - now) * 1000) + 1
        size = next((allowed for allowed in self._rules.allowed_sizes if allowed >= batch.rows), batch.rows)
        feeds = [(name, self._join(name, batch.tasks, size - batch.rows)) for name in batch.tasks[0].feeds]
        metrics.batch_run_count.add()
        metrics.batch_input_size.observe(batch.rows)
        metrics.batch_padding_size.observe(size - batch.rows, str(size))
        metrics.batch_processed_size.observe(size)
        outputs = self._servable.run(feeds, self._fetches, timeout_ms)
        for output in outputs:
            if not output.ndim:
                raise failed_precondition("Batched output tensor has 0 dimensions")
            if len(output) != size:
                raise failed_precondition("Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of "
                                          "the input tensors")
        start = 0
        for task in batch.tasks:
            task.outputs = [output[start:start + task.rows] for output in outputs]
            start += task.rows

    def _join(self, name: str, tasks: List[_Task], padding: int) -> Any:
        arrays = [task.feeds[name] for task in tasks]
        if len({array.shape[1:] for array in arrays}) > 1:
            arrays = _same_shapes(name, arrays, self._rules.pad_variable_length)
        if padding:
            arrays = arrays + [arrays[-1][:1]] * padding  # copies of the first row of the last request
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _fail(batch: _Batch, error: StatusError) -> None:
    for task in batch.tasks:
        task.error = error


def _split(rows: int, room: int, limit: int) -> List[int]:
    """Sizes of the parts of a request: first what still fits into the open batch, then full ones."""
    sizes = [min(rows, room)] if room > 0 else []
    left = rows - sum(sizes)
    while left > 0:
        sizes.append(min(left, limit))
        left -= sizes[-1]
    return sizes


def _same_shapes(name: str, arrays: List[Any], pad: bool) -> List[Any]:
    ranks = {array.ndim for array in arrays}
    if not pad or len(ranks) > 1:
        raise failed_precondition(
            "Tensors with name '%s' from different tasks have different shapes and padding is turned off. Set pad_variable_length_inputs "
            "to true, or ensure that all tensors with the same name have equal dimensions starting with the first dim." % name)
    if max(ranks) > 6:
        raise invalid_argument("Only tensors with rank from 1 to 6 can be padded.")
    target = tuple(max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays)))
    padded = []
    for array in arrays:
        wider = np.empty(array.shape[:1] + target, dtype=array.dtype)
        wider[...] = array.flat[0] if array.size else np.zeros((), array.dtype)[()]
        wider[tuple(slice(0, size) for size in array.shape)] = array
        padded.append(wider)
    return padded


class BatchedServable:
    """A servable whose run() goes through the pool; everything else is the inner one's."""

    def __init__(self, servable: Any, rules: Parameters, pool: Pool) -> None:
        self.signatures = servable.signatures
        self._servable = servable
        self._rules = rules
        self._pool = pool
        self._lock = threading.Lock()
        self._queues: Dict[Any, _Queue] = {}

    def run(self, feeds: Sequence[Tuple[str, Any]], fetches: Sequence[str], timeout_ms: Optional[int] = None) -> List[Any]:
        """Like SavedModel.run, in a batch with what others ask at the same time. Raises StatusError."""
        arrays = {name: np.asarray(array) for name, array in feeds}
        if not arrays:
            return list(self._servable.run(feeds, fetches, timeout_ms))
        if any(not array.ndim for array in arrays.values()):
            raise invalid_argument("Batching Run() input tensors must have at least one dimension")
        rows = {len(array) for array in arrays.values()}
        if len(rows) > 1:
            raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
        if 0 in rows:  # nothing to join
            return list(self._servable.run(feeds, fetches, timeout_ms))
        names = tuple(sorted(set(fetches)))
        # The dtype is part of the key: a request of the wrong one must fail by itself, not change the others' tensors.
        key = (tuple(sorted((name, array.dtype.str) for name, array in arrays.items())), names)
        deadline = None if timeout_ms is None else time.monotonic() + timeout_ms / 1e3
        tasks = self._queue(key, names).submit(arrays, rows.pop(), deadline)
        for task in tasks:
            task.done.wait()
        for task in tasks:
            if task.error is not None:
                raise StatusError(task.error.code, task.error.message)
        outputs = [np.concatenate(parts) if len(parts) > 1 else parts[0] for parts in zip(*(task.outputs for task in tasks))]
        by_name = dict(zip(names, outputs))
        return [by_name[name] for name in fetches]

    def _queue(self, key: Any, names: Tuple[str, ...]) -> _Queue:
        with self._lock:
            queue = self._queues.get(key)
            if queue is None:
                queue = self._queues[key] = _Queue(self._pool, self._servable, self._rules, names)
                self._pool.add(queue)
            return queue

    def close(self) -> None:
        """Frees the inner servable. Nothing may be running."""
        self._pool.remove(list(self._queues.values()))
        self._servable.close()
