"""How often a client may ask, and how many pictures are worked on at once."""

import fcntl
import hashlib
import ipaddress
import mmap
import os
import struct
import threading
import time
from contextlib import contextmanager
from typing import Callable, Iterator, Tuple

from tfleet.gateway.refusal import RefusedError

_ENTRY = struct.Struct("<Qdd")  # client, tokens, when they were counted
_WAYS, _SETS = 8, 512


class Rates(object):
    """A token bucket for each client in a file of fixed size that all workers share; of too many clients the one that was away longest is forgotten."""

    def __init__(self, path: str, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._lock = threading.Lock()
        # Each process opens it: what is inherited by a fork would share the lock too.
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._descriptor, _ENTRY.size * _WAYS * _SETS)
        self._table = mmap.mmap(self._descriptor, _ENTRY.size * _WAYS * _SETS)

    def take(self, client: str) -> None:
        """Counts a request of a client. Raises RefusedError 429 if it has to wait."""
        if not self._rate:
            return
        wait = self._wait(_number(client))
        if wait > 0:
            seconds = int(wait) + 1
            raise RefusedError(429, "too_many_requests", "Too many requests: ask again in %d second%s." % (seconds, "" if seconds == 1 else "s"), seconds)

    def _wait(self, client: int) -> float:
        """Takes a token, or says in how many seconds there is one."""
        with self._alone():
            now = self._clock()
            place, tokens, since = self._find(client)
            tokens = min(self._burst, tokens + max(0.0, now - since) * self._rate)
            if tokens < 1:
                return (1 - tokens) / self._rate
            _ENTRY.pack_into(self._table, place, client, tokens - 1, now)
        return 0

    def _find(self, client: int) -> Tuple[int, float, float]:
        start = client % _SETS * _WAYS * _ENTRY.size
        places = [start + way * _ENTRY.size for way in range(_WAYS)]
        entries = [_ENTRY.unpack_from(self._table, place) for place in places]
        for place, entry in zip(places, entries):
            if entry[0] == client:
                return place, entry[1], entry[2]
        oldest = min(range(_WAYS), key=lambda way: entries[way][2])
        return places[oldest], float(self._burst), self._clock()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)  # gone with a process that is killed
            try:
                yield
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)


class Places(object):
    """So many pictures at once in this process; the next ones wait a little."""

    def __init__(self, count: int, seconds: float) -> None:
        self._free = threading.BoundedSemaphore(count)
        self._seconds = seconds

    @contextmanager
    def one(self) -> Iterator[None]:
        """A place for the time of the block. Raises RefusedError 503 if none becomes free."""
        if not self._free.acquire(timeout=self._seconds):
            raise RefusedError(503, "busy", "The gateway is busy with other pictures. Try again in a moment.", 1)
        try:
            yield
        finally:
            self._free.release()


def _number(client: str) -> int:
    """A client's number, never 0. An IPv6 client has a whole network of addresses; what listens on [::] sees IPv4 clients as ::ffff:192.0.2.1."""
    address = client
    try:
        parsed = ipaddress.ip_address(client)
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        address = str(parsed if parsed.version == 4 else ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    except ValueError:
        pass
    digest = hashlib.sha256(address.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "little") or 1
