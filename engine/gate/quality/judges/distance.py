"""Distances of a candidate from a reference made from the same noise; with other noise they say nothing.

A flow-matching model given other noise speaks the same words with other details, and every distance here is
then as large as between two different takes. Frames are compared one to one, without time warping: the
engine's length follows from the text, so a shift in time is a fault and must show.

The log-mel is the engine's own (upstream's `get_vocos_mel_spectrogram`: window 1024, hop 256, 100 bins, HTK
scale, no area normalisation, magnitudes, floor 1e-5), computed without torch.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from engine.audio import SAMPLE_RATE, Samples
from engine.errors import UsageError
from engine.gate.data.scores import Distances

Floats = NDArray[np.float64]
WINDOW, HOP, BINS = 1024, 256, 100
FLOOR = 1e-5
CEPSTRA = 13
"""Mel-cepstral coefficients that are compared, without the zeroth (the level)."""
MCD_SCALE = 10 / np.log(10) * np.sqrt(2)
"""Kubichek 1993, doi:10.1109/PACRIM.1993.407206: Euclidean distance of cepstra of natural logs, to dB."""
SDR_LIMIT = 100.0
"""dB. What float32 samples can tell."""


def distances(reference: Samples, candidate: Samples) -> Distances:
    """Compare the common part of two waves [n], [m] at 24 kHz.

    Raises:
        UsageError: less than one window in common, or a sample that is not finite.
    """
    common = min(len(reference), len(candidate))
    one, other = (np.asarray(wave[:common], np.float64) for wave in (reference, candidate))
    if common < WINDOW or not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise UsageError(
            f"waves of {len(reference)} and {len(candidate)} samples",
            f"at least {WINDOW} finite samples in common",
            "Judge the signal first",
        )
    spectra = spectrum(one), spectrum(other)  # each [513, frames]
    mels = log_mel(spectra[0]), log_mel(spectra[1])  # each [100, frames]
    frames = _relative(mels[0], mels[1], axis=0)
    return Distances(
        mel_l1=float(np.abs(mels[1] - mels[0]).sum() / np.abs(mels[0]).sum()),
        mel_l2=float(_relative(mels[0], mels[1], axis=None)),
        mcd_db=mel_cepstral_distortion(*mels),
        lsd_db=log_spectral_distance(*spectra),
        si_sdr_db=si_sdr(one, other),
        worst_frame=float(frames.max()),
        worst_frame_s=float(frames.argmax() * HOP / SAMPLE_RATE),
    )


def spectrum(samples: Floats) -> Floats:
    """Magnitudes [513, 1 + n // 256] of samples [n]: Hann window, centred frames, reflected edges."""
    padded = np.pad(samples, WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]  # [frames, 1024]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    magnitudes: Floats = np.abs(fft.rfft(frames * window, axis=1)).T
    return magnitudes


def log_mel(magnitudes: Floats) -> Floats:
    """Natural log of the mel bands [100, frames] of magnitudes [513, frames]."""
    bands: Floats = np.log(np.maximum(mel_filters() @ magnitudes, FLOOR))
    return bands


@functools.lru_cache(maxsize=1)
def mel_filters() -> Floats:
    """Triangles [100, 513] on the HTK mel scale from 0 to 12 kHz, peak 1 (torchaudio's `norm=None`)."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, BINS + 2) / 2595) - 1)  # [102] Hz
    hertz = np.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1)
    slopes = corners[:, None] - hertz[None, :]  # [102, 513]
    widths = np.diff(corners)[:, None]
    falling, rising = -slopes[:-2] / widths[:-1], slopes[2:] / widths[1:]
    return np.maximum(0.0, np.minimum(falling, rising))


def mel_cepstral_distortion(one: Floats, other: Floats) -> float:
    """Mean over frames of the distance of cepstra 1 to 13, in dB, of two log-mels [100, frames].

    Source: Kubichek 1993, doi:10.1109/PACRIM.1993.407206. The level of the whole (coefficient 0) does not
    count.
    """
    cepstra = fft.dct(other - one, axis=0, norm="ortho")[1 : CEPSTRA + 1] / np.sqrt(BINS / 2)
    return float(MCD_SCALE * np.sqrt((cepstra**2).sum(axis=0)).mean())


def log_spectral_distance(one: Floats, other: Floats) -> float:
    """Mean over frames of the root mean square difference of log magnitudes [513, frames], in dB.

    Source: Rabiner and Juang, Fundamentals of Speech Recognition, 1993, section 4.5. Magnitudes below the
    mel's floor count as the floor, or digital silence would outweigh all speech.
    """
    logs = [20 * np.log10(np.maximum(magnitudes, FLOOR)) for magnitudes in (one, other)]
    return float(np.sqrt(((logs[1] - logs[0]) ** 2).mean(axis=0)).mean())


def si_sdr(reference: Floats, candidate: Floats) -> float:
    """Scale-invariant signal-to-distortion ratio in dB of samples [n] each, within -100 and 100.

    Source: Le Roux et al. 2019, arXiv:1811.02508. Identical silence is 100, silence against sound -100.
    """
    energy = float(reference @ reference)
    if not energy or not candidate.any():
        return SDR_LIMIT if np.array_equal(reference, candidate) else -SDR_LIMIT
    target = float(candidate @ reference) / energy * reference
    rest = candidate - target
    target_energy, rest_energy = float(target @ target), float(rest @ rest)
    limit = 10 ** (SDR_LIMIT / 10)
    if target_energy >= limit * rest_energy:
        return SDR_LIMIT
    return float(max(10 * np.log10(max(target_energy / rest_energy, 1 / limit)), -SDR_LIMIT))


def _relative(one: Floats, other: Floats, axis: int | None) -> Any:
    """Norm of the difference over the norm of `one`; a log-mel is nowhere zero in all its bands."""
    return np.linalg.norm(other - one, axis=axis) / np.linalg.norm(one, axis=axis)
