"""A progress line on stderr: redrawn in place for a person, now and then a new line for a log."""

import sys
import time
from typing import Any, Optional


class Progress(object):
    """Used as a context manager around a loop that calls ``update``.

        with Progress("writing", 1200, "pictures") as progress:
            progress.update(17)                             # writing: 17 of 1200 pictures (1 %), 3 s

    On a terminal the line is redrawn at most ten times a second and is gone in the end; elsewhere a line is written every ``every`` seconds, so
    that short runs and logs stay quiet.
    """

    def __init__(self, what: str, total: Optional[int] = None, unit: str = "", every: float = 10.0, stream: Any = None) -> None:
        self._what = what
        self._total = total
        self._unit = unit
        self._stream = sys.stderr if stream is None else stream
        self._on_terminal = bool(getattr(self._stream, "isatty", lambda: False)())
        self._pause = 0.1 if self._on_terminal else every
        self._began = self._shown = time.monotonic()
        self._width = 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_exception: Any) -> None:
        if self._on_terminal and self._width:
            self._write("\r%s\r" % (" " * self._width))

    def update(self, done: int, detail: str = "", total: Optional[int] = None) -> None:
        """``done`` of the total, which may become known here, is finished; ``detail`` is put at the end of the line."""
        self._total = total or self._total
        now = time.monotonic()
        if now - self._shown < self._pause:
            return
        self._shown = now
        line = self._line(done, detail, now - self._began)
        self._write("\r" + line.ljust(self._width) if self._on_terminal else line + "\n")
        self._width = len(line)

    def _line(self, done: int, detail: str, seconds: float) -> str:
        unit = " " + self._unit if self._unit else ""
        if self._total:
            line = "%s: %d of %d%s (%d %%), %d s" % (self._what, done, self._total, unit, 100 * done // self._total, seconds)
        else:
            line = "%s: %d%s, %d s" % (self._what, done, unit, seconds)
        return line + (", " + detail if detail else "")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
