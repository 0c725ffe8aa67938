"""Where in a recording somebody speaks: the energy of every 10 ms against the recording's own floor.

There is no model and no fixed level: one recorder's hiss is louder than somebody's whisper. Two levels are
taken from the clip itself, that of its loudest fifth of a second and the one below which its quietest tenth
lies. Speech is what rises 6 dB above the quiet one and is at most 30 dB below the loud one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.audio import Samples, cross_fade

LOUDEST_BLOCKS = 20
"""The loud level is that of so many blocks of 10 ms: one click does not set it."""
FLOOR_SHARE, SILENT = 10, 40.0
"""The floor is the level below which this percentage of the clip lies, leaving out what is so many decibels
below the loud level: digital silence between the words says nothing about noise elsewhere."""
ABOVE_FLOOR, BELOW_LOUD, ALWAYS_LOUD = 6.0, 30.0, 6.0
"""Decibels. What is at most `ALWAYS_LOUD` below the loud level is speech, however high the floor seems."""
CLICK_BLOCKS = 4
"""Shorter sounds are clicks, which do not end a pause."""
LONGEST_PAUSE, LONGEST_EDGE = 1.0, 0.5
"""Seconds within the speech, and before or after it; what is longer is cut out. People do pause for almost a
second (upstream's own English example does), and upstream looks for pauses to cut from a second upwards."""
KEPT_SECONDS = 0.1
"""Left on each side of a pause that is cut out, so that sounds may die away."""
FADE_SECONDS = 0.01
"""The two sides of a cut are faded into each other, since there may be noise in them."""


def active(samples: Samples, rate: int) -> npt.NDArray[np.bool_]:
    """Whether somebody speaks, for each whole block of 10 ms of mono samples [n]."""
    level = _levels(samples, rate)
    if not level.size:
        return np.zeros(0, dtype=bool)
    loud = float(np.sort(level)[-min(LOUDEST_BLOCKS, level.size)])
    floor = float(np.percentile(level[level >= loud - SILENT], FLOOR_SHARE))
    speech = level > max(loud - BELOW_LOUD, min(floor + ABOVE_FLOOR, loud - ALWAYS_LOUD))
    for start, end in _runs(speech):
        if end - start < CLICK_BLOCKS:
            speech[start:end] = False
    return speech


def speech_level(samples: Samples, rate: int) -> float:
    """Level in dBFS of mono samples [n] where somebody speaks in them; of all where nobody does."""
    level, speech = _levels(samples, rate), active(samples, rate)
    spoken = level[speech] if speech.any() else level
    return 10 * float(np.log10(np.mean(10 ** (spoken / 10)))) if spoken.size else -np.inf


def without_long_pauses(samples: Samples, rate: int) -> tuple[Samples, float]:
    """Samples [n] without the long stretches in which nobody speaks, and the seconds that were cut out.

    Where there is none, they are the same object.
    """
    step, quiet = rate // 100, ~active(samples, rate)
    if quiet.all():
        return samples, 0.0
    kept_blocks = round(KEPT_SECONDS * 100)
    pieces, begin = [], 0
    for start, end in _runs(quiet):
        longest = LONGEST_PAUSE if start and end < quiet.size else LONGEST_EDGE
        if (end - start) * step <= longest * rate:
            continue
        if start:  # the clip does not begin with it
            pieces.append(samples[begin : (start + kept_blocks) * step])
        begin = (end - kept_blocks) * step
        if end == quiet.size:  # nothing follows
            begin = len(samples)
    if not begin:
        return samples, 0.0
    if begin < len(samples):
        pieces.append(samples[begin:])
    joined = cross_fade(pieces, FADE_SECONDS, rate)
    return joined, (len(samples) - len(joined)) / rate


def _levels(samples: Samples, rate: int) -> npt.NDArray[np.float64]:
    """Level in dBFS of each whole block of 10 ms."""
    step = rate // 100
    blocks = samples[: len(samples) // step * step].reshape(-1, step).astype(np.float64)
    return np.asarray(10 * np.log10(np.mean(np.square(blocks), axis=1) + 1e-12))


def _runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end of every stretch of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
