"""The signal judge: sees what it should, and nothing in clean speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from engine.audio import SAMPLE_RATE, Samples
from engine.gate.data.quality_limits import Limits
from engine.gate.quality.judges import inspect
from engine.gate.quality.judges.signal import FRAME, LOOP, clipped, frozen

LIMITS = Limits()
PACKAGE = Path(engine.__file__).parent
CLIPS = [
    *(PACKAGE / "voices" / "box" / "references" / f"{name}.wav" for name in ("slt", "rms", "awb", "kal16")),
    *("basic/basic_ref_en.wav", "basic/basic_ref_zh.wav"),
    *("multi/main.flac", "multi/town.flac", "multi/country.flac"),
]
"""The reference clips in the box, and those that ship with f5-tts."""


def read(clip: Path | str) -> Samples:
    """Samples [n] at 24 kHz of a real clip."""
    import soundfile
    import soxr

    from engine import upstream

    path = clip if isinstance(clip, Path) else upstream.shipped(f"infer/examples/{clip}")
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return np.asarray(soxr.resample(samples.mean(axis=1), rate, SAMPLE_RATE), np.float32)


@pytest.fixture(scope="module")
def speech() -> Samples:
    """Two seconds of a real recording, with head room."""
    return read("basic/basic_ref_en.wav")[12_000:60_000] * np.float32(0.5)


def test_clean_speech_raises_no_alarm() -> None:
    """Every real clip stays within all limits of a wave."""
    for clip in CLIPS:
        found = inspect(read(clip))
        assert found.finite
        assert found.clipped < LIMITS.clipped
        assert abs(found.dc) < LIMITS.dc
        assert found.click < LIMITS.click
        assert found.frozen_s < LIMITS.frozen
        assert -35 < found.loudness_dbfs < -10
        assert found.silent_tail_s <= found.longest_silence_s < 0.5


def test_one_sample_that_is_no_number_is_seen(speech: Samples) -> None:
    """And the other measures are still given."""
    for bad in (
        np.nan,
        np.inf,
        -np.inf,
    ):
        spoilt = speech.copy()
        spoilt[1_000] = bad
        found = inspect(spoilt)
        assert not found.finite
        assert np.isfinite(found.loudness_dbfs)


def test_flat_tops_are_seen_at_any_level(speech: Samples) -> None:
    """12 dB too much, cut off at full scale, and perhaps lowered afterwards."""
    for level in (
        1.0,
        0.25,
    ):
        peak = np.abs(speech).max()
        spoilt = np.clip(speech * (4 / peak), -1, 1) * np.float32(level)
        assert inspect(spoilt).clipped > LIMITS.clipped


def test_samples_beyond_full_scale_are_clipped_when_saved(speech: Samples) -> None:
    """A float wave may exceed 1 and still have round tops."""
    loud = speech * (2 / np.abs(speech).max())
    assert inspect(loud).clipped == pytest.approx((np.abs(loud) > 1).mean())


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=1, max_size=40))
@settings(deadline=None)
def test_flat_tops_are_counted_as_a_loop_counts_them(values: list[float]) -> None:
    """Runs of three at the largest or the smallest value, if that is an extreme of both signs' scale."""
    peak = max(map(abs, values))
    counted = 0
    for extreme in {max(values), min(values)}:
        length = 0
        for value in [*values, float("nan")]:
            if value == extreme:
                length += 1
                continue
            counted += length if length >= 3 and peak > 0 and abs(extreme) >= peak / 2 else 0
            length = 0
    assert clipped(np.array(values)) == pytest.approx(counted / len(values))


def test_an_offset_is_seen(speech: Samples) -> None:
    """The mean of the wave, whatever the speech does."""
    assert inspect(speech + np.float32(0.05)).dc == pytest.approx(0.05, abs=0.005)


def test_silence_at_the_ends_is_measured(speech: Samples) -> None:
    """Zeros before and after add to the head and to the tail, in steps of 10 ms."""
    for seconds in (
        (0.3, 0.0),
        (0.0, 0.4),
        (0.2, 0.3),
    ):
        before, after = inspect(speech), None
        pads = [np.zeros(int(one * SAMPLE_RATE), np.float32) for one in seconds]
        after = inspect(np.concatenate([pads[0], speech, pads[1]]))
        assert after.silent_head_s == pytest.approx(before.silent_head_s + seconds[0], abs=0.011)
        assert after.silent_tail_s == pytest.approx(before.silent_tail_s + seconds[1], abs=0.021)
        assert after.longest_silence_s >= max(seconds) - 0.011


def test_a_pause_in_the_middle_is_the_longest_silence(speech: Samples) -> None:
    """Not only the ends count."""
    found = inspect(np.concatenate([speech, np.zeros(SAMPLE_RATE // 2, np.float32), speech]))
    assert found.longest_silence_s == pytest.approx(0.5, abs=0.1)
    assert found.silent_tail_s < 0.1


def test_silence_of_any_length_is_silence() -> None:
    """Nothing at all has no level, no click, and is silent throughout."""
    for count in (
        0,
        1,
        3,
        FRAME,
        5_000,
    ):
        found = inspect(np.zeros(count, np.float32))
        assert found.loudness_dbfs == -120
        assert found.longest_silence_s == found.silent_head_s == count // FRAME * FRAME / SAMPLE_RATE
        assert (found.click, found.clipped, found.frozen_s, found.dc) == (0, 0, 0, 0)


@given(st.floats(0.02, 1.0))
@settings(max_examples=20, deadline=None)
def test_loudness_follows_the_gain(gain: float) -> None:
    """Half the amplitude is 6 dB less, and silence around speech changes nothing."""
    tone = np.asarray(0.5 * np.sin(np.arange(SAMPLE_RATE) * 0.05), np.float32)
    found = inspect(np.concatenate([np.zeros(4_800, np.float32), tone * np.float32(gain)]))
    assert found.loudness_dbfs == pytest.approx(20 * np.log10(gain * 0.5 / np.sqrt(2)), abs=0.05)


def join(speech: Samples) -> int:
    """The quietest place in the middle half, where pieces are joined."""
    energy = np.convolve(speech**2, np.ones(480), "same")
    return len(speech) // 4 + int(np.argmin(energy[len(speech) // 4 : -len(speech) // 4]))


def test_a_click_at_a_join_is_seen_and_placed(speech: Samples) -> None:
    """A break of any shape, this share of the peak, where the speech is quiet."""
    for kind, share in (
        ("impulse", 0.05),
        ("step", 0.25),
        ("decaying step", 0.25),
    ):
        at = join(speech)
        size = np.float32(share * np.abs(speech).max())
        spoilt = speech.copy()
        if kind == "impulse":
            spoilt[at] += size
        elif kind == "step":
            spoilt[at:] += size
        else:
            spoilt[at:] += size * np.exp(-np.arange(len(speech) - at, dtype=np.float32) / 48)
        found = inspect(spoilt)
        assert inspect(speech).click < LIMITS.click < found.click
        assert found.click_at_s == pytest.approx(at / SAMPLE_RATE, abs=0.001)


def test_sharp_but_lasting_sound_is_no_click() -> None:
    """Pitch pulses, and noise that begins at once, are as sharp as a click and go on."""
    pulses = np.zeros(SAMPLE_RATE, np.float32)
    pulses[::200] = 0.5  # 120 Hz
    burst = np.zeros(SAMPLE_RATE, np.float32)
    burst[9_000:] = 0.3 * np.random.default_rng(0).standard_normal(15_000)
    assert inspect(pulses).click < LIMITS.click
    assert inspect(burst).click < LIMITS.click


def test_a_stretch_played_twice_is_seen(speech: Samples) -> None:
    """A buffer of 50 ms that comes again, bit for bit, later."""
    again = np.concatenate([speech, speech[20_000:21_200]])
    assert inspect(again).frozen_s == pytest.approx(0.05, abs=0.001)


def test_a_stuck_sample_is_seen(speech: Samples) -> None:
    """A constant that is not silence; digital silence is none of it."""
    stuck, quiet = speech.copy(), speech.copy()
    stuck[10_000:12_400] = 0.1
    quiet[10_000:12_400] = 0.0
    assert inspect(stuck).frozen_s == pytest.approx(0.1, abs=0.002)
    assert inspect(quiet).frozen_s < LIMITS.frozen


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(0, 200))
@settings(max_examples=30, deadline=None)
def test_repeats_are_found_as_a_slow_search_finds_them(seed: int, start: int, length: int) -> None:
    """Every pair of places, sample by sample."""
    wave = np.random.default_rng(seed).standard_normal(500)
    wave[start + 190 : start + 190 + length] = wave[start : start + length][: len(wave[start + 190 :])]
    wave = wave.astype(np.float32).astype(np.float64)
    longest = 0
    for lag in range(1, len(wave)):
        run = 0
        for same in wave[lag:] == wave[:-lag]:
            run = run + 1 if same else 0
            longest = max(longest, run)
    expected = longest / SAMPLE_RATE if longest >= LOOP else 0.0
    assert frozen(wave) == pytest.approx(expected)
