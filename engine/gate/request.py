"""What a gate run is asked for, checked at once. Every command has one vocabulary: flags are the fields."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

from engine.errors import UsageError
from engine.gate.data.workloads import SENTENCES
from engine.gate.measure.design import Settings
from engine.gate.stats.looks import Plan
from engine.options import Options

BLOCKS, QUICK_BLOCKS = 10, 6
ALONE = 3
"""Processes of the candidate where nothing is compared with it: their spread tells what a limit is worth."""
MINUTES, QUICK_MINUTES = 14.0, 3.0
"""With the minute for checking, judging and writing the full run is a quarter of an hour."""
QUALITY_MINUTES, QUICK_QUALITY_MINUTES = 5.0, 1.0
"""Of the budget, kept for the quality pass; half of it where that is less."""
QUICK_WORKLOADS = ("short",)
HTTP = "http"
VERDICTS_BESIDE_WORKLOADS = 3
"""Tails, first call and load are verdicts of the family too."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        against: a git revision to compare with; the merge base with the default branch if not given.
        options: toggles of the candidate, and of the base unless it has its own: a preset, `name=value`, or
            both; the product's if not given.
        against_options: toggles of the base, which is then the same code: no revisions are compared.
        checkpoint: what both arms load; the product's if not given.
        candidate: a git revision to judge; the checkout as it is, uncommitted changes included, if not given.
        limits_only: measure the candidate alone: limits and drift are judged, and nothing is compared.
        runs: calls of each workload in each process that count; as many as the budget holds if not given.
        quick: six blocks of the shortest workload.
        blocks: at most so many; 10, or 6 if quick. Without a base a block is one process.
        minutes: for speed and quality; no block is begun that would end later.
        baseline: a file; else the machine's own, else the portable one.
        threshold: 0.2 tolerates 20 % more time than the base; the baseline's limit if not given.
        force: judge on an unfit machine too.
        accept_looser: let limits be looser than the base revision's.
        accept_changed_output: let the candidate's output differ from the base's.
        accept_more_work: let the candidate do more work than the base.
        records: folder of the records; `build/records` of the checkout if not given.
        keep: records kept.
        seed: of the order of calls; drawn from the clock if not given.
        quality: let both arms speak the pinned texts, and judge them; without it the verdict is on speed.
        recogniser: what hears the words (see `judges.words.open_recogniser`).
        votes: files that the listening page saved, on these very outputs; people are judges too.
        record: the run is to be recorded, so it has a base whatever the history holds.
        through: http: calls are timed through `POST /api/tts` of each revision's own service. Limits and
            drift are about `synthesize`, so only the change is judged then.
    """

    against: str | None = None
    options: str | None = None
    against_options: str | None = None
    checkpoint: str | None = None
    candidate: str | None = None
    limits_only: bool = False
    runs: int | None = None
    quick: bool = False
    blocks: int | None = None
    minutes: float | None = None
    baseline: Path | None = None
    threshold: float | None = None
    force: bool = False
    accept_looser: bool = False
    accept_changed_output: bool = False
    accept_more_work: bool = False
    records: Path | None = None
    keep: int = 100
    seed: int | None = None
    quality: bool = True
    recogniser: str = "pocketsphinx"
    votes: tuple[Path, ...] = ()
    record: bool = False
    through: str | None = None

    def __post_init__(self) -> None:
        self._check_one_question()
        if self.through not in (None, HTTP):
            raise UsageError(f"--through {self.through}", HTTP, "Correct it, or leave it out")
        for flag, count in (("--runs", self.runs), ("--blocks", self.blocks), ("--keep", self.keep)):
            if count is not None and count < 1:
                raise UsageError(f"{flag} {count}", "at least 1", "Raise it")
        if self.minutes is not None and not self.minutes > 0:
            raise UsageError(f"--minutes {self.minutes}", "a positive number of minutes", "Raise it")
        if self.threshold is not None and not 0 < self.threshold < 10:
            raise UsageError(f"--threshold {self.threshold}", "a share such as 0.2 for 20 %", "Correct it")
        for words in filter(None, (self.options, self.against_options)):
            if self.against is None and self.candidate is None:  # another revision may know other options
                Options.parse(words)

    def _check_one_question(self) -> None:
        """Refuse flags of two questions."""
        apart = [
            (self.against is not None, "--against", self.against_options is not None, "--against-options"),
            (self.limits_only, "--limits", self.against is not None, "--against"),
            (self.limits_only, "--limits", self.against_options is not None, "--against-options"),
            (self.limits_only, "--limits", bool(self.votes), "--votes"),
            (self.limits_only, "--limits", self.record, "--record"),
            (bool(self.votes), "--votes", not self.quality, "--no-quality"),
            (self.limits_only, "--limits", self.through is not None, "--through"),
            (self.record, "--record", self.through is not None, "--through"),
        ]
        for one, flag, other, second in apart:
            if one and other:
                raise UsageError(
                    f"{flag} with {second}", "one of them: one question at a time", "Leave one out"
                )

    @property
    def workloads(self) -> tuple[str, ...]:
        """Names of the sentences that are timed."""
        return QUICK_WORKLOADS if self.quick else tuple(sentence.name for sentence in SENTENCES)

    @property
    def seconds(self) -> float:
        """The whole budget."""
        return 60 * (self.minutes or (QUICK_MINUTES if self.quick else MINUTES))

    def settings(self, *, compared: bool = True) -> Settings:
        """Blocks, workloads, calls and time for speed; `compared`: there is a base."""
        alone = 1 if self.runs else ALONE  # the quick form is one process and so many calls
        blocks = (QUICK_BLOCKS if self.quick else BLOCKS) if compared else alone
        now = datetime.datetime.now(datetime.timezone.utc)
        kept = 60 * (QUICK_QUALITY_MINUTES if self.quick else QUALITY_MINUTES)
        judged = self.quality and compared
        return Settings(
            plan=Plan(
                blocks_max=self.blocks or blocks, family=len(self.workloads) + VERDICTS_BESIDE_WORKLOADS
            ),
            workloads=self.workloads,
            budget_seconds=self.seconds - min(kept, self.seconds / 2) * judged,
            rounds=self.runs,
            seed=self.seed if self.seed is not None else int(now.timestamp() * 1000),
        )
