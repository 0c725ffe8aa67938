"""Memory that was freed and not yet given back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import sys


def give_back() -> None:
    """Let the C library return what it keeps of freed memory (glibc's `malloc_trim`); elsewhere do nothing.

    glibc keeps the arenas of a burst for ever, so that a service which is fine looks as if it grew.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL(None).malloc_trim(0)
