"""Memory that is free for Python, but not for the system: the C library keeps it. No TensorFlow here."""

import ctypes
import gc


def give_back() -> None:
    """Give back what nothing holds any more, before something large that has pools of its own begins."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        pass  # another C library than glibc
