"""Many pictures: read, sent and drawn at the same time, and given back in their order.

Each step is a generator that begins some items ahead of the one it gives back. Threads do the work: decoding, requests and drawing
leave Python's lock.
"""

import collections
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Deque, Generator, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Union

from tfleet.client.inputs import Prepared
from tfleet.client.served import Item, Model, Seen
from tfleet.errors import TfleetError

FLUSH: Any = object()
"""Among the items: nothing more comes soon, so give back what has been begun."""

_END: Any = object()

Failed = NamedTuple("Failed", [("name", str), ("error", str)])

Outcome = Union[Seen, Failed]

_DECODING = min(4, os.cpu_count() or 1)
"""Threads that read pictures."""
_FINISHING = 8
"""Threads that draw them: most of their time they wait for the disk, and a disk flushes several files as fast as one."""
_PATIENCE = 10.0
"""Seconds for which an unavailable server is asked again: a restart, or a version that takes the place of another."""
_PAUSE = 0.5


def look(
    model: Model,
    items: Iterable[Item],
    batch_size: int = 8,
    in_flight: int = 2,
    finish: Optional[Callable[[Outcome], Any]] = None,
) -> Iterator[Any]:
    """What `finish` (such as drawing, in threads) makes of the outcome of each item, in order; the outcome itself without it.

    A picture that cannot be read is a Failed, and the next one follows; a server that cannot be asked, or a declaration that does not fit the model,
    is a TfleetError.
    """
    size = model.rows() or batch_size
    pools = [ThreadPoolExecutor(count) for count in (_DECODING, in_flight, _FINISHING)]
    decoding, requests, finishing = pools
    prepared = ordered(decoding, lambda item: _prepared(model, item), items, _DECODING + size * in_flight)
    answers = ordered(requests, lambda batch: _answers(model, batch), batches(prepared, size), in_flight)
    try:
        outcomes = (outcome for several in answers for outcome in ([FLUSH] if several is FLUSH else several))
        for done in ordered(finishing, finish, outcomes, 2 * _FINISHING) if finish else outcomes:
            if done is not FLUSH:
                yield done
    finally:
        # What was begun ends, what was not does not begin: an error or Ctrl-C must not wait for all that lies ahead.
        for step in (answers, prepared):
            step.close()
        for pool in pools:
            pool.shutdown(wait=True)


def ordered(pool: Any, function: Callable[[Any], Any], items: Iterable[Any], ahead: int) -> Generator[Any, None, None]:
    """function(item) of each item in order, computed in a pool, at most `ahead` of them before they are wanted.

    If the items end in a TfleetError, those before it are given back first.
    """
    waiting: Deque[Future] = collections.deque()
    source = iter(items)
    error: Optional[TfleetError] = None
    try:
        while True:
            try:
                item = next(source, _END)
            except TfleetError as ended:
                error, item = ended, _END
            if item is _END:
                break
            if item is not FLUSH:
                waiting.append(pool.submit(function, item))
            while len(waiting) > (0 if item is FLUSH else ahead):
                yield waiting.popleft().result()
            if item is FLUSH:
                yield FLUSH
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
    if error is not None:
        raise error


def batches(prepared: Iterable[Any], size: int) -> Iterator[Any]:
    """Lists of up to `size` pictures of the same form that follow each other, with the Failed between them."""
    batch: List[Union[Prepared, Failed]] = []
    form, rows = None, 0
    for one in prepared:
        new = None if one is FLUSH or isinstance(one, Failed) else _form(one)
        if batch and (one is FLUSH or (new is not None and (rows == size or (rows and new != form)))):
            yield batch
            batch, rows = [], 0
        if one is FLUSH:
            yield FLUSH
            continue
        batch.append(one)
        if new is not None:
            form, rows = new, rows + 1
    if batch:
        yield batch


def _form(prepared: Prepared) -> Any:
    return [(alias, array.shape, array.dtype.str) for alias, array in sorted(prepared.arrays.items())]


def _prepared(model: Model, item: Item) -> Union[Prepared, Failed]:
    try:
        opened = model.open(item)
    except TfleetError as error:
        return Failed(item if isinstance(item, str) else item[0], str(error))
    return model.prepare_opened(opened)


def _answers(model: Model, batch: Sequence[Union[Prepared, Failed]]) -> List[Outcome]:
    good = [one for one in batch if isinstance(one, Prepared)]
    answered = iter(_asked(model, good) if good else ())
    return [next(answered) if isinstance(one, Prepared) else one for one in batch]


def _asked(model: Model, prepared: List[Prepared]) -> List[Outcome]:
    try:
        return list(_patiently(model, prepared))
    except TfleetError as error:
        if error.result.get("code") != "INVALID_ARGUMENT" or len(prepared) == 1:
            raise
        refused = error
    # One picture that the model cannot read must not spoil those that were sent with it.
    outcomes: List[Outcome] = []
    for one in prepared:
        try:
            outcomes += _patiently(model, [one])
        except TfleetError as error:
            outcomes.append(Failed(one.name, str(error)))
    if all(isinstance(outcome, Failed) for outcome in outcomes):
        raise refused
    return outcomes


def _patiently(model: Model, prepared: List[Prepared]) -> List[Seen]:
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return model.ask(prepared)
        except TfleetError as error:
            if error.result.get("code") != "UNAVAILABLE" or time.monotonic() > until:
                raise
        time.sleep(_PAUSE)
