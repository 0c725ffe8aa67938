"""Conditioned reference clips, kept by content: the same clip and transcript are prepared once."""

from __future__ import annotations

import dataclasses
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine.evidence import Evidence, Observations
from engine.optimizations import Parts
from engine.options import Options
from engine.reference import Reference, Voice

CAPACITY = 16 << 20
"""Bytes of mels kept: hundreds of short clips, twenty of the longest. The least recently used goes first."""


def apply(parts: Parts, options: Options, seen: Observations) -> Parts:
    """Put a cache before the conditioning of references; the key is a digest of the samples, their rate and
    the words.

    The cache belongs to one engine: device, number format and mel settings are the same for all that it
    holds.
    """
    if not options.reference_cache:
        return parts
    return dataclasses.replace(parts, prepare=Cached(parts.prepare, seen))


class Cached:
    """Conditions a clip, or hands out what it conditioned before; safe to use from several threads."""

    def __init__(self, prepare: Callable[[Voice], Reference], seen: Observations) -> None:
        self._prepare, self._seen = prepare, seen
        self._kept: OrderedDict[str, tuple[int, Reference]] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, voice: Voice) -> Reference:
        """The conditioned clip, from the cache where its content is there."""
        key = voice.digest()
        content = checksum(voice)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        if kept is not None and kept[0] == content:
            self._seen.add("cache hits")
            return kept[1]
        if kept is not None:
            self._seen.add("wrong hits")
        reference = self._prepare(voice)
        self._seen.add("cache misses")
        if voice.digest() == key:  # else the file was replaced while it was read
            with self._lock:
                self._kept[key] = content, reference
                self._shrink()
        return reference

    def _shrink(self) -> None:
        """Drop the least recently used until the rest fits."""
        size = sum(reference.mel.nbytes for _, reference in self._kept.values())
        while size > CAPACITY:
            _, (_, dropped) = self._kept.popitem(last=False)
            size -= dropped.mel.nbytes
        self._seen.note("cache clips", len(self._kept))
        self._seen.note("cache bytes", size)


def checksum(voice: Voice) -> int:
    """A number over clip and words that is made another way than the key: it tells whether a hit is right."""
    if isinstance(voice.audio, (str, Path)):
        content = Path(voice.audio).read_bytes()
    else:
        samples = np.ascontiguousarray(voice.audio)
        content = f"{voice.sample_rate} {samples.shape} ".encode() + samples.tobytes()
    return zlib.crc32(f"{voice.target_rms!r} {voice.text}".encode(), zlib.crc32(content))


def evidence(options: Options, seen: Observations) -> Evidence:
    """Lookups that were answered from the cache, whether with the right clip, and what it holds."""
    counts = seen.counts
    hits, misses, requests = counts["cache hits"], counts["cache misses"], counts["requests"]
    observed = f"{hits} hits and {misses} misses in {requests} requests"
    if not options.reference_cache:
        return Evidence(hits + misses == 0, observed)
    observed += f", {counts['cache clips']} clips in {counts['cache bytes']} bytes"
    if counts["wrong hits"]:
        return Evidence(False, f"{observed}, {counts['wrong hits']} keys that two clips share")
    if hits + misses < requests:
        return Evidence(False, observed)
    return Evidence(True if hits else None, observed)  # a first request cannot hit
