"""Long reference clips cut short: the sequence holds the clip, and often more of it than of what is said.

A clip is cut where its transcript has a comma, a full stop or the like, and the recording a pause at about
the time where that should be. The time is estimated from the share of the words before it: by the voice's own
duration table, else by their bytes. Nothing recognises the words, so a transcript that is not the clip's own
is cut as wrongly as it was. Without such a pause the clip is refused: half a word at its end would be spoken
again before the text.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import numpy as np

from engine import upstream
from engine.audio import Samples
from engine.durations import EDGE, PAUSE, Durations
from engine.errors import OptionsError, ReferenceClipError
from engine.evidence import Evidence, Observations
from engine.optimizations import Parts
from engine.options import Options
from engine.pieces import ROOM_SECONDS
from engine.reference import SILENCE_DB, TAIL_SECONDS, Reference, Voice

SHORTEST = 1.0
"""Seconds that have to be left."""
PAUSE_SECONDS = 0.1
"""Shorter silences are the closures of plosives."""
PAUSE_DB = 30.0
"""A pause is this far below the loud parts of the clip."""
TOLERANCE = 0.35
"""Seconds of speech by which pause and estimate may differ."""

_CLAUSES = re.compile(r"[.,;:!?…，。；：！？、]+(?=\s|$)|[，。；：！？、]+")


def apply(parts: Parts, options: Options, seen: Observations) -> Parts:
    """Cut the clips that are longer before they are conditioned.

    Raises:
        OptionsError: the checkpoint's longest sequence leaves no room for clips that long, so that they are
            cut shorter anyway.
    """
    if not options.reference_seconds:
        return parts
    longest = parts.checkpoint.max_seconds - ROOM_SECONDS
    if options.reference_seconds >= longest:
        raise OptionsError(
            f"reference_seconds={options.reference_seconds:g} with the checkpoint {parts.checkpoint.name}",
            f"less than {longest:g}, to which its clips are cut anyway",
            "Choose fewer seconds, or 0",
        )
    shortened = Shortened(parts.prepare, options.reference_seconds, parts.durations, seen)
    return dataclasses.replace(parts, prepare=shortened)


@dataclasses.dataclass(frozen=True)
class Shortened:
    """Conditions the beginning of a clip.

    Raises (when called):
        ReferenceClipError: no pause to cut it at.
    """

    prepare: Callable[[Voice], Reference]
    seconds: float
    durations: Durations | None
    seen: Observations

    def __call__(self, voice: Voice) -> Reference:
        """The conditioned clip, or its conditioned beginning."""
        shorter = shorten(voice, self.seconds, self.durations)
        if shorter is not voice:
            self.seen.add("references cut")
        return self.prepare(shorter)


def shorten(voice: Voice, seconds: float, table: Durations | None) -> Voice:
    """The beginning of a clip of at most `seconds`, with its words; the clip itself where it fits.

    Raises:
        ReferenceClipError: no pause to cut it at.
    """
    clip = voice.prepared()
    samples, rate = clip.samples, clip.rate
    if len(samples) <= (seconds + TAIL_SECONDS) * rate:
        return voice
    pauses = find_pauses(samples, rate)
    silent = sum(end - start for start, end in pauses)
    spoken = len(samples) / rate - TAIL_SECONDS - silent
    clauses = [(end, share * spoken) for end, share in _clauses(voice.text, table)]
    for end, said in reversed(clauses):
        near = [
            (until - start, start)
            for before, (start, until) in zip(_silence_before(pauses), pauses, strict=True)
            if SHORTEST <= start <= seconds
            and abs(start - before - said) <= TOLERANCE
            and abs(start - before - said) == min(abs(start - before - other) for _, other in clauses)
        ]
        if near:
            length, start = max(near)
            cut = int(min(start + length / 2, seconds) * rate)
            return Voice(samples[:cut], voice.text[:end], rate, voice.target_rms)
    raise ReferenceClipError(
        f"reference clip of {len(samples) / rate:.1f} s with no pause to cut it at",
        f"a pause at a comma or full stop of its transcript between {SHORTEST:g} and {seconds:g} s",
        "Cut the clip and its transcript by hand, or allow more reference_seconds",
    )


def find_pauses(samples: Samples, rate: int) -> list[tuple[float, float]]:
    """Start and end in seconds of every silence within the clip of at least `PAUSE_SECONDS`."""
    step = rate // 100
    blocks = samples[: len(samples) // step * step].reshape(-1, step)
    level = 10 * np.log10(np.mean(np.square(blocks), axis=1) + 1e-10)  # of 10 ms each
    quiet = level < max(SILENCE_DB, float(np.percentile(level, 95)) - PAUSE_DB)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(int)))
    runs = edges.reshape(-1, 2) * step / rate
    return [(float(a), float(b)) for a, b in runs if b - a >= PAUSE_SECONDS and b < len(blocks) * step / rate]


def _silence_before(pauses: list[tuple[float, float]]) -> list[float]:
    """Seconds of silence before each pause."""
    lengths = [end - start for start, end in pauses]
    return [sum(lengths[:index]) for index in range(len(lengths))]


def _clauses(words: str, table: Durations | None) -> list[tuple[int, float]]:
    """Where each clause but the last ends, and the share of the speech that lies before it."""
    ends = [match.start() for match in _CLAUSES.finditer(words)]
    whole = _weight(words, table)
    return [(end, _weight(words[:end], table) / whole) for end in ends if words[end:].strip(".,;:!?… ")]


def _weight(words: str, table: Durations | None) -> float:
    """How long words take to say, pauses left out: frames of the voice's table, else bytes."""
    if table is None:
        return float(len(words.encode()))
    said = table.phones(upstream.tokenize(words))
    return sum(
        frames for phone, frames in zip(said, table.lengths(said), strict=True) if phone not in (PAUSE, EDGE)
    )


def evidence(options: Options, seen: Observations) -> Evidence:
    """Clips that were cut, and the longest that was conditioned on."""
    cut, longest = seen.counts["references cut"], seen.counts["longest reference ms"] / 1000
    if not seen.counts["requests"]:
        return Evidence(None, "no request yet")
    observed = f"{cut} clips cut, the longest conditioned on has {longest:.2f} s"
    if not options.reference_seconds:
        return Evidence(cut == 0, observed)
    if longest > options.reference_seconds + TAIL_SECONDS:
        return Evidence(False, observed)
    return Evidence(True if cut else None, observed)
