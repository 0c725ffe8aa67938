"""From the engine's 24 kHz to the 16 kHz that the judges were trained on."""

from __future__ import annotations

import numpy as np

from engine.audio import SAMPLE_RATE, Samples

JUDGES_RATE = 16_000


def to_16k(samples: Samples) -> Samples:
    """Samples [n] at 24 kHz -> [n * 2 / 3] at 16 kHz, band-limited (soxr, high quality)."""
    import soxr

    return np.asarray(soxr.resample(samples, SAMPLE_RATE, JUDGES_RATE), np.float32)
