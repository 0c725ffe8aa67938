"""From a request to waves: plan, sample, decode. What `Engine` calls, one method for each of these steps."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import batching, planning, sampler, text
from engine.audio import SAMPLE_RATE, Audio, Samples, Timings, cross_fade
from engine.batching import Item
from engine.checkpoint import Checkpoint
from engine.clock import Clock
from engine.errors import EngineError
from engine.evidence import Batch, Evaluation, Observations
from engine.optimizations import buckets
from engine.options import Options
from engine.planning import Planner, Request
from engine.reference import Reference, Voice
from engine.vocoder import Vocoder, dtype_name

if TYPE_CHECKING:
    from torch import Tensor

Report = Callable[[int], None]
"""Told of every evaluation of the flow, counted from 1."""


@dataclasses.dataclass(frozen=True)
class Parts:
    """What an engine is built from; the modules already carry their optimisations."""

    checkpoint: Checkpoint
    model: Any
    backbone: sampler.Backbone
    vocoder: Vocoder
    prepare: Callable[[Voice], Reference]
    planner: Planner
    device: str


@dataclasses.dataclass(frozen=True, eq=False)
class Spoken:
    """One piece of a request, and what it took."""

    mel: Samples  # [n, d]
    wave: Samples  # [samples]
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Speaker:
    """The steps between a request and its audio."""

    parts: Parts
    options: Options
    observed: Observations

    def items(self, request: Request, clock: Clock, name: str = "") -> list[Item]:
        """The pieces of a request, checked and planned; `name` is how errors call it."""
        import torch

        checkpoint, observed = self.parts.checkpoint, self.observed
        request.check()
        with torch.inference_mode():
            with clock.stage("text"):
                words = text.normalise(request.words)
                text.check_language(words, checkpoint.languages, checkpoint.name)
            with clock.stage("reference"):
                voice = planning.pick(checkpoint.references, request.voice)
                voice.words(checkpoint.languages, checkpoint.name)  # checked like the words to say
                reference = self.parts.prepare(voice)
                observed.add("requests")
                observed.most("longest reference ms", int(1000 * reference.seconds))
            with clock.stage("text"):
                pieces = self.parts.planner.plan(words, reference, request.speed)
        observed.most("longest first piece", len(pieces[0].words.encode()))
        return [Item(piece, reference, int(request.seed) + i, name) for i, piece in enumerate(pieces)]

    def speak(self, items: Sequence[Item], clock: Clock, report: Report | None = None) -> list[Spoken]:
        """Sample the items in one batch, and decode each."""
        import torch

        with torch.inference_mode():
            with clock.stage("sampling"):
                mels = batching.halving(items, lambda some: self._sample(some, report))
            return [
                self._decode(item, mel, (*item.reference.warnings, *warnings), clock)
                for item, (mel, warnings) in zip(items, mels, strict=True)
            ]

    def together(self, items: Sequence[Item]) -> list[tuple[Spoken, Timings]]:
        """Every item in a batch with others of its length; the time of a batch is shared by frames."""
        spoken: dict[int, tuple[Spoken, Timings]] = {}
        frames = [item.piece.frames for item in items]
        maskable = batching.maskable(self.parts.model.transformer)
        for group in batching.groups(frames, self.options.batch, maskable):
            clock = Clock(self.parts.device)
            said = self.speak([items[index] for index in group], clock)
            took, whole = clock.lap(), sum(frames[index] for index in group)
            spoken |= {
                index: (one, took.share(frames[index] / whole))
                for index, one in zip(group, said, strict=True)
            }
        return [spoken[index] for index in range(len(items))]

    def warm(self, voice: Voice | str | None) -> list[int]:
        """One run on each length that a sequence can have; see `Engine.warmup`."""
        import torch

        parts = self.parts
        with torch.inference_mode():
            reference = parts.prepare(planning.pick(parts.checkpoint.references, voice))
            piece = parts.planner.piece(reference.text, reference, 1.0)
            shortest = parts.planner.piece("oh", reference, 1.0).frames
        longest = parts.planner.longest(reference)
        lengths = buckets.lengths(shortest, longest) if self.options.buckets else [piece.frames]
        for length in lengths:
            item = Item(dataclasses.replace(piece, frames=length), reference, 0)
            self.speak([item], Clock(parts.device))
        return lengths

    def _sample(self, items: Sequence[Item], report: Report | None) -> list[Tensor]:
        """The generated mels, each [1, n, d] without the reference before it."""
        evaluations: list[Evaluation] = []
        dtypes: set[str] = set()
        shapes: set[tuple[int, int]] = set()

        def on_step(evaluation: Evaluation, flow: Tensor) -> None:
            evaluations.append(evaluation)
            dtypes.add(dtype_name(flow))
            shapes.add((flow.shape[0], flow.shape[1]))
            if report is not None:
                report(len(evaluations))

        frames = [item.piece.frames for item in items]
        length = buckets.length(max(frames)) if self.options.buckets else max(frames)
        batch = batching.collate(items, length, self.options.buckets)
        mel = sampler.sample(
            self.parts.backbone,
            batch.reference_mel,
            batch.tokens,
            batch.noise,
            sampler.time_grid(self.options, self.parts.device),
            self.options,
            on_step,
            mask=batch.mask,
            reference_frames=batch.reference_frames,
        )
        padded = any(count != length for count in frames)
        masked = not padded or batching.masks_attention(self.parts.model.transformer)
        ((size, seen),) = shapes
        self.observed.sampled(evaluations, dtypes, Batch(size, seen, max(frames), masked))
        return [mel[i : i + 1, item.reference.frames : item.piece.frames] for i, item in enumerate(items)]

    def _decode(self, item: Item, mel: Tensor, warnings: tuple[str, ...], clock: Clock) -> Spoken:
        """The wave of one piece, at the level of its clip."""
        with clock.stage("vocoder"):
            wave = self.parts.vocoder.decode(mel.permute(0, 2, 1)) * item.reference.gain  # [1, samples]
            samples = wave[0].cpu().numpy()
        if not np.isfinite(samples).all():
            raise EngineError(
                f"{item.name}audio with NaN from options {self.options}",
                "finite samples",
                "Use precision='fp32'",
            )
        return Spoken(mel[0].cpu().numpy(), samples, warnings)


def joined(spoken: Sequence[Spoken], timings: Callable[[], Timings]) -> Audio:
    """The pieces of one request as one audio; `timings` is asked once they are joined."""
    samples = cross_fade([one.wave for one in spoken])
    mel = np.concatenate([one.mel for one in spoken])
    warnings = dict.fromkeys(warning for one in spoken for warning in one.warnings)
    return Audio(samples, SAMPLE_RATE, timings(), mel, tuple(warnings))


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Begin an error's sentence with the name of the request it is about."""
    try:
        yield
    except EngineError as error:
        raise type(error)(f"{name}{error.given}", error.expected, error.cure) from error
