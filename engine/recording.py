"""Reads a recording, a file or an array, as checked mono samples; what is cheap to know is checked first."""

from __future__ import annotations

import operator
import stat
from pathlib import Path
from typing import Any

import numpy as np

from engine.audio import Samples
from engine.errors import ReferenceClipError

MIN_SECONDS, MAX_SECONDS = 0.5, 20.0
RATES = (8_000, 192_000)
MAX_BYTES = 64 << 20
"""No clip of `MAX_SECONDS` is larger, unless it has many channels: what is larger is refused unread."""
MAX_CHANNELS = 32
"""The shorter side of two-dimensional samples holds the channels; a recording has no more of them."""
FULL_SCALE = 4.0
"""Samples above this are no audio within -1 and 1 that clips a little, but integers passed as floats."""
OFFSET_SHARE = 0.1
"""A constant offset of this share of the clip's own level, or more, is taken off."""
CANCELLED = 0.1
"""Channels whose mean has less than this share of their level cancel each other."""

Source = str | Path | Samples
"""A file, or samples."""


def read(audio: Source, sample_rate: int | None) -> tuple[Samples, int, float]:
    """Checked mono samples [n], their rate, and the constant offset that was taken off them.

    Raises:
        ReferenceClipError: no such file, not audio, empty, too short, too long, silent, or not finite.
    """
    samples, rate = _file(Path(audio)) if isinstance(audio, (str, Path)) else array(audio, sample_rate)
    name = name_of(audio)
    if not RATES[0] <= rate <= RATES[1]:
        raise ReferenceClipError(
            f"{name} at {rate} Hz", f"{RATES[0]} to {RATES[1]} Hz", "Give the clip's own rate"
        )
    if samples.size == 0:
        raise ReferenceClipError(f"{name} with no samples", "speech", "Record the clip again")
    seconds = len(samples) / rate
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise _bad_length(name, seconds)
    if not np.isfinite(samples).all():
        raise ReferenceClipError(
            f"{name} with NaN or infinite samples", "finite samples", "Export the clip again"
        )
    if np.abs(samples).max() > FULL_SCALE:
        raise ReferenceClipError(
            f"{name} with samples up to {np.abs(samples).max():g}", "samples within -1 and 1", "Scale it"
        )
    mono, offset = _centred(samples, name)
    return np.ascontiguousarray(mono, dtype=np.float32), rate, offset


def name_of(audio: Source) -> str:
    """How errors and warnings call it."""
    return f"reference clip {audio}" if isinstance(audio, (str, Path)) else "reference samples"


def _file(path: Path) -> tuple[Samples, int]:
    """Float32 samples [n, channels] and their rate."""
    import soundfile

    _check_file(path)
    try:
        with soundfile.SoundFile(path) as file:
            _check_header(name_of(path), file.frames / file.samplerate, file.channels)
            # No more than is allowed is read, whatever the header says.
            samples = file.read(int(MAX_SECONDS * file.samplerate) + 1, dtype="float32", always_2d=True)
            rate = file.samplerate
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: headerless, by its name (.raw)
        raise ReferenceClipError(
            f"{name_of(path)} ({error})",
            "audio that libsndfile reads: WAV, FLAC, OGG, MP3",
            "Convert the clip to WAV",
        ) from error
    return samples, int(rate)


def array(audio: Any, sample_rate: Any) -> tuple[Samples, int]:
    """Float32 samples, [n] or [n, channels], and their rate."""
    try:
        samples = np.asarray(audio)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors on a GPU
        raise ReferenceClipError(
            f"samples that are no array ({error})", "float samples", "Pass a float array"
        ) from error
    if samples.dtype.kind != "f":
        raise ReferenceClipError(
            f"samples of type {samples.dtype}", "floats within -1 and 1", "Divide 16-bit samples by 32768"
        )
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and min(samples.shape) > MAX_CHANNELS):
        raise ReferenceClipError(
            f"samples of shape {samples.shape}", "[n], [n, channels] or [channels, n]", "Pass one clip"
        )
    try:
        rate = operator.index(sample_rate)
    except TypeError:
        raise ReferenceClipError(
            f"sample_rate={sample_rate!r}", "whole hertz", "Give the clip's own rate"
        ) from None
    if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
        samples = samples.T
    with np.errstate(over="ignore"):  # an overflow becomes infinite, which `read` refuses
        return samples.astype(np.float32), rate


def _centred(samples: Samples, name: str) -> tuple[Samples, float]:
    """The mean of the channels without its constant offset, [n], and that offset where it was taken off.

    Raises:
        ReferenceClipError: silent, or channels that cancel each other.
    """
    mono = samples.mean(axis=1) if samples.ndim == 2 else samples
    offset = float(mono.mean(dtype=np.float64))
    sound = mono - np.float32(offset)
    level = float(np.sqrt(np.mean(np.square(sound))))
    each = samples - samples.mean(axis=0, dtype=np.float64).astype(np.float32)
    channels = float(np.sqrt(np.mean(np.square(each))))
    if samples.ndim == 2 and np.abs(each).max() >= 1e-3 and level < CANCELLED * channels:
        raise ReferenceClipError(
            f"{name} with channels that cancel each other", "channels of one polarity", "Pass one channel"
        )
    if np.abs(sound).max() < 1e-3:
        beside = f" but for a constant offset of {offset:.3f}" if abs(offset) >= 1e-3 else ""
        raise ReferenceClipError(
            f"{name} that is silent{beside}", "speech above -60 dB", "Check the microphone and record again"
        )
    return (sound, offset) if abs(offset) > OFFSET_SHARE * level else (mono, 0.0)


def _check_file(path: Path) -> None:
    """Refuse what is no file of a size that a clip can have, before a byte of it is read.

    Raises:
        ReferenceClipError: missing, a pipe, a device, or too large.
    """
    try:
        facts = path.stat()
        if stat.S_ISREG(facts.st_mode):
            path.open("rb").close()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise ReferenceClipError(
            f"reference clip {path} ({error})", "a readable audio file", "Check the path"
        ) from error
    if not stat.S_ISREG(facts.st_mode):
        raise ReferenceClipError(
            f"reference clip {path} (not a regular file)",
            "a readable audio file",
            "Save the audio to a file, and give its path",
        )
    if facts.st_size > MAX_BYTES:
        raise ReferenceClipError(
            f"reference clip {path} of {facts.st_size / 1e6:.0f} MB",
            f"at most {MAX_BYTES / 1e6:.0f} MB, and {MIN_SECONDS} to {MAX_SECONDS:.0f} s",
            "Cut the clip, and its transcript with it",
        )


def _check_header(name: str, seconds: float, channels: int) -> None:
    """Refuse what a file says of itself, before its content is decoded.

    Raises:
        ReferenceClipError: longer than `MAX_SECONDS`, or more than `MAX_CHANNELS`.
    """
    if MAX_SECONDS < seconds < 1e6:  # beyond that, the header does not know
        raise _bad_length(name, seconds)
    if channels > MAX_CHANNELS:
        raise ReferenceClipError(
            f"{name} with {channels} channels", f"at most {MAX_CHANNELS}", "Export one channel"
        )


def content(path: Path) -> bytes:
    """The bytes of a clip, none of them where the file can be no clip."""
    _check_file(path)
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ReferenceClipError(
            f"reference clip {path} ({error})", "a readable audio file", "Check the path"
        ) from error


def _bad_length(name: str, seconds: float) -> ReferenceClipError:
    return ReferenceClipError(
        f"{name} of {seconds:.2f} s",
        f"{MIN_SECONDS} to {MAX_SECONDS:.0f} s",
        "Cut the clip, and its transcript with it" if seconds > MAX_SECONDS else "Record a longer clip",
    )
