"""Between the rates of clips, the engine (24 kHz) and the judges (16 kHz)."""

from __future__ import annotations

import numpy as np

from engine.audio import SAMPLE_RATE, Samples

JUDGES_RATE = 16_000


def to_16k(samples: Samples) -> Samples:
    """Samples [n] at 24 kHz -> [n * 2 / 3] at 16 kHz, band-limited (soxr, high quality)."""
    import soxr

    return np.asarray(soxr.resample(samples, SAMPLE_RATE, JUDGES_RATE), np.float32)


def at_our_rate(samples: Samples, rate: int) -> Samples:
    """Samples [n] at 24 kHz."""
    import soxr

    if rate == SAMPLE_RATE:
        return samples
    resampled: Samples = soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32)
    return resampled
