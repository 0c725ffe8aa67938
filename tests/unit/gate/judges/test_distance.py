"""Distances: the engine's own mel, slow oracles, and known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.audio import Samples
from engine.errors import UsageError
from engine.gate.quality.judges import distances
from engine.gate.quality.judges.distance import (
    BINS,
    CEPSTRA,
    FLOOR,
    HOP,
    WINDOW,
    log_mel,
    log_spectral_distance,
    mel_cepstral_distortion,
    si_sdr,
    spectrum,
)

SEEDS = st.integers(0, 2**32 - 1)


def noise(seed: int, seconds: float = 0.3, level: float = 0.1) -> Samples:
    """White noise at 24 kHz."""
    generator = np.random.default_rng(seed)
    return np.asarray(level * generator.standard_normal(int(seconds * 24_000)), np.float32)


def test_the_mel_is_the_one_the_engine_conditions_on() -> None:
    """Upstream's own function gives the same log-mel, up to float32."""
    torch = pytest.importorskip("torch")
    from engine import upstream

    samples = noise(0)
    mel = upstream.module("f5_tts.model.modules").get_vocos_mel_spectrogram(torch.from_numpy(samples)[None])
    ours = log_mel(spectrum(samples.astype(np.float64)))
    assert ours == pytest.approx(mel[0].numpy(), abs=2e-4)


def test_a_frame_of_the_spectrum_is_a_plain_fourier_sum() -> None:
    """One bin of one frame against the definition, written out."""
    samples = noise(1).astype(np.float64)
    frame, bin_ = 7, 33
    total = 0j
    for n in range(WINDOW):
        window = 0.5 - 0.5 * np.cos(2 * np.pi * n / WINDOW)
        total += window * samples[frame * HOP - WINDOW // 2 + n] * np.exp(-2j * np.pi * bin_ * n / WINDOW)
    assert spectrum(samples)[bin_, frame] == pytest.approx(abs(total))


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_a_wave_has_no_distance_from_itself(seed: int) -> None:
    """Identity: all distances are zero, and the distortion ratio is at its end."""
    found = distances(noise(seed), noise(seed))
    assert (found.mel_l1, found.mel_l2, found.mcd_db, found.lsd_db, found.worst_frame) == (0, 0, 0, 0, 0)
    assert found.si_sdr_db == 100


@given(SEEDS, SEEDS)
@settings(max_examples=20, deadline=None)
def test_decibels_are_symmetric(one: int, other: int) -> None:
    """MCD and LSD do not ask which wave is the reference."""
    there, back = distances(noise(one), noise(other)), distances(noise(other), noise(one))
    assert there.mcd_db == pytest.approx(back.mcd_db)
    assert there.lsd_db == pytest.approx(back.lsd_db)


@given(SEEDS, st.floats(0.2, 5.0))
@settings(max_examples=20, deadline=None)
def test_gain_is_seen_by_what_measures_level_alone(seed: int, gain: float) -> None:
    """A louder copy: SI-SDR and MCD do not change, LSD is the gain in dB, and the mel sees it."""
    samples = noise(seed)
    found = distances(samples, samples * np.float32(gain))
    assert found.si_sdr_db == 100
    assert found.mcd_db == pytest.approx(0, abs=1e-4)
    assert found.lsd_db == pytest.approx(abs(20 * np.log10(gain)), abs=1e-3)
    assert found.mel_l2 == pytest.approx(
        found.lsd_db / 20 * np.log(10) / rms_mel(samples), rel=1e-3, abs=1e-6
    )


def rms_mel(samples: Samples) -> float:
    """Root mean square of the log-mel."""
    return float(np.sqrt((log_mel(spectrum(samples.astype(np.float64))) ** 2).mean()))


def test_si_sdr_is_the_ratio_that_the_noise_was_mixed_at() -> None:
    """Noise orthogonal to the wave at a known level gives that ratio, at any gain."""
    for ratio_db in (
        -20.0,
        0.0,
        3.0,
        40.0,
    ):
        wave, rest = noise(2).astype(np.float64), noise(3).astype(np.float64)
        rest -= (rest @ wave) / (wave @ wave) * wave
        rest *= np.sqrt((wave @ wave) / (rest @ rest)) * 10 ** (-ratio_db / 20)
        assert si_sdr(wave, wave + rest) == pytest.approx(ratio_db)
        assert si_sdr(wave, 0.3 * (wave + rest)) == pytest.approx(ratio_db)


def test_si_sdr_of_silence_is_at_its_ends() -> None:
    """Silence against itself is identical; against sound nothing is right; and inverted sound is the same."""
    quiet, wave = np.zeros(100), noise(4)[:100].astype(np.float64)
    assert si_sdr(quiet, quiet) == 100
    assert si_sdr(quiet, wave) == si_sdr(wave, quiet) == -100
    assert si_sdr(wave, -wave) == 100


def test_mel_cepstral_distortion_of_a_ripple_is_its_size_in_decibels() -> None:
    """A cosine over the bands is one cepstral coefficient; the distortion is its RMS in dB."""
    bands = (np.arange(BINS) + 0.5) / BINS
    ripple = 0.4 * np.cos(np.pi * 3 * bands)[:, None] * np.ones(6)
    rms_db = 20 / np.log(10) * np.sqrt((ripple**2).mean())
    assert mel_cepstral_distortion(np.zeros((BINS, 6)), ripple) == pytest.approx(rms_db)


def test_mel_cepstral_distortion_against_sums_written_out() -> None:
    """The cosine transform and the norm, coefficient by coefficient."""
    one, other = np.random.default_rng(0).standard_normal((2, BINS, 4))
    frames = []
    for frame in range(4):
        squares = 0.0
        for order in range(1, CEPSTRA + 1):
            terms = [
                (other[band, frame] - one[band, frame]) * np.cos(np.pi * order * (band + 0.5) / BINS)
                for band in range(BINS)
            ]
            squares += (2 / BINS * sum(terms)) ** 2
        frames.append(10 / np.log(10) * np.sqrt(2 * squares))
    assert mel_cepstral_distortion(one, other) == pytest.approx(np.mean(frames))


def test_log_spectral_distance_against_loops() -> None:
    """Root mean square over bins, mean over frames, with a floor under silence."""
    one, other = np.abs(np.random.default_rng(1).standard_normal((2, 5, 3)))
    one[2, 1] = 0.0
    frames = []
    for frame in range(3):
        squares = [
            (20 * np.log10(max(one[k, frame], FLOOR)) - 20 * np.log10(max(other[k, frame], FLOOR))) ** 2
            for k in range(5)
        ]
        frames.append(np.sqrt(np.mean(squares)))
    assert log_spectral_distance(one, other) == pytest.approx(np.mean(frames))


def test_the_worst_frame_is_where_the_waves_differ() -> None:
    """One spoilt stretch shows in the worst frame and its time, not only in the mean."""
    samples = noise(5, seconds=1.0)
    spoilt = samples.copy()
    spoilt[12_000:12_256] = 0
    found = distances(samples, spoilt)
    assert found.worst_frame > 3 * found.mel_l2
    assert found.worst_frame_s == pytest.approx(0.5, abs=0.05)


def test_only_the_common_part_is_compared() -> None:
    """The longer wave's end is the duration judge's business."""
    samples = noise(6)
    assert distances(samples, samples[:-2_000]).si_sdr_db == 100


def test_waves_without_a_distance_are_refused() -> None:
    """Too little in common, or samples that are no numbers."""
    for spoil in (
        "short",
        "nan",
        "inf",
    ):
        samples = noise(7)
        other = samples[: WINDOW - 1] if spoil == "short" else samples.copy()
        if spoil != "short":
            other[500] = np.nan if spoil == "nan" else np.inf
        with pytest.raises(UsageError, match="finite samples in common"):
            distances(samples, other)
