"""Where pictures come from: files, folders and patterns; folders that are watched; cameras."""

import glob
import os
import threading
import time
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from tfleet.client.many import FLUSH
from tfleet.errors import TfleetError

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")

_POLL = 0.5
"""Seconds between two looks at a watched folder. The standard library cannot be told by the kernel."""
_SETTLED = 2.0
"""A file that was written so many seconds ago is finished; a younger one, if it is the same at the next look."""

Stamp = Tuple[int, int]


def several(arguments: Sequence[str]) -> bool:
    """Whether these stand for any number of pictures: there is a folder or a pattern among them."""
    return any(os.path.isdir(argument) or (glob.has_magic(argument) and not os.path.isfile(argument)) for argument in arguments)


def pictures(arguments: Sequence[str]) -> List[str]:
    """Files as they are; of folders, and the folders in them, and of patterns (** for any depth) the pictures, sorted. Each once."""
    found: List[str] = []
    for argument in arguments:
        if os.path.isdir(argument):
            found += _below(argument)
        elif glob.has_magic(argument) and not os.path.isfile(argument):
            found += sorted(path for path in glob.glob(argument, recursive=True) if os.path.isfile(path))
        else:
            found.append(argument)
    return list(dict.fromkeys(found))


def watched(arguments: Sequence[str], done: Set[str], idle: Optional[float] = None) -> Iterator[Any]:
    """Pictures as they appear, once they are finished being written; those of `done` only if they are written anew. Ends after `idle` seconds without one.

    Files whose names begin with a dot are somebody's unfinished ones: write under such a name and rename, and nothing has to be waited for.
    """
    taken: Dict[str, Stamp] = {}
    before: Dict[str, Stamp] = {}
    first = True
    last = time.monotonic()
    while idle is None or time.monotonic() - last < idle:
        now = _stamps(pictures(arguments))
        if first:
            taken = {path: now[path] for path in now if path in done}
            first = False
        for path, stamp in now.items():
            settled = before.get(path) == stamp or time.time() - stamp[1] / 1e9 > _SETTLED
            if settled and stamp[0] and taken.get(path) != stamp:
                taken[path] = stamp
                last = time.monotonic()
                yield path
        taken = {path: taken[path] for path in taken if path in now}
        before = now
        yield FLUSH
        time.sleep(_POLL)


def frames(source: str, count: Optional[int] = None) -> Iterator[Any]:
    """(name, Pillow image) of each frame of a camera (its number or URL) or of a video file, `count` of them.

    A camera does not wait: while the model thinks, frames are thrown away, and the newest is taken next. A file gives all of its frames.
    """
    try:
        import cv2
    except ImportError:
        raise TfleetError("A camera needs OpenCV, which this environment lacks: pip install 'tfleet[camera]', or opencv-python-headless.")
    from PIL import Image

    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    if not capture.isOpened():
        capture.release()
        raise TfleetError("OpenCV cannot open the camera or video %s. Check the number (0 is the first camera), the URL and its password." % source)
    is_file = os.path.isfile(source) or "%" in source
    reader: Any = capture if is_file else _Newest(capture)
    number = 0
    try:
        while count is None or number < count:
            there, frame = reader.read()
            if not there:
                break
            number += 1
            yield "frame-%06d" % number, Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            if not is_file:
                yield FLUSH
        if not number:
            raise TfleetError("%s gives no frame. Check that no other program holds the camera." % source)
    finally:
        if reader is not capture:
            reader.close()
        capture.release()


class _Newest(object):
    """Reads a camera in a thread of its own and keeps the last frame alone."""

    def __init__(self, capture: Any) -> None:
        self._capture = capture
        self._there = threading.Condition()
        self._frame: Any = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def read(self) -> Tuple[bool, Any]:
        with self._there:
            while self._frame is None and not self._ended:
                self._there.wait()
            frame, self._frame = self._frame, None
            return frame is not None, frame

    def close(self) -> None:
        self._ended = True
        self._thread.join(5)

    def _run(self) -> None:
        while not self._ended:
            there, frame = self._capture.read()
            with self._there:
                if there:
                    self._frame = frame
                else:
                    self._ended = True
                self._there.notify()


def _below(root: str) -> List[str]:
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [os.path.join(folder, name) for name in sorted(names) if name.lower().endswith(PICTURES) and not name.startswith(".")]
    return found


def _stamps(paths: Sequence[str]) -> Dict[str, Stamp]:
    found = {}
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:  # taken away in between
            continue
        found[path] = (status.st_size, status.st_mtime_ns)
    return found
