"""The seeded faults do what their names say, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.audio import SAMPLE_RATE, Samples
from tests.studies import degradations
from tests.studies.degradations import FAULTS, HARMLESS, Change

TEXT = "Hello dear chat."
EVERY: dict[str, Change] = {**FAULTS, **HARMLESS}


@pytest.fixture
def speech() -> Samples:
    """Three bursts of sound with 60 ms of silence between them: three words."""
    generator = np.random.default_rng(0)
    pause = np.zeros(int(0.06 * SAMPLE_RATE))
    words = [0.1 * generator.standard_normal(int(s * SAMPLE_RATE)) for s in (0.5, 0.4, 0.4)]
    return np.concatenate([words[0], pause, words[1], pause, words[2]]).astype(np.float32)


def spoiled(name: str, samples: Samples, seed: int = 0) -> Samples:
    """The wave after the change of that name."""
    return EVERY[name](samples, TEXT, np.random.default_rng(seed))


def test_every_change_makes_another_float32_wave_and_leaves_its_input_alone(speech: Samples) -> None:
    """A fault that does nothing would be "missed", and one that writes into the clean take would hide."""
    for name in list(EVERY):
        before = speech.copy()
        after = spoiled(name, speech)
        assert after.dtype == np.float32
        assert after.ndim == 1
        np.testing.assert_array_equal(speech, before)
        assert after.shape != before.shape or not np.array_equal(after, before)


def test_chance_comes_from_the_generator_alone(speech: Samples) -> None:
    """The same seed spoils in the same way."""
    for name in list(EVERY):
        np.testing.assert_array_equal(spoiled(name, speech, 3), spoiled(name, speech, 3))


def test_the_last_word_is_found_between_the_words(speech: Samples) -> None:
    """The cut falls into the last pause, and one word alone has no place for it."""
    start = degradations.last_word_start(speech, TEXT) / SAMPLE_RATE
    assert 0.96 <= start <= 1.02
    assert degradations.last_word_start(speech, "Hello!") == 0


def test_a_dropped_word_shortens_the_wave_or_leaves_silence(speech: Samples) -> None:
    """Cut off, the audio ends early; silenced, it is as long as before."""
    cut, silent = spoiled("last word cut off", speech), spoiled("last word silent", speech)
    assert len(cut) < len(speech) == len(silent)
    assert not silent[len(cut) :].any()
    assert not degradations.drop_last_word(speech, "Hello!", np.random.default_rng(0)).any()


def test_noise_has_the_power_that_it_says(speech: Samples) -> None:
    """3 dB below the speech."""
    noise = spoiled("white noise at 3 dB SNR", speech) - speech
    ratio = 10 * np.log10(np.mean(speech.astype(float) ** 2) / np.mean(noise.astype(float) ** 2))
    assert ratio == pytest.approx(3.0, abs=0.2)


def test_faster_speech_is_shorter_by_a_tenth(speech: Samples) -> None:
    """To a hop of the phase vocoder."""
    for name in (
        "10 % faster, resampled",
        "10 % faster, same pitch",
    ):
        assert len(spoiled(name, speech)) == pytest.approx(len(speech) / 1.1, rel=0.02)


def test_pitch_rises_with_the_resampled_tempo_only() -> None:
    """A tone of 440 Hz becomes 484 Hz, or stays."""
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)).astype(np.float32)

    def pitch(samples: Samples) -> float:
        middle = samples[len(samples) // 4 : len(samples) * 3 // 4]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 17))
        return float(spectrum.argmax() * SAMPLE_RATE / (1 << 17))

    assert pitch(spoiled("10 % faster, resampled", tone)) == pytest.approx(484, abs=2)
    assert pitch(spoiled("10 % faster, same pitch", tone)) == pytest.approx(440, abs=2)


def test_clipping_leaves_flat_tops_at_full_scale_or_at_the_old_level(speech: Samples) -> None:
    """Quietly clipped speech gives itself away by its shape alone."""
    loud, quiet = spoiled("clipping", speech), spoiled("clipping below full scale", speech)
    assert np.abs(loud).max() == 1.0
    assert np.abs(quiet).max() == pytest.approx(np.abs(speech).max() / 4, rel=1e-5)
    assert np.mean(np.abs(quiet) == np.abs(quiet).max()) > 0.001


def test_one_frame_is_not_a_number(speech: Samples) -> None:
    """256 samples in a row, none at the edges."""
    (where,) = np.nonzero(np.isnan(spoiled("one NaN frame", speech)))
    assert len(where) == 256
    assert where[-1] - where[0] == 255
    assert where[0] > 0


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1.0), st.integers(4_800, 20_000))
def test_a_click_is_half_the_peak_and_gone_within_10_ms(seed: int, level: float, length: int) -> None:
    """A step, then nothing: speech before and after is untouched."""
    samples = (level * np.random.default_rng(seed).uniform(-1, 1, length)).astype(np.float32)
    change = degradations.click_at_join(samples, TEXT, np.random.default_rng(seed)) - samples
    at = int(np.abs(change).argmax())
    assert not change[:at].any()
    assert change[at] == pytest.approx(0.5 * np.abs(samples).max(), rel=1e-3)
    assert np.abs(change[at + 240 :]).max(initial=0) < 0.01 * np.abs(samples).max()


@given(st.integers(0, 2**32 - 1), st.integers(2_400, 20_000))
def test_swapped_chunks_are_the_same_speech_in_another_order(seed: int, length: int) -> None:
    """But for the milliseconds faded at the two cuts."""
    samples = np.random.default_rng(seed).uniform(-1, 1, length).astype(np.float32)
    swapped = degradations.swap_chunks(samples, TEXT, np.random.default_rng(0))
    at = degradations.quietest(samples, length // 3, length * 2 // 3)
    back = np.concatenate([swapped[length - at :], swapped[: length - at]])
    assert np.count_nonzero(back != samples) <= 2 * 120


@given(st.integers(0, 2**32 - 1), st.integers(1_200, 20_000))
def test_the_harmless_changes_keep_length_and_shape(seed: int, length: int) -> None:
    """Resampled band-limited sound is itself again; a softer wave is the wave, scaled."""
    steps = np.random.default_rng(seed).standard_normal(length // 8 + 2)
    smooth = np.interp(np.arange(length) / 8, np.arange(len(steps)), steps)
    smooth = np.convolve(smooth, np.hanning(33) / np.hanning(33).sum(), "same")
    samples = (0.1 * smooth * np.hanning(length)).astype(np.float32)
    back = spoiled("resampled to 22.05 kHz and back", samples)
    assert back.shape == samples.shape
    assert np.sqrt(np.mean((back - samples) ** 2)) < 0.02 * np.sqrt(np.mean(samples**2))
    np.testing.assert_allclose(spoiled("gain -1 dB", samples), samples * 10 ** (-0.05), rtol=1e-6)


def test_broken_int8_moves_the_scales_of_the_blocks_by_one_row(tiny_folder: Path, tmp_path: Path) -> None:
    """Each row of a linear is its int8 levels times the next scale; all else is untouched, and it loads."""
    from safetensors.torch import load_file

    from engine import checkpoint

    target = degradations.broken_int8(tiny_folder, tmp_path / "broken")
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_folder, target))
    changed = [name for name in before if not before[name].equal(after[name])]
    assert changed
    assert all("transformer_blocks" in name and before[name].ndim == 2 for name in changed)
    old, new = before[changed[0]].float(), after[changed[0]].float()
    scales = old.abs().amax(dim=1) / 127
    levels = (new / scales.roll(1)[:, None]).round()
    assert (levels * scales[:, None] - old).abs().max() <= scales.max() * 0.75
    assert "files" not in json.loads((target / "voice.json").read_text())
    assert checkpoint.find(target).digest() != checkpoint.find(tiny_folder).digest()
