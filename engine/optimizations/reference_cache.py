"""Conditioned reference clips, kept by content: the same clip and transcript are prepared once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from engine.evidence import Evidence, Observations
from engine.options import Options
from engine.reference import Reference, Voice

CAPACITY = 16 << 20
"""Bytes of mels kept: hundreds of short clips, twenty of the longest. The least recently used goes first."""


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
                _shrink(kept, observed)
        return made

    return cached


def _shrink(kept: OrderedDict[str, Reference], observed: Observations) -> None:
    """Drop the least recently used until the rest fits."""
    held = sum(reference.mel.nbytes for reference in kept.values())
    while held > CAPACITY:
        _, dropped = kept.popitem(last=False)
        held -= dropped.mel.nbytes
    observed.note("cache clips", len(kept))
    observed.note("cache bytes", held)


def evidence(options: Options, observed: Observations) -> Evidence:
    """Lookups that were answered from the cache, and what it holds."""
    hits, misses, requests = (observed.counts[name] for name in ("cache hits", "cache misses", "requests"))
    seen = f"{hits} hits and {misses} misses in {requests} requests"
    if not options.reference_cache:
        return Evidence(hits + misses == 0, seen)
    seen += f", {observed.counts['cache clips']} clips in {observed.counts['cache bytes']} bytes"
    if hits + misses < requests:
        return Evidence(False, seen)
    return Evidence(True if hits else None, seen)  # a first request cannot hit
