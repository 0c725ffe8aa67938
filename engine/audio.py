"""What synthesis returns, and the arithmetic on waves that needs no model."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.errors import OutputError

Samples = npt.NDArray[np.float32]

SAMPLE_RATE = 24_000
CROSS_FADE_SECONDS = 0.15
"""Overlap of two pieces; upstream's `cross_fade_duration`."""


@dataclasses.dataclass(frozen=True)
class Timings:
    """Seconds spent in each stage of one request; on a GPU the device is synchronised at each boundary."""

    reference: float
    text: float
    sampling: float
    vocoder: float
    total: float

    @property
    def other(self) -> float:
        """What no stage accounts for: joining, checking, copying back."""
        return self.total - self.reference - self.text - self.sampling - self.vocoder

    def stages(self) -> dict[str, float]:
        """Every part of the total, in order; their sum is the total."""
        return {
            "reference": self.reference,
            "text": self.text,
            "sampling": self.sampling,
            "vocoder": self.vocoder,
            "other": self.other,
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Audio:
    """One spoken text.

    Attributes:
        samples: float32 [n], mono, nominally within -1 and 1.
        sample_rate: in hertz.
        timings: where the time went.
        mel: float32 [frames, 100], the generated log-mel of all pieces, before the vocoder.
    """

    samples: Samples
    sample_rate: int
    timings: Timings
    mel: Samples

    @property
    def seconds(self) -> float:
        """Length of the audio."""
        return len(self.samples) / self.sample_rate

    @property
    def rtf(self) -> float:
        """Real-time factor: time to make it over time to play it; below 1 is faster than speech."""
        return self.timings.total / self.seconds

    def save(self, path: str | Path) -> None:
        """Write a 16-bit WAV: whole or not at all. Samples beyond full scale are clipped.

        Raises:
            OutputError: the folder is missing or not writable.
        """
        import soundfile

        target = Path(path)
        try:
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".wav")
        except OSError as error:
            raise OutputError(
                f"output {target} ({error.strerror})", "a folder that exists and can be written", "Choose another -o"
            ) from error
        try:
            with os.fdopen(handle, "wb") as file:
                soundfile.write(file, np.clip(self.samples, -1.0, 1.0), self.sample_rate, format="WAV", subtype="PCM_16")
            os.replace(name, target)
        except OSError as error:
            Path(name).unlink(missing_ok=True)
            raise OutputError(f"output {target} ({error.strerror})", "a writable file", "Choose another -o") from error


def cross_fade(pieces: list[Samples], seconds: float = CROSS_FADE_SECONDS, sample_rate: int = SAMPLE_RATE) -> Samples:
    """Join pieces with a linear cross-fade; a piece shorter than the overlap shortens it.

    The arithmetic is that of upstream's `infer_batch_process`.
    """
    joined = pieces[0]
    for piece in pieces[1:]:
        overlap = min(int(seconds * sample_rate), len(joined), len(piece))
        fade_in = np.linspace(0, 1, overlap, dtype=np.float32)
        mixed = joined[len(joined) - overlap :] * (1 - fade_in) + piece[:overlap] * fade_in
        joined = np.concatenate([joined[: len(joined) - overlap], mixed, piece[overlap:]])
    return joined
