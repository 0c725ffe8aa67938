"""What is wrong with a single clip, whatever the others are like: hard checks against its base."""

from __future__ import annotations

import math
from collections.abc import Iterator

from engine.gate.data.quality_limits import Limits
from engine.gate.data.scores import Scores, Signal
from engine.gate.preflight.speaking_rate import check_reference

WORSE = 1.5
"""A measure over its limit is a fault only if it is also this many times the base's: else the voice is so."""


def in_signal(base: Scores, candidate: Scores, limits: Limits) -> str:
    """Everything wrong with the candidate's wave, in words; nothing if it is sound."""
    return ", ".join(_in_signal(base.signal, candidate.signal, limits))


def _in_signal(base: Signal, found: Signal, limits: Limits) -> Iterator[str]:
    if not found.finite:
        yield "NaN or infinity"
        return  # the other measures are those of a patched wave
    if not base.finite:
        return
    if found.clipped > max(limits.clipped, WORSE * base.clipped):
        yield f"{found.clipped:.1%} clipped"
    if abs(found.dc) > max(limits.dc, WORSE * abs(base.dc)):
        yield f"offset {found.dc:+.3f}"
    if found.click > max(limits.click, WORSE * base.click):
        yield f"click at {found.click_at_s:.2f} s"
    if found.frozen_s > max(limits.frozen, WORSE * base.frozen_s):
        yield f"{found.frozen_s * 1000:.0f} ms played twice"
    if abs(found.loudness_dbfs - base.loudness_dbfs) > limits.loudness:
        yield f"{found.loudness_dbfs - base.loudness_dbfs:+.1f} dB"
    longer = max(
        found.silent_head_s - base.silent_head_s,
        found.silent_tail_s - base.silent_tail_s,
        found.longest_silence_s - base.longest_silence_s,
    )
    if longer > limits.silence:
        yield f"{longer:.2f} s more of silence"


def length_change(base: Scores, candidate: Scores) -> float:
    """Relative change of length; infinite where the base has none and the candidate has."""
    if base.seconds == candidate.seconds:
        return 0.0
    return candidate.seconds / base.seconds - 1 if base.seconds else math.inf


def odd_rate(text: str, seconds: float) -> str:
    """Why nobody speaks `text` in so many seconds; nothing if somebody may."""
    found = check_reference(text, seconds)
    return f"{found.observed}, expected {found.expected}" if found.status == "unfit" else ""


def wrong_voice(base: Scores, candidate: Scores, margin: float) -> str:
    """Which other voice the candidate has, where the base has its own; nothing if it has its own too."""
    own, nearest = candidate.similarity, candidate.nearest
    if own is None or nearest is None or base.nearest != base.voice:
        return ""
    ahead = candidate.similarities[nearest] - own
    return f"sounds like {nearest} instead of {candidate.voice}" if ahead > margin else ""
