"""The engine: text and a voice in, audio out, with the time of every stage."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from engine import proofs
from engine.audio import SAMPLE_RATE, Audio, Samples, Seam, Timings
from engine.batching import Item
from engine.checkpoint import Checkpoint
from engine.clock import Clock
from engine.errors import EngineError
from engine.evidence import Evidence, Observations
from engine.options import Options
from engine.planning import Request
from engine.reference import Voice
from engine.speaking import Parts, Speaker, joined, naming


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a request stands: evaluation `step` of `steps` in piece `piece` of `pieces`, both from 1."""

    piece: int
    pieces: int
    step: int
    steps: int


class Engine:
    """A loaded model. Made by `engine.load`; safe to call from several threads; `close` frees its memory."""

    def __init__(self, parts: Parts, options: Options, observed: Observations) -> None:
        self._parts: Parts | None = parts
        self._observed = observed
        self.options = options

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
            progress: called after every evaluation of the flow.

        Returns:
            Audio at 24 kHz. Its length follows from the words, the clip and the speed, never from the
            sampling.

        Raises:
            TextError: nothing to say, too much, or a language the voice does not speak.
            ReferenceClipError: the clip or its transcript cannot be used.
            OptionsError: seed or speed out of range.
            DeviceError: the device's memory does not hold one piece.
            EngineError: the engine is closed, or the model produced NaN.
        """
        speaker, clock = self._speaker(), Clock(self.device)
        items = speaker.items(Request(words, voice, seed, speed), clock)
        spoken = []
        for index, item in enumerate(items):
            report = functools.partial(_report, progress, index + 1, len(items), self.options.nfe)
            spoken += speaker.speak([item], clock, report)
        return joined(spoken, clock.lap)

    def stream(
        self, words: str, voice: Voice | str | None = None, *, seed: int = 0, speed: float = 1.0
    ) -> Iterator[Audio]:
        """Say `words` piece by piece, each as soon as it is made; the next one is made when it is asked for.

        Joined, the samples are those of `synthesize`, and so are the mels: the end of a piece that the next
        one is faded into is held back. `Options.first_piece` shortens the wait for the first one. Closing the
        iterator, or dropping it, ends the work.

        Args and Raises:
            As `synthesize`: at the call what the request is to blame for, later what the model is.
        """
        clock = Clock(self.device)
        items = self._speaker().items(Request(words, voice, seed, speed), clock)
        return self._stream(items, clock.lap())

    def synthesize_batch(self, requests: Sequence[Request]) -> list[Audio]:
        """Say several texts, `Options.batch` of their pieces at once, those of similar length together.

        Each result is that of `synthesize` within rounding; at `batch=1` to the bit. If memory runs out for a
        batch, it is sampled in halves, and `Audio.warnings` says so. The time that pieces spent together is
        shared among them by their frames.

        Returns:
            One `Audio` for each request, in order.

        Raises:
            EngineError: as `synthesize`, with the request's index; nothing was sampled yet if the request is
            to blame.
        """
        speaker = self._speaker()
        jobs: list[tuple[list[Item], Timings]] = []
        for index, request in enumerate(requests):
            name, clock = f"request {index}: ", Clock(self.device)
            with naming(name):
                jobs.append((speaker.items(request, clock, name), clock.lap()))
        spoken = iter(speaker.together([item for items, _ in jobs for item in items]))
        results = []
        for items, planned in jobs:
            said, took = zip(*(next(spoken) for _ in items), strict=True)
            results.append(joined(said, functools.partial(functools.reduce, operator.add, took, planned)))
        return results

    def warmup(self, voice: Voice | str | None = None) -> list[int]:
        """Run the model once on every sequence length that a request can have with `buckets`, else on one.

        Args:
            voice: whose clip opens the sequences; by default the checkpoint's first.

        Returns:
            The lengths in frames. These runs count in the evidence like any other.
        """
        return self._speaker().warm(voice)

    def evidence(self) -> dict[str, Evidence]:
        """For every option, what was observed since loading and whether that proves it."""
        return proofs.gather(self.options, self._observed)

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

    def _stream(self, items: list[Item], timings: Timings) -> Iterator[Audio]:
        """The pieces as they are made; `timings` is what planning took."""
        seam, mels, evaluations, heard = Seam(), list[Samples](), list[int](), False
        for index, item in enumerate(items):
            clock = Clock(self.device)  # raises once the engine is closed
            (spoken,) = self._speaker().speak([item], clock, evaluations.append)
            mels.append(spoken.mel)
            samples = seam.join(spoken.wave, last=index == len(items) - 1)
            timings += clock.lap()
            if not samples.size:  # all of it fades into the next piece
                continue
            if not heard:
                heard = True
                self._observed.note("evaluations before audio", len(evaluations))
                self._observed.note(
                    "frames before audio", sum(one.piece.frames for one in items[: index + 1])
                )
            yield Audio(samples, SAMPLE_RATE, timings, np.concatenate(mels), spoken.warnings)
            timings, mels = Timings(0.0, 0.0, 0.0, 0.0, 0.0), []

    def _speaker(self) -> Speaker:
        return Speaker(self._open(), self.options, self._observed)

    def _open(self) -> Parts:
        if self._parts is None:
            raise EngineError("a closed engine", "an open one", "Call engine.load again")
        return self._parts


def _report(
    progress: Callable[[Progress], None] | None, piece: int, pieces: int, steps: int, step: int
) -> None:
    if progress is not None:
        progress(Progress(piece, pieces, step, steps))
