"""Memory that Python and the C library would keep: objects in cycles, and pages freed among pages in use."""
import ctypes
import gc
from typing import Any, Optional


def settle() -> None:
    """Takes what has been imported out of the garbage collector's sight.

    TensorFlow is half a million objects. Looking through them all stops every thread for 200 ms, now and then, to find nothing.
    """
    freeze = getattr(gc, "freeze", None)  # Python 3.7 on
    if freeze is not None:
        gc.collect()
        freeze()


def give_back() -> None:
    """Frees what a model has left behind, after it was unloaded; the C library would keep it for the next one."""
    if hasattr(gc, "freeze"):  # without settle() this would take long
        gc.collect()
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


def _malloc_trim() -> Optional[Any]:
    try:
        return ctypes.CDLL(None).malloc_trim  # glibc
    except (OSError, AttributeError):
        return None
