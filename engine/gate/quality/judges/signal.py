"""What can be said of a wave alone: no model, no reference, any samples.

Deterministic and cheap, so these are hard checks of every clip; none of them knows speech from music, and
none hears a fault that leaves the wave smooth. Thresholds live in `quality.Limits`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engine.audio import SAMPLE_RATE, Samples
from engine.gate.data.scores import Signal

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
FRAME = SAMPLE_RATE // 100
"""Samples in 10 ms, the grid on which silence is told from sound."""
QUIET_DB, DEAD_DB = -40.0, -60.0
"""Silent is what lies this far below the wave's loud frames (its 95th percentile), or below -60 dBFS."""
NOTHING_DB = -120.0
FLAT = 3
"""Equal neighbours at the extreme that make a flat top; a rounded peak in 16 bits rarely has so many."""
GUARD, REACH = int(0.0015 * SAMPLE_RATE), int(0.02 * SAMPLE_RATE)
"""A click is shorter than the guard; speech as sharp goes on around it, one or two pitch periods away."""
CLICK_FLOOR = 6e-3
"""Third differences below this are too faint to be heard as a click (full scale is 1)."""
LOOP = 48
"""Samples (2 ms) that must agree bit for bit to be the same stretch again."""


def inspect(samples: Samples) -> Signal:
    """Look at samples [n] at 24 kHz; any n, any values. Samples that are not finite count as zeros."""
    finite = bool(np.isfinite(samples).all())
    wave = np.nan_to_num(np.asarray(samples, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    silent, loudness = silence(wave)
    head, tail, longest = (frames * FRAME / SAMPLE_RATE for frames in _runs(silent))
    strongest, at = click(wave)
    return Signal(
        finite=finite,
        clipped=clipped(wave),
        dc=float(wave.mean()) if wave.size else 0.0,
        loudness_dbfs=loudness,
        silent_head_s=head,
        silent_tail_s=tail,
        longest_silence_s=longest,
        click=strongest,
        click_at_s=at,
        frozen_s=frozen(wave),
    )


def silence(wave: Floats) -> tuple[Flags, float]:
    """Which frames of 10 ms [n // 240] of samples [n] are silent, and the level of the others in dBFS."""
    frames = wave[: len(wave) // FRAME * FRAME].reshape(-1, FRAME)
    power = (frames**2).mean(axis=1)
    if not power.any():
        return np.ones(len(power), np.bool_), NOTHING_DB
    quiet = max(10 ** (DEAD_DB / 10), float(np.quantile(power, 0.95)) * 10 ** (QUIET_DB / 10))
    silent = power < quiet
    loud = power[~silent]
    return silent, float(10 * np.log10(loud.mean())) if loud.size else NOTHING_DB


def clipped(wave: Floats) -> float:
    """Share of samples [n] beyond full scale or in flat tops at the wave's own extremes.

    The extremes are the wave's own, so that clipping is seen when the level was lowered afterwards.
    Resampling rounds flat tops off, and hides them.
    """
    if not wave.any():
        return 0.0
    over = np.abs(wave) > 1.0
    for extreme in (wave.max(), wave.min()):
        if abs(extreme) >= np.abs(wave).max() / 2:
            over |= ndimage.binary_opening(wave == extreme, np.ones(FLAT, np.bool_))
    return float(over.mean())


def click(wave: Floats) -> tuple[float, float]:
    """Strongest click in samples [n], and its time in seconds.

    The third difference whitens speech and leaves an impulse or a step standing; here it is divided by the
    largest one 1.5 to 20 ms before and after, so that a pitch pulse (others follow), a plosive (noise
    follows) and a hiss stay near 1 and an isolated break stands out. A click hidden in louder, sharper sound
    is missed, as by the ear.
    """
    if len(wave) < 4:
        return 0.0, 0.0
    sharp = np.abs(np.diff(wave, 3, prepend=[wave[0]] * 3))
    beside = ndimage.maximum_filter1d(sharp, REACH - GUARD, mode="constant")
    shift = (REACH + GUARD) // 2
    padded = np.pad(beside, shift)
    around = np.maximum(padded[: len(sharp)], padded[2 * shift :])
    break_ = sharp / (around + CLICK_FLOOR)
    return float(break_.max()), float(break_.argmax() / SAMPLE_RATE)


def frozen(wave: Floats) -> float:
    """Seconds of the longest stretch of sound in samples [n] that is, bit for bit, an earlier one again.

    A stuck sample, a buffer played twice, a chunk from a stale cache. Speech never repeats itself exactly;
    digital silence does, and does not count.
    """
    if len(wave) <= LOOP:
        return 0.0
    windows = np.lib.stride_tricks.sliding_window_view(wave.astype(np.float32).view(np.uint32), LOOP)
    odd = np.random.default_rng(0).integers(0, 2**63, LOOP, dtype=np.uint64) | np.uint64(1)
    keys = np.zeros(len(windows), np.uint64)
    for column in range(LOOP):  # a wrapping dot product: equal windows have equal keys
        keys += windows[:, column] * odd[column]
    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]
    lag = np.zeros(len(keys), np.int64)
    lag[order[1:][same]] = (order[1:] - order[:-1])[same]
    loud = ndimage.maximum_filter1d(np.abs(wave), LOOP, origin=-(LOOP // 2))[: len(keys)] > 1e-3
    lag[~loud] = 0
    edges = np.flatnonzero(np.diff(lag, prepend=-1, append=-1))
    lengths = np.diff(edges) * (lag[edges[:-1]] > 0)
    return float((lengths.max() + LOOP - 1) / SAMPLE_RATE) if lengths.any() else 0.0


def _runs(silent: Flags) -> tuple[int, int, int]:
    """Frames of silence at the head, at the tail, and in the longest run, of flags [n]."""
    sound = np.flatnonzero(~silent)
    if not sound.size:
        return len(silent), len(silent), len(silent)
    gaps = np.diff(sound, prepend=-1, append=len(silent)) - 1
    return int(sound[0]), int(len(silent) - 1 - sound[-1]), int(gaps.max())
