"""The level of a voice whose vocoder learnt from rounded samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine import level, upstream
from engine.errors import CheckpointError
from engine.level import Level


@pytest.fixture(scope="module")
def mel_spec() -> Any:
    """Upstream's mel transform."""
    return upstream.module("f5_tts.model.modules").MelSpec(**upstream.MEL_SPEC)


class Fixed:
    """A vocoder that remembers its mel and gives one wave."""

    def __init__(self, wave: torch.Tensor) -> None:
        self.wave = wave
        self.mels: list[torch.Tensor] = []

    def decode(self, mel: torch.Tensor) -> torch.Tensor:
        """[b, 100, n] -> [b, samples]."""
        self.mels.append(mel)
        return self.wave


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_the_noise_is_that_of_rounding(mel_spec: Any, bits: int) -> None:
    """In every bin, the closed form is the mean mel of what rounding takes away."""
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, 24_000 * 8)
    error = (np.round(samples * 2 ** (bits - 1)) / 2 ** (bits - 1) - samples).astype(np.float32)
    mel = mel_spec(torch.from_numpy(error)[None])[0]  # [100, n]
    expected = mel.exp().mean(dim=1).log()
    torch.testing.assert_close(level.rounding_noise(bits, mel_spec), expected, atol=0.1, rtol=0)


def test_without_a_level_the_vocoder_is_left_alone(mel_spec: Any) -> None:
    """Other checkpoints are decoded as upstream does: by the same object."""
    vocoder = Fixed(torch.zeros(1, 1))
    assert level.apply(vocoder, None, mel_spec, "cpu") is vocoder


def test_noise_goes_into_the_mel_and_the_gain_onto_the_wave(mel_spec: Any) -> None:
    """Magnitudes add up; loud bins stay as they are, silent ones become the noise."""
    vocoder = Fixed(torch.tensor([[0.1, -0.2], [0.05, 0.0]]))
    made = level.apply(vocoder, Level(16, 6.0), mel_spec, "cpu")
    mel = torch.full((2, 100, 3), -20.0)
    mel[0, 5] = 2.0
    wave = made.decode(mel)
    torch.testing.assert_close(wave, vocoder.wave * 10 ** (6 / 20))
    noise = level.rounding_noise(16, mel_spec)
    torch.testing.assert_close(vocoder.mels[0].exp(), mel.exp() + noise.exp()[:, None])


def test_a_peak_is_lowered_without_distortion(mel_spec: Any) -> None:
    """Each wave of a batch for itself, as a whole: its shape is what it was, and nothing is clipped."""
    loud = torch.sin(torch.arange(1000.0) / 7)[None] * torch.tensor([[2.0], [0.1]])
    made = level.apply(Fixed(loud), Level(16, 0.0), mel_spec, "cpu").decode(torch.zeros(2, 100, 4))
    assert float(made[0].abs().max()) == pytest.approx(level.PEAK)
    torch.testing.assert_close(made[0], loud[0] * (level.PEAK / loud[0].abs().max()))
    torch.testing.assert_close(made[1], loud[1])


def test_a_manifest_without_a_level_asks_for_none() -> None:
    """As the checkpoints of everybody else."""
    assert level.of({}, Path("voice.json")) is None
    assert level.of({"level": {"bits": 16, "gain_db": -2}}, Path("voice.json")) == Level(16, -2.0)


@pytest.mark.parametrize(
    "entry",
    [
        5,
        "16",
        [],
        {},
        {"bits": 16},
        {"bits": 16, "gain_db": "loud"},
        {"bits": "16", "gain_db": 1},
        {"bits": 16.0, "gain_db": 1},
        {"bits": True, "gain_db": 1},
        {"bits": 1, "gain_db": 1},
        {"bits": 16, "gain_db": 200},
        {"bits": 16, "gain_db": float("nan")},
        {"bits": 16, "gain_db": None},
    ],
)
def test_a_level_that_is_none_is_named(entry: Any) -> None:
    """With the file, the value, and what would have been right."""
    with pytest.raises(CheckpointError, match=r"voice\.json with level .*bits from 8 to 24"):
        level.of({"level": entry}, Path("voice.json"))
