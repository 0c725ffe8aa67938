"""Memory of a process that speaks for a long time: what libraries would keep."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

KEPT = "64"
"""Compiled operators in each of oneDNN's two caches; a length needs some thirty, its default is 1,024."""


def bound_caches() -> None:
    """Let oneDNN keep few compiled operators; in a process that has used one already, nothing changes.

    It compiles an operator for each new length of speech, so that a service with its default grows by 0.2 MiB
    a request until some hundred lengths were met. What the environment sets already is left as it is.
    See "LRU_CACHE_CAPACITY" in torch's tuning guide and "Primitive Cache" in oneDNN's.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", KEPT)
    os.environ.setdefault("LRU_CACHE_CAPACITY", KEPT)


def give_back() -> None:
    """Let the C library return what it keeps of freed memory (glibc's `malloc_trim`); elsewhere do nothing.

    glibc keeps the arenas of a burst for ever, so that a service which is fine looks as if it grew.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL(None).malloc_trim(0)
