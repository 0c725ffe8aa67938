"""Reference clip -> conditioning: read, check, trim, set the level, turn into a mel."""

from __future__ import annotations

import dataclasses
import hashlib
import operator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.audio import SAMPLE_RATE, Samples
from engine.errors import ReferenceClipError

if TYPE_CHECKING:
    from torch import Tensor

MIN_SECONDS, MAX_SECONDS = 0.5, 20.0
RATES = (8_000, 192_000)
FULL_SCALE = 4.0
"""Samples above this are no audio within -1 and 1 that clips a little, but integers passed as floats."""
TARGET_RMS = 0.1
"""A quieter clip is raised to this level before conditioning, and its speech lowered again (upstream's
`target_rms`)."""
SILENCE_DB = -42.0
"""Edges below this level are trimmed (upstream's `remove_silence_edges`)."""
TAIL_SECONDS = 0.05
"""Silence put after the trimmed clip, as upstream does."""
BYTES_PER_SECOND = (2.0, 45.0)
"""Speaking rates of UTF-8 text that a person can reach; outside, transcript and clip do not belong
together."""


@dataclasses.dataclass(frozen=True, eq=False)
class Voice:
    """A speaker: a short clip and exactly the words in it.

    Args:
        audio: a file that libsndfile reads, or samples, [n] or [n, channels], within -1 and 1.
        text: what the clip says.
        sample_rate: of `audio` in hertz; required with samples, not allowed with a file.
    """

    audio: str | Path | Samples
    text: str
    sample_rate: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip() or not _encodes(self.text):
            raise ReferenceClipError(
                f"reference text {self.text!r}", "the words of the clip", "Write down what it says"
            )
        if isinstance(self.audio, (str, Path)) != (self.sample_rate is None):
            raise ReferenceClipError(
                f"audio of type {type(self.audio).__name__} with sample_rate={self.sample_rate}",
                "a path alone, or samples with their sample rate",
                "Pass sample_rate with samples, and leave it out with a file",
            )

    def read(self) -> tuple[Samples, int]:
        """Mono float32 samples [n] and their rate.

        Raises:
            ReferenceClipError: no such file, not audio, empty, too short, too long, silent, or not finite.
        """
        samples, rate = self._file() if isinstance(self.audio, (str, Path)) else self._array()
        name = self._name()
        if not RATES[0] <= rate <= RATES[1]:
            raise ReferenceClipError(
                f"{name} at {rate} Hz", f"{RATES[0]} to {RATES[1]} Hz", "Give the clip's own rate"
            )
        if samples.size == 0:
            raise ReferenceClipError(f"{name} with no samples", "speech", "Record the clip again")
        seconds = len(samples) / rate
        if not MIN_SECONDS <= seconds <= MAX_SECONDS:
            raise _bad_length(name, seconds)
        mono = samples.mean(axis=1) if samples.ndim == 2 else samples
        if not np.isfinite(samples).all():
            raise ReferenceClipError(
                f"{name} with NaN or infinite samples", "finite samples", "Export the clip again"
            )
        if np.abs(samples).max() > FULL_SCALE:
            raise ReferenceClipError(
                f"{name} with samples up to {np.abs(samples).max():g}", "samples within -1 and 1", "Scale it"
            )
        if np.abs(mono).max() < 1e-3:
            raise ReferenceClipError(
                f"{name} that is silent", "speech above -60 dB", "Check the microphone and record again"
            )
        return np.ascontiguousarray(mono, dtype=np.float32), rate

    def digest(self) -> str:
        """SHA-256 over content, never over identity: file bytes or samples, their rate, and the words."""
        digest = hashlib.sha256()
        if isinstance(self.audio, (str, Path)):
            digest.update(_bytes_of(Path(self.audio)))
        else:
            samples, rate = self._array()
            digest.update(f"{rate} {samples.shape} ".encode())
            digest.update(np.ascontiguousarray(samples).tobytes())
        digest.update(b"\0" + self.text.encode())
        return digest.hexdigest()

    def _name(self) -> str:
        return f"reference clip {self.audio}" if isinstance(self.audio, (str, Path)) else "reference samples"

    def _file(self) -> tuple[Samples, int]:
        import soundfile

        path = Path(str(self.audio))
        _bytes_of(path, 1)  # a missing file gets its own sentence
        try:
            info = soundfile.info(path)
            if info.duration > MAX_SECONDS:  # do not read an hour to refuse it
                raise _bad_length(self._name(), info.duration)
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: headerless, by its name (.raw)
            raise ReferenceClipError(
                f"{self._name()} ({error})",
                "audio that libsndfile reads: WAV, FLAC, OGG, MP3",
                "Convert the clip to WAV",
            ) from error
        return samples, int(rate)

    def _array(self) -> tuple[Samples, int]:
        try:
            array = np.asarray(self.audio)
        except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors on a GPU
            raise ReferenceClipError(
                f"samples that are no array ({error})", "float samples", "Pass a float array"
            ) from error
        if array.dtype.kind != "f":
            raise ReferenceClipError(
                f"samples of type {array.dtype}", "floats within -1 and 1", "Divide 16-bit samples by 32768"
            )
        if array.ndim not in (1, 2):
            raise ReferenceClipError(
                f"samples of shape {array.shape}", "[n] or [n, channels]", "Pass one clip"
            )
        try:
            rate = operator.index(self.sample_rate)  # type: ignore[arg-type]
        except TypeError:
            raise ReferenceClipError(
                f"sample_rate={self.sample_rate!r}", "whole hertz", "Give the clip's own rate"
            ) from None
        with np.errstate(over="ignore"):  # an overflow becomes infinite, which `read` refuses
            return array.astype(np.float32), rate


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """A conditioned clip.

    Attributes:
        mel: [1, r + 1, 100] float32 log-mel on the engine's device.
        frames: r, whole hops in the clip; what is generated starts here.
        text: the transcript as given.
        gain: factor by which generated samples are multiplied to return to the clip's level.
        seconds: length of the conditioned clip.
    """

    mel: Tensor
    frames: int
    text: str
    gain: float
    seconds: float


def condition(voice: Voice, mel_spec: Any, device: Any) -> Reference:
    """Prepare a clip as upstream's `preprocess_ref_audio_text` and `infer_batch_process` do, without its 12 s
    cut.

    Args:
        voice: clip and transcript.
        mel_spec: upstream's `MelSpec`.
        device: where the mel is wanted.

    Raises:
        ReferenceClipError: the clip cannot be used, or its transcript cannot fit its length.
    """
    import soxr
    import torch

    samples, rate = voice.read()
    samples = trim(samples, rate)
    seconds = len(samples) / rate
    pace = len(voice.text.strip().encode()) / seconds
    if not BYTES_PER_SECOND[0] <= pace <= BYTES_PER_SECOND[1]:
        raise ReferenceClipError(
            f"{len(voice.text.strip())} characters for {seconds:.1f} s of speech",
            f"{BYTES_PER_SECOND[0]:.0f} to {BYTES_PER_SECOND[1]:.0f} bytes of text a second",
            "Give the transcript of exactly this clip",
        )
    rms = float(np.sqrt(np.mean(np.square(samples))))
    raise_by = TARGET_RMS / rms if rms < TARGET_RMS else 1.0
    wave = samples * np.float32(raise_by)
    if rate != SAMPLE_RATE:
        wave = soxr.resample(wave, rate, SAMPLE_RATE)
    with torch.inference_mode():
        tensor = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))[None].to(device)
        mel = mel_spec(tensor).permute(0, 2, 1)  # [1, r + 1, d]
    # The transform centres its frames and gives one more than whole hops: upstream conditions on it, then
    # cuts before it.
    return Reference(mel, len(wave) // mel_spec.hop_length, voice.text.strip(), 1.0 / raise_by, seconds)


def trim(samples: Samples, rate: int) -> Samples:
    """Cut edges below `SILENCE_DB` in steps of 10 ms, and end with `TAIL_SECONDS` of silence."""
    step = rate // 100
    blocks = samples[: len(samples) // step * step].reshape(-1, step)
    loud = np.flatnonzero(np.sqrt(np.mean(np.square(blocks), axis=1)) > 10 ** (SILENCE_DB / 20))
    if loud.size:
        samples = samples[loud[0] * step : (loud[-1] + 1) * step]
    return np.concatenate([samples, np.zeros(int(TAIL_SECONDS * rate), dtype=np.float32)])


def _encodes(text: str) -> bool:
    """Whether UTF-8 can hold `text`; half of a surrogate pair it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bytes_of(path: Path, limit: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise ReferenceClipError(
            f"reference clip {path} ({error})", "a readable audio file", "Check the path"
        ) from error


def _bad_length(name: str, seconds: float) -> ReferenceClipError:
    return ReferenceClipError(
        f"{name} of {seconds:.2f} s",
        f"{MIN_SECONDS} to {MAX_SECONDS:.0f} s",
        "Cut the clip, and its transcript with it" if seconds > MAX_SECONDS else "Record a longer clip",
    )
