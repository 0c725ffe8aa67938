"""What synthesis returns, and the arithmetic on waves that needs no model."""

from __future__ import annotations

import dataclasses
import io
import os
import uuid
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

    def __add__(self, other: Timings) -> Timings:
        """Both together, stage by stage."""
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return Timings(*(one + two for one, two in zip(mine, theirs, strict=True)))

    def share(self, part: float) -> Timings:
        """That part of every stage."""
        return Timings(*(part * seconds for seconds in dataclasses.astuple(self)))

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
        warnings: what did not go as asked and yet led to this result, one sentence each.
    """

    samples: Samples
    sample_rate: int
    timings: Timings
    mel: Samples
    warnings: tuple[str, ...] = ()

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
        check_output(target)
        wav = io.BytesIO()
        soundfile.write(
            wav, np.clip(self.samples, -1.0, 1.0), self.sample_rate, format="WAV", subtype="PCM_16"
        )
        scratch = target.with_name(f".{uuid.uuid4().hex}.wav")
        try:
            scratch.write_bytes(wav.getbuffer())
            scratch.replace(target)
        except (OSError, ValueError) as error:  # ValueError: a null byte in the path
            raise _unwritable(target, str(error)) from error
        finally:
            scratch.unlink(missing_ok=True)


def check_output(path: Path) -> None:
    """Refuse what `Audio.save` could not write, before any work is done for it.

    Raises:
        OutputError: a folder, a device, or a place where no file can be made.
    """
    try:
        if path.exists() and not path.is_file():  # /dev/null would be replaced by a WAV
            raise _unwritable(path, "not a regular file")
        if not path.name or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise _unwritable(path, "no such folder, or not writable")
    except (OSError, ValueError) as error:
        raise _unwritable(path, str(error)) from error


def _unwritable(path: Path, reason: str) -> OutputError:
    return OutputError(
        f"output {path} ({reason})", "a file in a folder that can be written", "Choose another -o"
    )


def cross_fade(
    pieces: list[Samples], seconds: float = CROSS_FADE_SECONDS, sample_rate: int = SAMPLE_RATE
) -> Samples:
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


class Seam:
    """Joins pieces one after another: what it gives back, put together, is `cross_fade` of them all.

    The next piece can change no more than the last `seconds` of what was joined before it. These are held
    back until that piece is there.
    """

    def __init__(self, seconds: float = CROSS_FADE_SECONDS, sample_rate: int = SAMPLE_RATE) -> None:
        self._seconds, self._sample_rate = seconds, sample_rate
        self._held: Samples | None = None

    def join(self, piece: Samples, last: bool) -> Samples:
        """The samples that are final once `piece` is there: [n], perhaps none."""
        pieces = [piece] if self._held is None else [self._held, piece]
        joined = cross_fade(pieces, self._seconds, self._sample_rate)
        final = len(joined) if last else max(0, len(joined) - int(self._seconds * self._sample_rate))
        self._held = joined[final:]
        return joined[:final]
