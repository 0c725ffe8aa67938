"""Small runs of the gate: a block of live pairs of two toggle sets, and what its judges say of them.

This is all that the advisor knows of how the gate measures and hears.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.advisor.recommendation import SmallRun, sound, unjudged
from engine.errors import BaselineError, EngineError, UsageError
from engine.gate import machine as machines
from engine.gate.baselines import select
from engine.gate.data.quality_limits import Limits
from engine.gate.data.samples import ARMS, Arm, Series
from engine.gate.data.verdict import Answer, Judgement
from engine.gate.data.workloads import Sentence
from engine.gate.measure import blocks, process, revisions
from engine.gate.measure.process import Material, Opener, Target
from engine.gate.quality import differences, quality_pass, timed
from engine.gate.quality.hearing import Judge
from engine.gate.quality.quality_pass import UNTRAINED, Audition
from engine.gate.verdict.answers import worst
from engine.gate.verdict.sound import pairs
from engine.options import Options

WARMUP = 1
"""Calls of each process that do not count."""
RECOGNISER = "pocketsphinx"
HEARD = ("CER", "speaker", "MOS")
"""Questions of the gate that need somebody who listens."""
LONGEST_ERROR = 200


class SmallRuns:
    """What compares candidates with the present configuration, all on one text.

    Args:
        material: the checkpoint and its voices.
        present: the present configuration.
        sentence: what is spoken.
        outputs: a folder for every wave.
        opener: gives what starts processes of both arms; a seam for tests, as is `judge`, which scores what
            was spoken.
    """

    def __init__(
        self,
        material: Material,
        present: Options,
        sentence: Sentence,
        outputs: Path,
        opener: Callable[..., contextlib.AbstractContextManager[Opener]] = process.opener,
        judge: Judge | None = None,
    ) -> None:
        self._material, self._present, self._sentence = material, present, sentence
        self._outputs, self._opener, self._judge = outputs, opener, judge
        self._generator = np.random.default_rng(sentence.seed)
        self._described: blocks.Described = {}
        self._runs: dict[Options, tuple[SmallRun, blocks.Described]] = {}

    def compare(self, options: Options, rounds: int, seconds: float) -> SmallRun:
        """One block: a process of each configuration, whose calls take turns in random order.

        Args:
            options: the candidate.
            rounds: calls of each process that count.
            seconds: of silence after which a process is ended.

        Raises:
            UsageError: a process does not load or speak.
        """
        described = dict(self._described)
        with self._opening(options, seconds, self._outputs) as open_worker, contextlib.ExitStack() as stack:
            live = blocks.start_pair(stack, open_worker, 0, described, self._generator)
            handles = [handle for _, _, handle in live]
            spoken = blocks.speak(handles, self._sentence, WARMUP + rounds, self._generator)
            members = {}
            for (arm, twin, handle), calls in zip(live, spoken, strict=True):
                own = {"warmup": tuple(calls[:WARMUP]), "calls": tuple(calls[WARMUP:])}
                series = Series(workload=self._sentence.name, **own)
                members[arm] = process.process(arm, 0, twin, [series], handle, handle.finish())
        self._described = {"base": described["base"]}
        given = {arm: timed.answers(members.values(), arm) for arm in ARMS}
        changes = tuple(timed.changes(given, self._outputs))
        run = SmallRun(base=members["base"], candidate=members["candidate"], changes=changes)
        self._runs[options] = run, described
        return run

    def hear(self, options: Options, seconds: float) -> Answer:
        """What the judges say of a set that was compared before, beside the present configuration.

        Args:
            options: the candidate.
            seconds: what it may take; the smallest set of texts is spoken in any case.
        """
        if not self._material.trained:
            return unjudged(UNTRAINED)
        if options not in self._runs:
            return unjudged("it was never run")
        run, described = self._runs[options]
        opening = functools.partial(self._opening, options, max(1.0, seconds))
        try:
            quality = quality_pass.hold(
                self._audition,
                opening,
                [run.base, run.candidate],
                self._outputs,
                described,
                lambda doing: None,
                self._judge,
                seconds=seconds,
            )
        except EngineError as problem:
            return unjudged(last_line(problem))
        return summary(differences.compare(pairs(quality), self.limits, lossless=False))

    @functools.cached_property
    def limits(self) -> Limits:
        """The limits of quality of this machine's baseline; the gate's own where there is none."""
        try:
            return self._selection.baseline.relative.quality or Limits.model_validate({})
        except BaselineError:
            return Limits.model_validate({})

    @functools.cached_property
    def _selection(self) -> select.Selection:
        return select.select(machines.describe().key, revisions.checkout() / select.BASELINES)

    @functools.cached_property
    def _audition(self) -> Audition:
        """The quick set of texts, in the checkpoint's voices, before the judges that are installed."""
        return quality_pass.prepare(
            self._material,
            self._selection,
            [self._sentence],
            quick=True,
            seed=self._sentence.seed,
            recogniser=RECOGNISER,
        )

    def _opening(
        self, options: Options, seconds: float, outputs: Path
    ) -> contextlib.AbstractContextManager[Opener]:
        """What starts processes of this checkout with the two sets, and keeps their waves in a folder."""
        root = revisions.checkout()
        here, dirty = revisions.describe(root)
        sets: Mapping[Arm, Options] = {"base": self._present, "candidate": options}
        targets = {arm: Target(root, here, dirty, str(own)) for arm, own in sets.items()}
        return self._opener(targets, self._material, outputs=outputs, timeout=seconds)


def kept(runs: Sequence[SmallRun], limits: Limits) -> Answer:
    """Whether a set that claims to keep the result does, by the answers that were timed."""
    changes = [change for run in runs for change in run.changes]
    broken = {change.trouble for change in changes} & {"another length", "candidate not finite"}
    if broken:
        return sound("not lossless", 1, f"Its audio has {' and '.join(sorted(map(str, broken)))}.")
    far = [change.mel_l2 for change in changes if change.mel_l2 is not None]
    if changes and not far:
        return unjudged("the outputs differ and were not kept")
    worst_mel = max(far, default=0.0)
    sentence = f"Mel moved by {worst_mel:.2g}, limit {limits.lossless_mel:g}."
    good = worst_mel <= limits.lossless_mel
    return sound("lossless", 0, sentence) if good else sound("not lossless", 1, sentence)


def summary(judgements: Sequence[Judgement]) -> Answer:
    """One answer out of all: the worst one's, or that nobody could judge what is heard."""
    code = worst(judgement.code for judgement in judgements)
    if code:
        reasons = [f"{each.question}: {each.sentence}" for each in judgements if each.code == code]
        return sound("worse" if code == 1 else "undecided", 1 if code == 1 else 3, " ".join(reasons))
    heard = [judgement for judgement in judgements if judgement.question in HEARD]
    absent = [judgement.question for judgement in heard if judgement.outcome == "NOT JUDGED"]
    if len(absent) == len(heard):
        return unjudged(heard[0].sentence.rstrip("."))
    but = f", not judged: {', '.join(absent)}" if absent else ""
    return sound("within limits", 0, f"Within the gate's limits{but}.")


def is_base(problem: UsageError) -> bool:
    """Whether it was the present configuration that broke, and not the candidate beside it."""
    return problem.given.startswith("the base ")


def last_line(problem: EngineError) -> str:
    """What a process that ended said last."""
    lines = [line.strip() for line in problem.given.splitlines() if line.strip()]
    return (lines or [str(problem)])[-1][:LONGEST_ERROR]
