"""Conditioned reference clips, kept by content: the same clip and transcript are prepared once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from engine.evidence import Evidence, Observations
from engine.options import Options
from engine.reference import Reference, Voice

CAPACITY = 16
"""Voices kept; the least recently used goes first. One voice is a few hundred kilobytes."""


def apply(
    prepare: Callable[[Voice], Reference], options: Options, observed: Observations
) -> Callable[[Voice], Reference]:
    """Wrap the conditioning of a reference with a cache; the key is a digest of the samples, their rate and
    the words.

    The cache belongs to one engine: device, number format and mel settings are the same for all that it
    holds.
    """
    if not options.reference_cache:
        return prepare
    kept: OrderedDict[str, Reference] = OrderedDict()
    lock = threading.Lock()

    def cached(voice: Voice) -> Reference:
        key = voice.digest()
        with lock:
            found = kept.get(key)
            if found is not None:
                kept.move_to_end(key)
        if found is not None:
            observed.add("cache hits")
            return found
        made = prepare(voice)
        observed.add("cache misses")
        if voice.digest() == key:  # else the file was replaced while it was read
            with lock:
                kept[key] = made
                while len(kept) > CAPACITY:
                    kept.popitem(last=False)
        return made

    return cached


def evidence(options: Options, observed: Observations) -> Evidence:
    """Lookups that were answered from the cache."""
    hits, misses, requests = (observed.counts[name] for name in ("cache hits", "cache misses", "requests"))
    seen = f"{hits} hits and {misses} misses in {requests} requests"
    if not options.reference_cache:
        return Evidence(hits + misses == 0, seen)
    if hits + misses < requests:
        return Evidence(False, seen)
    return Evidence(True if hits else None, seen)  # a first request cannot hit
