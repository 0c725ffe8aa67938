"""The engine: text and a voice in, audio out, with the time of every stage."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import sampler, text, upstream
from engine.audio import SAMPLE_RATE, Audio, Samples, Timings, cross_fade
from engine.checkpoint import Checkpoint
from engine.errors import EngineError, OptionsError
from engine.evidence import Evidence, Observations
from engine.optimizations import compile, precision, reference_cache, vocoder_precision
from engine.options import Options
from engine.reference import Reference, Voice
from engine.vocoder import Vocoder, dtype_name

if TYPE_CHECKING:
    from torch import Tensor

SHORT_BYTES, SHORT_SPEED = 10, 0.3
"""Texts under ten bytes are stretched, as in upstream's `infer_batch_process`: one word needs room."""
SPEEDS = (0.3, 3.0)


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a request stands: solver step `step` of `steps` in piece `piece` of `pieces`, both from 1."""

    piece: int
    pieces: int
    step: int
    steps: int


@dataclasses.dataclass(frozen=True)
class Parts:
    """What an engine is built from; the modules already carry their optimisations."""

    checkpoint: Checkpoint
    model: Any
    vocoder: Vocoder
    prepare: Callable[[Voice], Reference]
    device: str


@dataclasses.dataclass(frozen=True)
class Piece:
    """One stretch of text, ready to sample."""

    tokens: Tensor  # [1, nt]
    frames: int  # reference and generated together


class Engine:
    """A loaded model. Made by `engine.load`; safe to call from several threads; `close` frees its memory."""

    def __init__(self, parts: Parts, options: Options, observed: Observations) -> None:
        self._parts: Parts | None = parts
        self._observed = observed
        self.options = options
        self._durations = _durations(parts.checkpoint)

    @property
    def checkpoint(self) -> Checkpoint:
        """What was loaded: name, files, languages, reference clips, and whether it is trained."""
        return self._open().checkpoint

    @property
    def device(self) -> str:
        """Where the model runs."""
        return self._open().device

    def synthesize(
        self,
        words: str,
        voice: Voice | str | None = None,
        *,
        seed: int = 0,
        speed: float = 1.0,
        progress: Callable[[Progress], None] | None = None,
    ) -> Audio:
        """Say `words` in the voice of a reference clip.

        Args:
            words: English, Chinese or mixed, as the checkpoint allows. Emoji and control characters are
            skipped. voice: a clip with its transcript, the name of one that came with the checkpoint, or its
            default. seed: same seed, same bytes; piece `i` of a long text draws from `seed + i`.
            speed: of speech; 1 is the clip's own.
            progress: called after every solver step.

        Returns:
            Audio at 24 kHz. Its length follows from the words, the clip and the speed, never from the
            sampling.

        Raises:
            TextError: nothing to say, too much, or a language the voice does not speak.
            ReferenceClipError: the clip or its transcript cannot be used.
            OptionsError: seed or speed out of range.
            EngineError: the engine is closed, or the model produced NaN.
        """
        import torch

        parts = self._open()
        _check_request(seed, speed)
        clock = _Clock(parts.device)
        mels: list[Samples] = []
        waves: list[Samples] = []
        with torch.inference_mode():
            with clock.stage("text"):
                words = text.normalise(words)
                text.check_language(words, parts.checkpoint.languages, parts.checkpoint.name)
            with clock.stage("reference"):
                reference = parts.prepare(self._voice(voice))
                self._observed.add("requests")
            with clock.stage("text"):
                pieces = self._plan(words, reference, speed)
            for index, piece in enumerate(pieces):
                report = functools.partial(_report, progress, index + 1, len(pieces), self.options.nfe)
                with clock.stage("sampling"):
                    mel = self._sample(piece, reference, seed + index, report)  # [1, n, d]
                with clock.stage("vocoder"):
                    wave = parts.vocoder.decode(mel.permute(0, 2, 1)) * reference.gain  # [1, samples]
                    waves.append(wave[0].cpu().numpy())
                mels.append(mel[0].cpu().numpy())
        samples = cross_fade(waves)
        if not np.isfinite(samples).all():
            raise EngineError(
                f"audio with NaN from options {self.options}", "finite samples", "Use precision='fp32'"
            )
        return Audio(samples, SAMPLE_RATE, clock.timings(), np.concatenate(mels))

    def evidence(self) -> dict[str, Evidence]:
        """For every option, what was observed since loading and whether that proves it."""
        seen, options = self._observed, self.options
        return {
            "precision": precision.evidence(options, seen),
            "vocoder_precision": vocoder_precision.evidence(options, seen),
            "compile": compile.evidence(options, seen),
            "reference_cache": reference_cache.evidence(options, seen),
            **sampler_evidence(options, seen),
        }

    def close(self) -> None:
        """Free the model's memory; further requests raise. Closing twice is allowed."""
        self._parts = None
        import gc

        import torch

        gc.collect()  # upstream's modules hold reference cycles
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> Parts:
        if self._parts is None:
            raise EngineError("a closed engine", "an open one", "Call engine.load again")
        return self._parts

    def _voice(self, voice: Voice | str | None) -> Voice:
        known = self.checkpoint.references
        if voice is None:
            return next(iter(known.values()))
        if isinstance(voice, str):
            if voice not in known:
                raise OptionsError(
                    f"voice {voice!r}",
                    f"one of {', '.join(known)}",
                    "Name one, or pass engine.Voice(clip, words)",
                )
            return known[voice]
        if not isinstance(voice, Voice):
            raise OptionsError(
                f"voice of type {type(voice).__name__}", "an engine.Voice or the name of one", "Pass one"
            )
        return voice

    def _plan(self, words: str, reference: Reference, speed: float) -> list[Piece]:
        """Split the words so that no piece with its reference passes the checkpoint's longest sequence."""
        room = self.checkpoint.max_seconds - reference.seconds
        pace = len(text.finish_reference(reference.text).encode()) / reference.seconds
        limit = max(1, int(pace * room * speed))
        return [
            self._piece(piece.strip(), reference, speed)
            for piece in text.split(words, limit)
            if piece.strip()
        ]

    def _piece(self, words: str, reference: Reference, speed: float) -> Piece:
        """Tokens of transcript and words, and the frames that both take."""
        model = self._open().model
        opening = text.finish_reference(reference.text)
        if self._durations is None:
            tokens = upstream.tokenize(opening + words)
            units, said = len(opening.encode()), len(words.encode())
            pace = SHORT_SPEED if said < SHORT_BYTES else speed
            frames = reference.frames + text.estimate_frames(units, reference.frames, said, pace)
        else:
            tokens = self._durations.spread(
                upstream.tokenize(opening), reference.frames, upstream.tokenize(words), speed
            )
            frames = len(tokens)
        # Upstream's own floor: at least one frame more than the tokens and than the reference.
        frames = max(frames, max(len(tokens), reference.mel.shape[1]) + 1)
        return Piece(upstream.token_ids(tokens, model.vocab_char_map).to(self.device), frames)

    def _sample(self, piece: Piece, reference: Reference, seed: int, report: Callable[[int], None]) -> Tensor:
        """The generated mel [1, n, d], without the reference before it."""
        parts = self._open()
        times: list[Any] = []
        dtypes: set[str] = set()

        def on_step(t: Tensor, flow: Tensor) -> None:
            times.append(t)
            dtypes.add(dtype_name(flow))
            report(len(times))

        mel = sampler.sample(
            parts.model.transformer,
            reference.mel,
            piece.tokens,
            sampler.noise_like(piece.frames, reference.mel.shape[2], seed, parts.device),
            sampler.time_grid(self.options, parts.device),
            self.options.cfg_strength,
            on_step,
        )
        self._observed.sampled(times, dtypes)
        return mel[:, reference.frames :]


def sampler_evidence(options: Options, observed: Observations) -> dict[str, Evidence]:
    """Evaluations counted in each piece, and the schedule that their times follow."""
    if not observed.evaluations:
        nothing = Evidence(None, "no evaluation yet")
        return {"nfe": nothing, "schedule": nothing}
    times = [float(t) for t in observed.times]
    counted = ", ".join(map(str, sorted(observed.evaluations)))
    return {
        "nfe": Evidence(observed.evaluations == {options.nfe}, f"{counted} evaluations a piece"),
        "schedule": Evidence(
            sampler.follows(times, options.schedule),
            "evaluated at t = " + " ".join(f"{t:.3f}" for t in times),
        ),
    }


class _Clock:
    """Seconds by stage; waits for the device at every boundary, so that work is charged to the stage that
    asked."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._seconds = dict.fromkeys(("reference", "text", "sampling", "vocoder"), 0.0)
        self._start = self._now()

    def _now(self) -> float:
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = self._now()
        yield
        self._seconds[name] += self._now() - start

    def timings(self) -> Timings:
        return Timings(**self._seconds, total=self._now() - self._start)


def _report(
    progress: Callable[[Progress], None] | None, piece: int, pieces: int, steps: int, step: int
) -> None:
    if progress is not None:
        progress(Progress(piece, pieces, step, steps))


def _durations(checkpoint: Checkpoint) -> Any:
    """The checkpoint's duration table, where its voice has one."""
    if checkpoint.durations is None:
        return None
    from engine import durations

    return durations.load(checkpoint.durations)


def _check_request(seed: int, speed: float) -> None:
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**62:
        raise OptionsError(f"seed={seed!r}", "a whole number from 0 to 2**62", "Pass one")
    if not isinstance(speed, (int, float)) or isinstance(speed, bool) or not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise OptionsError(
            f"speed={speed!r}", f"a number from {SPEEDS[0]} to {SPEEDS[1]}", "Choose one in that range"
        )
