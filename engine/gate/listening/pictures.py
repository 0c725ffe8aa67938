"""What the listening page shows of a sample: the outline of its wave and its spectrogram, without axes.

The page draws the axes itself, so that they are text in the page's own colours. Both samples of a pair share
their scales.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.audio import SAMPLE_RATE, Samples

COLUMNS = 400
"""Of the outline of a wave."""
WIDEST = 640
"""Pixels of a spectrogram; a longer one is averaged over time."""
ROWS = 128
WINDOW, HOP = 1024, 240
"""Samples: a Hann window of 43 ms every 10 ms."""
RANGE_DB = 80
LOWEST, HIGHEST = 60.0, 12_000.0
"""Hertz. Up to half the sample rate."""
SHADES = 128
COLOURS = "magma"


def level(waves: Sequence[Samples]) -> float:
    """The amplitude at the edge of both outlines: the smallest round one that holds all samples [n]."""
    peak = max(float(np.abs(wave).max()) for wave in waves)
    return next((edge for edge in (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0) if peak <= edge), math.ceil(peak))


def outline(samples: Samples, edge: float) -> str:
    """An SVG path around samples [n]: COLUMNS wide, from `edge` at 16 to `-edge` at 184, with 0 at 100."""
    bounds = np.linspace(0, len(samples), COLUMNS + 1).astype(int)
    parts = [samples[start : max(start + 1, end)] for start, end in itertools.pairwise(bounds)]
    tops = [100 - 84 * float(part.max(initial=-edge)) / edge for part in parts]
    bottoms = [100 - 84 * float(part.min(initial=edge)) / edge for part in parts]
    there = [f"{x},{y:.0f}" for x, y in enumerate(tops)]
    back = [f"{x},{y:.0f}" for x, y in reversed(list(enumerate(bottoms)))]
    return f"M{'L'.join(there + back)}Z"


def spectrograms(waves: Sequence[Samples]) -> list[bytes]:
    """A PNG for each wave [n]: ROWS from LOWEST to HIGHEST on the mel scale, RANGE_DB below the loudest."""
    powers = [_power(wave) for wave in waves]
    loudest = max(float(power.max()) for power in powers) or 1.0
    return [_png(10 * np.log10(np.maximum(power / loudest, 10 ** (-RANGE_DB / 10)))) for power in powers]


def frequency_ticks() -> list[tuple[str, float]]:
    """Label in kHz, and where it is as a share of the height from the top."""
    low, high = _mel(LOWEST), _mel(HIGHEST)
    return [
        (f"{kilohertz:g}", round(float(1 - (_mel(1000 * kilohertz) - low) / (high - low)), 4))
        for kilohertz in (0.5, 1, 2, 4, 8)
    ]


def gradient() -> str:
    """The colours from quiet to loud, as CSS."""
    stops = _palette()[:: SHADES // 8 - 1]
    return f"linear-gradient(90deg,{','.join('#' + bytes(stop.tolist()).hex() for stop in stops)})"


def _power(samples: Samples) -> NDArray[np.float64]:
    """Power of samples [n] by mel-spaced frequency and time: [ROWS, frames], at most WIDEST frames."""
    padded = np.pad(samples.astype(np.float64), WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW))) ** 2  # [frames, WINDOW / 2 + 1]
    mels = np.linspace(_mel(LOWEST), _mel(HIGHEST), ROWS)
    at = 700 * (10 ** (mels / 2595) - 1) * WINDOW / SAMPLE_RATE  # in bins
    below = np.minimum(at.astype(int), power.shape[1] - 2)
    rows = power[:, below] + (at - below) * (power[:, below + 1] - power[:, below])
    groups = math.ceil(len(rows) / WIDEST)
    shorter = [rows[start : start + groups].mean(axis=0) for start in range(0, len(rows), groups)]
    return np.stack(shorter, axis=1)


def _mel(hertz: float) -> float:
    """O'Shaughnessy's mel scale."""
    return 2595 * math.log10(1 + hertz / 700)


def _png(decibels: NDArray[np.float64]) -> bytes:
    """A picture with a palette, low frequencies at the bottom."""
    from PIL import Image

    shades = np.round((decibels / RANGE_DB + 1) * (SHADES - 1)).astype(np.uint8)
    image = Image.fromarray(shades[::-1])
    image.putpalette(_palette().astype(np.uint8).tobytes())
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return file.getvalue()


def _palette() -> NDArray[np.int_]:
    """SHADES colours from quiet to loud: [SHADES, 3], 0 to 255."""
    from matplotlib import colormaps

    return np.round(colormaps[COLOURS](np.linspace(0, 1, SHADES))[:, :3] * 255).astype(int)
