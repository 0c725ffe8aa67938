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
FORMATS = {
    "wav": ("WAV", "PCM_16", (".wav",)),
    "flac": ("FLAC", "PCM_16", (".flac",)),
    "ogg": ("OGG", "VORBIS", (".ogg", ".oga")),
    "opus": ("OGG", "OPUS", (".opus",)),
    "mp3": ("MP3", "MPEG_LAYER_III", (".mp3",)),
    "pcm": ("RAW", "PCM_16", (".pcm", ".raw")),
}
"""Container, subtype and suffixes of what can be written. Lossy ones do not give the same bytes each time."""
BLOCK = 1 << 16
"""Samples written at once."""
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

    def save(self, path: str | Path, format: str | None = None) -> None:
        """Write a file, whole or not at all. Samples beyond full scale are clipped.

        Args:
            path: where to write.
            format: one of `FORMATS`; by default the one that the path's suffix names.

        Raises:
            OutputError: the folder is missing or not writable, the file is read-only, or the format unknown.
        """
        target = Path(path)
        check_output(target)
        content = self.encode(format or format_of(target))
        scratch = target.with_name(f".{uuid.uuid4().hex}{target.suffix}")
        try:
            scratch.write_bytes(content)
            scratch.replace(target)
        except (OSError, ValueError) as error:  # ValueError: a null byte in the path
            raise _unwritable(target, str(error)) from error
        finally:
            scratch.unlink(missing_ok=True)

    def encode(self, format: str = "wav") -> bytes:
        """The bytes of a file of this format: 16 bits a sample, or as its codec does it.

        `pcm` has no header: little-endian 16-bit samples, mono, at `sample_rate`.

        Raises:
            OutputError: an unknown format, or one that this machine's libsndfile cannot write.
        """
        import soundfile

        container, subtype, _ = FORMATS[check_format(format)]
        file = io.BytesIO()
        samples = np.clip(self.samples, -1.0, 1.0)
        try:
            # In blocks: the Vorbis encoder keeps what it is given at once on its stack.
            with soundfile.SoundFile(
                file, "w", self.sample_rate, 1, subtype, endian="LITTLE" if container == "RAW" else None,
                format=container,
            ) as writer:  # fmt: skip
                for start in range(0, len(samples), BLOCK):
                    writer.write(samples[start : start + BLOCK])
        except (soundfile.LibsndfileError, ValueError) as error:  # ValueError: not known to it
            raise OutputError(
                f"format {format!r} ({error})", "one that libsndfile writes here", "Choose wav or flac"
            ) from error
        return file.getvalue()


def check_format(name: str) -> str:
    """The name of a format, if it is one.

    Raises:
        OutputError: it is none.
    """
    if name not in FORMATS:
        raise OutputError(f"format {name!r}", f"one of {', '.join(FORMATS)}", "Name one of them")
    return name


def format_of(path: Path) -> str:
    """The format that the suffix of a path names.

    Raises:
        OutputError: it names none.
    """
    suffix = path.suffix.lower()
    for name, (_, _, suffixes) in FORMATS.items():
        if suffix in suffixes:
            return name
    known = " ".join(suffix for _, _, suffixes in FORMATS.values() for suffix in suffixes)
    raise OutputError(
        f"output {path} (suffix {suffix!r})",
        f"one of {known}",
        f"Choose another name, or name the format: {', '.join(FORMATS)}",
    )


def check_output(path: Path) -> None:
    """Refuse what `Audio.save` could not write, before any work is done for it.

    Raises:
        OutputError: a folder, a device, a read-only file, or a place where no file can be made.
    """
    try:
        if path.exists() and not path.is_file():  # /dev/null would be replaced by a WAV
            raise _unwritable(path, "not a regular file")
        if path.exists() and not (path.stat().st_mode & 0o222 and os.access(path, os.W_OK)):
            raise _unwritable(path, "read-only")  # renaming would replace it all the same
        if not path.name or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise _unwritable(path, "no such folder, or not writable")
    except (OSError, ValueError) as error:
        raise _unwritable(path, str(error)) from error


def _unwritable(path: Path, reason: str) -> OutputError:
    return OutputError(
        f"output {path} ({reason})", "a file in a folder that can be written", "Choose another one"
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
