"""A progress bar on a terminal's standard error; nothing anywhere else."""

import sys
import time
from typing import Any, Optional

_WIDTH = 30
_EVERY = 0.1  # seconds; drawing must not be what is measured


class Progress(object):
    """`total` may be None where the end is not known. A context manager; the bar is gone when it ends."""

    def __init__(self, what: str, total: Optional[int], stream: Any = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._shown = bool(getattr(self._stream, "isatty", lambda: False)())
        self._what = what
        self._total = total
        self._done = 0
        self._begin = time.time()
        self._drawn = 0.0
        self._length = 0

    def step(self, count: int = 1, note: str = "") -> None:
        """So much more is done."""
        self._done += count
        now = time.time()
        if self._shown and now - self._drawn >= _EVERY:
            self._drawn = now
            self._write(self._line(now, note))

    def _line(self, now: float, note: str) -> str:
        seconds = now - self._begin
        if not self._total:
            return "%s  %d  %d s  %s" % (self._what, self._done, seconds, note)
        share = min(self._done / float(self._total), 1.0)
        bar = "#" * int(share * _WIDTH)
        left = seconds / share - seconds if share else 0
        return "%s  [%s] %3d %%  %d s left  %s" % (self._what, bar.ljust(_WIDTH, "."), 100 * share, left, note)

    def _write(self, line: str) -> None:
        line = line[:120].rstrip()
        self._stream.write("\r" + line.ljust(self._length))
        self._stream.flush()
        self._length = len(line)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *unused: Any) -> None:
        if self._shown and self._length:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()
