"""Reference clip -> conditioning: read, check, trim, set the level, turn into a mel."""

from __future__ import annotations

import dataclasses
import hashlib
import numbers
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import activity, recording
from engine.audio import SAMPLE_RATE, Samples
from engine.errors import ReferenceClipError, TextError
from engine.recording import MIN_SECONDS
from engine.text import Frontend

if TYPE_CHECKING:
    from torch import Tensor

TARGET_RMS = 0.1
"""A quieter clip is raised to this level before conditioning, and its speech lowered again (upstream's
`target_rms`)."""
RMS_RANGE = (0.01, 0.5)
"""Levels that a clip can be raised to: below -40 dBFS it is no longer heard, above -6 dBFS its peaks clip."""
QUIET_DB = -35.0
"""Speech below this level in dBFS is raised before its edges are trimmed, which else would be the speech, and
what is generated is not lowered again."""
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
        audio: a file that libsndfile reads (WAV, FLAC, OGG, Opus, MP3 and more, of any bit depth), or samples
            as floats within -1 and 1: [n], [n, channels] or [channels, n].
        text: what the clip says.
        sample_rate: rate of `audio` in hertz, 8,000 to 192,000; required with samples, not allowed with a
            file.
        target_rms: root mean square, 0.01 to 0.5, to which a quieter clip is raised before the model hears
            it; what it says is lowered by as much again (upstream's `target_rms`).

    Raises:
        ReferenceClipError: a text in which nothing can be spoken, a rate that is missing or too many, or a
            level out of range.
    """

    audio: str | Path | Samples
    text: str
    sample_rate: int | None = None
    target_rms: float = TARGET_RMS

    def __post_init__(self) -> None:
        self.words()
        level: Any = self.target_rms
        number = isinstance(level, numbers.Real) and not isinstance(level, bool)
        if not number or not RMS_RANGE[0] <= level <= RMS_RANGE[1]:
            raise ReferenceClipError(
                f"target_rms={level!r}",
                f"a level from {RMS_RANGE[0]:g} to {RMS_RANGE[1]:g} of full scale",
                f"Leave it out for upstream's {TARGET_RMS:g}",
            )
        if isinstance(self.audio, (str, Path)) != (self.sample_rate is None):
            raise ReferenceClipError(
                f"audio of type {type(self.audio).__name__} with sample_rate={self.sample_rate}",
                "a path alone, or samples with their sample rate",
                "Pass sample_rate with samples, and leave it out with a file",
            )

    def words(self, frontend: Frontend | None = None) -> str:
        """The transcript as it conditions the model, prepared and checked like words to say.

        Args:
            frontend: of the checkpoint; without one any language will do.

        Raises:
            ReferenceClipError: nothing to pronounce in it, or a language that the checkpoint does not speak.
        """
        try:
            str(self.text).encode()  # half of a surrogate pair is no character
            return (frontend or Frontend()).prepare(self.text).text
        except (TextError, UnicodeEncodeError) as error:
            reason = error.given if isinstance(error, TextError) else error.reason
            expected = error.expected if isinstance(error, TextError) else "characters that UTF-8 holds"
            raise ReferenceClipError(
                f"reference text {self.text!r:.60} ({reason})",
                f"the words of the clip: {expected}",
                "Write down exactly what the clip says, or use a clip in that language",
            ) from error

    def read(self) -> tuple[Samples, int]:
        """Mono float32 samples [n], without a constant offset, and their rate.

        Raises:
            ReferenceClipError: no such file, not audio, empty, too short, too long, silent, or not finite.
        """
        samples, rate, _ = recording.read(self.audio, self.sample_rate)
        return samples, rate

    def prepared(self) -> Clip:
        """The clip as it is conditioned on, before resampling: speech at a level that can be heard.

        Raises:
            ReferenceClipError: as `read`, and where no speech is left.
        """
        samples, rate, offset = recording.read(self.audio, self.sample_rate)
        name = recording.name_of(self.audio)
        warnings = [f"{name}: a constant offset of {offset:.3f} was taken off"] * bool(offset)
        level = activity.speech_level(samples, rate)
        quiet = level < QUIET_DB
        if quiet:
            warnings.append(f"{name}: speech at {level:.0f} dBFS only was raised, and its noise with it")
            samples = samples * np.float32(self.target_rms / 10 ** (level / 20))
        samples = trim(samples, rate)
        tail = int(TAIL_SECONDS * rate)
        spoken, removed = activity.without_long_pauses(samples[: len(samples) - tail], rate)
        if removed:
            samples = np.concatenate([spoken, samples[len(samples) - tail :]])
            warnings.append(f"{name}: {removed:.1f} s in which nobody speaks were cut out")
        if len(samples) < MIN_SECONDS * rate:
            raise ReferenceClipError(
                f"{name} with {len(samples) / rate:.2f} s of speech",
                f"{MIN_SECONDS} s at least",
                "Record a longer clip",
            )
        return Clip(samples, rate, quiet, tuple(warnings))

    def digest(self) -> str:
        """SHA-256 over content, never over identity: file bytes or samples, rate, words and level."""
        digest = hashlib.sha256()
        if isinstance(self.audio, (str, Path)):
            digest.update(recording.content(Path(self.audio)))
        else:
            samples, rate = recording.array(self.audio, self.sample_rate)
            digest.update(f"{rate} {samples.shape} ".encode())
            digest.update(np.ascontiguousarray(samples).tobytes())
        digest.update(b"\0" + self.text.encode() + f"\0{float(self.target_rms)!r}".encode())
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """A clip ready to be conditioned on.

    Attributes:
        samples: float32 [n], mono, at `rate` hertz, ending with `TAIL_SECONDS` of silence.
        rate: of the recording.
        raised: whether it was so quiet that what is generated shall not return to its level.
        warnings: what was done to it that its speaker may want to know, one sentence each.
    """

    samples: Samples
    rate: int
    raised: bool
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """A conditioned clip.

    Attributes:
        mel: [1, r + 1, 100] float32 log-mel on the engine's device.
        frames: r, whole hops in the clip; what is generated starts here.
        text: the transcript, normalised.
        gain: factor by which generated samples are multiplied to return to the clip's level.
        seconds: length of the conditioned clip; without the long pauses, which are cut out.
        warnings: what was done to the clip, one sentence each.
    """

    mel: Tensor
    frames: int
    text: str
    gain: float
    seconds: float
    warnings: tuple[str, ...] = ()


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

    clip, words = voice.prepared(), voice.words()
    samples, rate = clip.samples, clip.rate
    seconds = len(samples) / rate
    pace = len(words.encode()) / seconds
    if not BYTES_PER_SECOND[0] <= pace <= BYTES_PER_SECOND[1]:
        raise ReferenceClipError(
            f"{len(words)} characters for {seconds:.1f} s of speech",
            f"{BYTES_PER_SECOND[0]:.0f} to {BYTES_PER_SECOND[1]:.0f} bytes of text a second",
            "Give the transcript of exactly this clip",
        )
    rms = float(np.sqrt(np.mean(np.square(samples))))
    raise_by = max(1.0, voice.target_rms / rms)
    wave = samples * np.float32(raise_by)
    if rate != SAMPLE_RATE:
        wave = soxr.resample(wave, rate, SAMPLE_RATE)
    with torch.inference_mode():
        tensor = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))[None].to(device)
        mel = mel_spec(tensor).permute(0, 2, 1)  # [1, r + 1, d]
    gain = 1.0 if clip.raised else 1.0 / raise_by
    # The transform centres its frames and gives one more than whole hops: upstream conditions on it, then
    # cuts before it.
    return Reference(mel, len(wave) // mel_spec.hop_length, words, gain, seconds, clip.warnings)


def trim(samples: Samples, rate: int) -> Samples:
    """Cut edges below `SILENCE_DB` in steps of 10 ms, and end with `TAIL_SECONDS` of silence."""
    step = rate // 100
    blocks = samples[: len(samples) // step * step].reshape(-1, step)
    loud = np.flatnonzero(np.sqrt(np.mean(np.square(blocks), axis=1)) > 10 ** (SILENCE_DB / 20))
    if loud.size:
        samples = samples[loud[0] * step : (loud[-1] + 1) * step]
    return np.concatenate([samples, np.zeros(int(TAIL_SECONDS * rate), dtype=np.float32)])
