"""The level of a voice whose vocoder was trained on 16-bit samples, and its transformer on what they were
rounded from.

Rounding puts noise into every mel bin, -6 to -9 in log-mel, where unrounded speech has silence: -11.5 above
its highest frequency and between its words. The vocoder in the box has never met such silence and answers it
with a wave 9 to 11 dB too quiet; its own clips, low-passed in floats, come back as quietly. What the
transformer makes is such silence. The noise's mean mel is therefore added before the vocoder, and what then
remains, the transformer's own error of level, is one measured gain. Only the voice's manifest asks for it:
every other checkpoint is decoded as upstream does, to the bit.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

    from engine.vocoder import Vocoder

BITS = (8, 24)
GAINS_DB = (-20.0, 20.0)
PEAK = 0.99
"""A piece whose peak would be higher is made quieter as a whole, which distorts nothing."""
WINDOW_POWER = 0.375 * 1024
"""Sum of the squares of the Hann window of 1024 samples that every mel here is made with."""


@dataclasses.dataclass(frozen=True)
class Level:
    """What a voice's manifest says of its level.

    Attributes:
        bits: of the samples that its vocoder was trained on.
        gain_db: by which its speech is raised once their noise is in the mel.
    """

    bits: int
    gain_db: float


def of(manifest: dict[str, Any], path: Path) -> Level | None:
    """What `voice.json` at `path` says of the level, or nothing.

    Raises:
        CheckpointError: anything but the two numbers, in their ranges.
    """
    entry = manifest.get("level")
    if entry is None:
        return None
    try:
        bits, gain_db = entry["bits"], entry["gain_db"]
        whole = isinstance(bits, int) and not isinstance(bits, bool)
        number = isinstance(gain_db, (int, float)) and not isinstance(gain_db, bool)
        if whole and number and BITS[0] <= bits <= BITS[1] and GAINS_DB[0] <= gain_db <= GAINS_DB[1]:
            return Level(bits, float(gain_db))
    except (KeyError, TypeError):
        pass
    raise CheckpointError(
        f"{path} with level {entry!r}",
        f"bits from {BITS[0]} to {BITS[1]} and gain_db from {GAINS_DB[0]:g} to {GAINS_DB[1]:g}",
        "Restore the file",
    )


def apply(vocoder: Vocoder, level: Level | None, mel_spec: Any, device: str) -> Vocoder:
    """The vocoder, at the level that the manifest asks for; itself where it asks for none."""
    if level is None:
        return vocoder
    return LevelledVocoder(vocoder, rounding_noise(level.bits, mel_spec, device), 10 ** (level.gain_db / 20))


class LevelledVocoder:
    """A vocoder that is given the noise it was trained with, and whose speech is raised afterwards."""

    def __init__(self, vocoder: Vocoder, noise: Tensor, gain: float) -> None:
        self._vocoder, self._noise, self._gain = vocoder, noise, gain

    def decode(self, mel: Tensor) -> Tensor:
        """[b, 100, n] float32 -> [b, samples] float32 at 24 kHz, no peak above `PEAK`."""
        import torch

        wave = self._vocoder.decode(torch.logaddexp(mel, self._noise[:, None])) * self._gain
        peak = wave.abs().amax(dim=-1, keepdim=True)  # [b, 1]
        return wave * (PEAK / peak.clamp(min=PEAK))


def rounding_noise(bits: int, mel_spec: Any, device: str = "cpu") -> Tensor:
    """The mean log-mel [100] of the noise of samples rounded to `bits`.

    Rounding errors are uniform, so their spectrum is flat and its magnitudes are Rayleigh distributed. An
    impulse at the centre of a frame has magnitude 1 everywhere: its mel is the sum of each filter.
    """
    import torch

    impulse = torch.zeros(1, 2048, device=device)
    impulse[0, 1024] = 1.0
    with torch.inference_mode():
        filters: Tensor = mel_spec(impulse)[0, :, 4]  # [100]; the hop is 256
    power = WINDOW_POWER / 12 / 4 ** (bits - 1)  # of the error, E|X|^2 in each bin of the spectrum
    return filters + 0.5 * math.log(math.pi / 4 * power)
