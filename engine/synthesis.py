"""The engine: text and a voice in, audio out, with the time of every stage.

One direction: `_plan` makes pieces of a request, `batches.sample` a mel of each, `_decode` a wave of that,
and `_join` the audio of all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import operator
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import batches, dit, text, upstream
from engine.audio import CROSS_FADE_SECONDS, SAMPLE_RATE, Audio, Samples, Seam, Timings, cross_fade
from engine.checkpoint import Checkpoint
from engine.errors import EngineError, OptionsError
from engine.evidence import Clock, Evidence, Observations, Proof
from engine.optimizations import Parts, reading
from engine.options import Options
from engine.pieces import FRAMES_A_SECOND, Pace, Piece, beginning, capped, piece, split
from engine.reference import Reference, Voice
from engine.requests import SPEEDS, Request, finished, pick

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a request stands: evaluation `step` of `steps` in piece `piece` of `pieces`, both from 1."""

    piece: int
    pieces: int
    step: int
    steps: int


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A request, ready to sample: its own options, its pieces, and what did not go as asked so far."""

    request: Request
    options: Options
    pieces: list[Piece]
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Spoken:
    """One piece as it came out: its mel [n, d], its wave [samples], and what did not go as asked."""

    mel: Samples
    wave: Samples
    warnings: tuple[str, ...]


class Engine:
    """A loaded model. Made by `engine.load`; safe to call from several threads; `close` frees its memory."""

    def __init__(
        self, parts: Parts, options: Options, seen: Observations, proofs: Mapping[str, Proof]
    ) -> None:
        self._parts: Parts | None = parts
        self._options, self._seen, self._proofs = options, seen, proofs
        self._process = os.getpid()

    @property
    def options(self) -> Options:
        """The toggles that the engine was loaded with. A request may differ in `nfe` and `cfg_strength`."""
        return self._options

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
        nfe: int | None = None,
        cfg_strength: float | None = None,
        duration: float | None = None,
        fade: float = CROSS_FADE_SECONDS,
        pause: float = 0.0,
        trim: bool = False,
        target_rms: float | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Audio:
        """Say `words` in the voice of a reference clip.

        Args:
            words: English, Chinese or mixed, as the checkpoint allows.

            voice: a clip with its transcript, the name of one that came with the checkpoint, or its default.

            seed: the same seed gives the same bytes on the same machine with the same number of threads;
                piece `i` of a long text draws from `seed + i`.

            speed: speech rate, 0.3 to 3; 1 is the clip's own.

            nfe, cfg_strength: of this request, where they differ from `options`.

            duration: seconds that the speech should take, in place of a speed, to within a few frames a piece
                (upstream's `fix_duration`, without the clip's own length).

            fade: seconds by which pieces overlap (upstream's `cross_fade_duration`).

            pause: seconds of silence between pieces, which then do not overlap.

            trim: shorten silences of more than a second to one second (upstream's `remove_silence`).

            target_rms: in place of the voice's own, see `Voice`.

            progress: called after every evaluation of the flow. What it raises ends the request, which is
                how to cancel one.

        Returns:
            Audio at 24 kHz. Its length follows from the words, the clip and the speed, never from the
            sampling.

        Raises:
            TextError: nothing to say, too much, or a language the voice does not speak.
            ReferenceClipError: the clip or its transcript cannot be used.
            OptionsError: a number out of range, or one that the engine has fixed at load.
            DeviceError: the device's memory does not hold one piece.
            EngineError: the engine is closed or belongs to another process, or the model produced NaN.
        """
        clock = Clock(self.device)
        request = Request(
            words, voice, seed, speed, nfe, cfg_strength, duration, fade, pause, trim, target_rms
        )
        plan = self._plan(request, clock)
        spoken = []
        for index in range(len(plan.pieces)):
            report = functools.partial(_report, progress, plan, index)
            spoken += self._speak(plan.pieces[index : index + 1], plan.options, clock, report)
        return self._join(plan, spoken, clock.lap)

    def stream(
        self,
        words: str,
        voice: Voice | str | None = None,
        *,
        progress: Callable[[Progress], None] | None = None,
        **more: Any,
    ) -> Iterator[Audio]:
        """Say `words` piece by piece, each as soon as it is made; the next one is made when it is asked for.

        Joined, the samples are those of `synthesize`, and so are the mels: the end of a piece that the next
        one is faded into is held back. `Options.first_piece` shortens the wait for the first one. Closing the
        iterator, or dropping it, ends the work.

        Takes the arguments of `synthesize`. A bad request raises at the call, a failure of the model while
        iterating.
        """
        clock = Clock(self.device)
        plan = self._plan(Request(words, voice, **more), clock)
        return self._stream(plan, clock.lap(), progress)

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
        plans: list[tuple[Plan, Timings]] = []
        for index, request in enumerate(requests):
            name, clock = f"request {index}: ", Clock(self.device)
            with _naming(name):
                plans.append((self._plan(request, clock, name), clock.lap()))
        spoken = iter(self._speak_together([plan for plan, _ in plans]))
        results = []
        for plan, planned in plans:
            parts, timings = zip(*(next(spoken) for _ in plan.pieces), strict=True)
            total = functools.partial(functools.reduce, operator.add, timings, planned)
            results.append(self._join(plan, parts, total))
        return results

    def warmup(self, voice: Voice | str | None = None) -> list[int]:
        """Run the model once on every sequence length that a request can have with `buckets`, else on one.

        With `graphs`, every length is recorded in every size of a batch, and the vocoder at every length.

        Args:
            voice: whose clip opens the sequences; by default the checkpoint's first.

        Returns:
            The lengths in frames. These runs count in the evidence like any other.
        """
        import torch

        parts = self._open()
        with torch.inference_mode():
            pace = self._pace(self._prepare(voice), 1.0)
            sample = piece(pace.reference.text, pace, parts.model.vocab_char_map, parts.device)
        lengths = [sample.frames]
        if parts.bucket is not None:
            frames = range(pace.sequence("oh")[1], pace.longest + 1)
            lengths = sorted({parts.bucket(count) for count in frames})
        for length in reversed(lengths):  # the longest first: what it allocates serves the others
            one = dataclasses.replace(sample, frames=length)
            for size in range(parts.batch, 0, -1) if self.options.graphs else (1,):
                self._speak([one] * size, self.options, Clock(parts.device))
        if self.options.graphs and parts.bucket is not None:
            self._record_vocoder(sorted({parts.bucket(1 + count) for count in range(pace.longest)}))
        return lengths

    def _record_vocoder(self, lengths: Sequence[int]) -> None:
        """Decode silence of each length, whose speech `warmup` may not have met: another voice's could."""
        import torch

        parts = self._open()
        with torch.inference_mode():
            for length in reversed(lengths):
                parts.vocoder.decode(
                    torch.zeros(1, parts.vocos.backbone.input_channels, length, device=parts.device)
                )

    def evidence(self) -> dict[str, Evidence]:
        """For every option, what was observed since loading and whether that proves it."""
        seen = self._seen.snapshot()
        return {name: proof(self.options, seen) for name, proof in self._proofs.items()}

    def counts(self) -> Mapping[str, int]:
        """What the parts counted since loading, by the names they gave it; 0 for what never happened."""
        return self._seen.snapshot().counts

    def unproven(self) -> list[str]:
        """One sentence for every option that differs from upstream's and that was not seen to work."""
        proofs = self.evidence()
        return [
            f"{name}={value} was not seen to work ({proofs[name].observed})"
            for name, value in self.options.changed().items()
            if name in proofs and proofs[name].proven is False
        ]

    def close(self) -> None:
        """Free the model's memory; further requests raise. Closing twice is allowed."""
        self._parts = None
        import torch

        gc.collect()  # upstream's modules hold reference cycles
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _plan(self, request: Request, clock: Clock, name: str = "") -> Plan:
        """The pieces of a request, checked and measured; `name` is how errors call it."""
        import torch

        parts, seen = self._open(), self._seen
        request = request.checked()
        options = request.options(self.options)
        with torch.inference_mode():
            with clock.stage("text"):
                words, warnings = self._read(request.words)
            with clock.stage("reference"):
                reference = self._prepare(request.voice, request.target_rms)
                seen.add("requests")
                seen.most("longest reference ms", int(1000 * reference.seconds))
            with clock.stage("text"):
                texts, pace = self._pieces(words, reference, request)
                pieces = [
                    piece(part, pace, parts.model.vocab_char_map, parts.device, request.seed + index, name)
                    for index, part in enumerate(texts)
                ]
        self._note_opening(texts)
        return Plan(request, options, pieces, (*warnings, *reference.warnings))

    def _read(self, words: str) -> tuple[str, tuple[str, ...]]:
        """The words as they will be spoken, and what of them will not be."""
        prepared = self._frontend(self._seen).prepare(words)
        kept = capped(prepared.text)
        dropped = len(prepared.text) - len(kept)
        more = (f"{dropped} signs in a row with others are not spoken",) if dropped else ()
        return kept, (*prepared.warnings, *more)

    def _prepare(self, voice: Voice | str | None, target_rms: float | None = None) -> Reference:
        """The conditioned clip of a request's voice, its transcript prepared like the words to say."""
        parts = self._open()
        picked = pick(parts.checkpoint.references, voice, target_rms)
        words = picked.words(self._frontend())
        return parts.prepare(picked if words == picked.text else dataclasses.replace(picked, text=words))

    def _frontend(self, seen: Observations | None = None) -> text.Frontend:
        """What this checkpoint makes of texts; readings are counted in `seen`."""
        parts = self._open()

        def read(words: str) -> str:
            spoken = parts.reading(words)
            if seen is not None and isinstance(spoken, str):
                reading.note(words, spoken, seen)
            return spoken

        def known(letter: str) -> bool:
            if parts.durations is not None:
                return len(parts.durations.phones([letter])) > 2  # more than the silences at its edges
            vocabulary = parts.model.vocab_char_map
            tokens = [] if letter in vocabulary else upstream.tokenize(letter)
            return letter in vocabulary or (bool(tokens) and all(token in vocabulary for token in tokens))

        return text.Frontend(parts.checkpoint.name, parts.checkpoint.languages, read, known)

    def _pieces(self, words: str, reference: Reference, request: Request) -> tuple[list[str], Pace]:
        """The texts of the pieces, and the pace that they were measured by."""
        opening, pace = self._open().opening, self._pace(reference, request.speed)
        if request.duration is None:
            return split(words, pace, opening), pace
        texts = split(words, pace, opening)
        frames = sum(pace.sequence(part)[1] - reference.frames for part in texts)
        joints = (request.pause or -request.fade) * (len(texts) - 1)
        speed = frames / FRAMES_A_SECOND / max(request.duration - joints, 1e-3)
        if not SPEEDS[0] <= speed <= SPEEDS[1]:
            seconds = [frames / FRAMES_A_SECOND / limit for limit in reversed(SPEEDS)]
            raise OptionsError(
                f"duration={request.duration:g}",
                f"{seconds[0]:.1f} to {seconds[1]:.1f} seconds for these words in this voice",
                "Choose one in that range",
            )
        pace = self._pace(reference, speed)
        return split(words, pace, opening), pace

    def _pace(self, reference: Reference, speed: float) -> Pace:
        parts = self._open()
        longest = int(parts.checkpoint.max_seconds * FRAMES_A_SECOND)
        return Pace(reference, parts.durations, speed, longest)

    def _note_opening(self, texts: list[str]) -> None:
        """Count a first piece that was cut short, or one that could have been and was not."""
        self._seen.most("longest first piece", len(texts[0].encode()))
        wanted = self.options.first_piece or self._open().opening
        if len(texts) > 1 and wanted and len(texts[0].encode()) <= wanted:
            self._seen.add("openings cut")
        elif wanted and beginning(" ".join(texts), wanted):
            self._seen.add("openings missed")

    def _speak(
        self,
        pieces: Sequence[Piece],
        options: Options,
        clock: Clock,
        report: Callable[[int], None] | None = None,
    ) -> list[Spoken]:
        """Sample some pieces in one batch, and decode each."""
        import torch

        with torch.inference_mode():
            with clock.stage("sampling"):
                mels = batches.sample(self._open(), pieces, options, self._seen, report)
            with clock.stage("vocoder"):
                return [
                    self._decode(piece, mel, options, warnings)
                    for piece, (mel, warnings) in zip(pieces, mels, strict=True)
                ]

    def _speak_together(self, plans: Sequence[Plan]) -> list[tuple[Spoken, Timings]]:
        """Every piece of the plans in a batch with others of its length and options, in order; the time of a
        batch is shared by frames."""
        parts = self._open()
        maskable = dit.maskable(parts.model.transformer)
        every = [(piece, plan.options) for plan in plans for piece in plan.pieces]
        spoken: dict[int, tuple[Spoken, Timings]] = {}
        for options in dict.fromkeys(options for _, options in every):
            indices = [index for index, (_, own) in enumerate(every) if own == options]
            frames = [every[index][0].frames for index in indices]
            alike = batches.groups(frames, len(frames), maskable)
            self._seen.most("most pieces alike", max(map(len, alike)))
            for group in batches.groups(frames, parts.batch, maskable):
                clock = Clock(parts.device)
                batch = [indices[place] for place in group]
                waves = self._speak([every[index][0] for index in batch], options, clock)
                timings, whole = clock.lap(), sum(frames[place] for place in group)
                for index, place, wave in zip(batch, group, waves, strict=True):
                    spoken[index] = wave, timings.share(frames[place] / whole)
        return [spoken[index] for index in range(len(every))]

    def _decode(self, piece: Piece, mel: Tensor, options: Options, warnings: tuple[str, ...]) -> Spoken:
        """The wave of one piece, at the level of its clip; `mel` is [1, n, d].

        Raises:
            DeviceError: memory does not hold it.
            EngineError: it holds NaN.
        """
        try:
            wave = self._open().vocoder.decode(mel.permute(0, 2, 1)) * piece.reference.gain  # [1, samples]
            samples = wave[0].cpu().numpy()
        except (RuntimeError, MemoryError) as error:
            if not batches.out_of_memory(error):
                raise
            raise batches.no_room(piece, error) from error
        if not np.isfinite(samples).all():
            half = options.precision != "fp32" or options.vocoder_precision != "fp32"
            raise EngineError(
                f"{piece.name}audio with NaN from options {options}",
                "finite samples",
                "Use precision='fp32' and vocoder_precision='fp32'" if half else "Use other weights",
            )
        return Spoken(mel[0].cpu().numpy(), samples, warnings)

    def _join(self, plan: Plan, spoken: Sequence[Spoken], timings: Callable[[], Timings]) -> Audio:
        """The pieces of one request as one audio; `timings` is asked once they are joined."""
        waves = [
            finished(plan.request, one.wave, last=index == len(spoken) - 1)
            for index, one in enumerate(spoken)
        ]
        samples = cross_fade(waves, 0.0 if plan.request.pause else plan.request.fade)
        mel = np.concatenate([one.mel for one in spoken])
        warnings = dict.fromkeys([*plan.warnings, *(warning for one in spoken for warning in one.warnings)])
        return Audio(samples, SAMPLE_RATE, timings(), mel, tuple(warnings))

    def _stream(
        self, plan: Plan, timings: Timings, progress: Callable[[Progress], None] | None
    ) -> Iterator[Audio]:
        """The pieces as they are made; `timings` is what planning took."""
        request, count = plan.request, len(plan.pieces)
        seam, mels, heard = Seam(0.0 if request.pause else request.fade), list[Samples](), False
        warnings = dict.fromkeys(plan.warnings)
        for index in range(count):
            clock = Clock(self.device)  # raises once the engine is closed
            report = functools.partial(_report, progress, plan, index)
            (spoken,) = self._speak(plan.pieces[index : index + 1], plan.options, clock, report)
            mels.append(spoken.mel)
            warnings |= dict.fromkeys(spoken.warnings)
            last = index == count - 1
            samples = seam.join(finished(request, spoken.wave, last=last), last=last)
            timings += clock.lap()
            if not samples.size:  # all of it fades into the next piece
                continue
            if not heard:
                heard = True
                made = plan.pieces[: index + 1]
                self._seen.note("evaluations before audio", plan.options.nfe * len(made))
                self._seen.note("frames before audio", sum(piece.frames for piece in made))
            yield Audio(samples, SAMPLE_RATE, timings, np.concatenate(mels), tuple(warnings))
            timings, mels, warnings = Timings(0.0, 0.0, 0.0, 0.0, 0.0), [], {}

    def _open(self) -> Parts:
        """The parts of an open engine in the process that loaded it.

        Raises:
            EngineError: it is closed, or this process is a fork of the one that loaded it.
        """
        if self._parts is None:
            raise EngineError("a closed engine", "an open one", "Call engine.load again")
        if os.getpid() != self._process:
            raise EngineError(
                f"an engine of process {self._process}, used in its fork {os.getpid()}",
                "the process that loaded it: torch's threads do not outlive a fork, and waiting for them "
                "never ends",
                "Load an engine in each process, and start them with multiprocessing's 'spawn'",
            )
        return self._parts


def _report(progress: Callable[[Progress], None] | None, plan: Plan, index: int, step: int) -> None:
    if progress is not None:
        progress(Progress(index + 1, len(plan.pieces), step, plan.options.nfe))


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """Begin an error's sentence with the name of the request it is about."""
    try:
        yield
    except EngineError as error:
        raise type(error)(f"{name}{error.given}", error.expected, error.cure) from error
