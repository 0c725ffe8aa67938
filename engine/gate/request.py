"""What a gate run is asked for, checked at once."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

from engine.errors import UsageError
from engine.gate.data.samples import RECORDS
from engine.gate.data.workloads import SENTENCES
from engine.gate.measure.blocks import Settings
from engine.gate.stats.looks import Plan
from engine.options import Options

BLOCKS, QUICK_BLOCKS = 10, 3
BUDGET_MINUTES = 14.0
"""Leaves a minute of the quarter of an hour for checking, judging and writing."""
QUALITY_MINUTES, QUICK_QUALITY_MINUTES = 5.0, 2.0
"""Of the budget, kept for the quality pass; half of it where that is less."""
QUICK_WORKLOADS, QUICK_CALLS = ("short",), 4


@dataclasses.dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        against: a git revision to compare with; else toggle sets of this code are compared.
        options: toggles of the candidate (of both arms with `against`): a preset, `name=value`, or both.
        against_options: toggles of the base; upstream's own behaviour if not given.
        checkpoint: what both arms load; the engine's default if not given.
        quick: three blocks of the shortest workload.
        blocks: at most so many; 10, or 3 if quick.
        budget_minutes: for speed and quality; no block is begun that would end later.
        baseline: a file; else the machine's own, else the portable one.
        threshold: 0.2 tolerates 20 % more time than the base; the baseline's limit if not given.
        force: judge on an unfit machine too.
        accept_looser: let limits be looser than the base revision's.
        keep: records kept.
        seed: of the order of the arms; drawn from the clock if not given.
        quality: let both arms speak the pinned texts, and judge them; without it the verdict is on speed.
        recogniser: what hears the words (see `judges.words.open_recogniser`).
        votes: files that the listening page saved, on these very outputs; people are judges too.
    """

    against: str | None = None
    options: str | None = None
    against_options: str | None = None
    checkpoint: str | None = None
    quick: bool = False
    blocks: int | None = None
    budget_minutes: float = BUDGET_MINUTES
    baseline: Path | None = None
    threshold: float | None = None
    force: bool = False
    accept_looser: bool = False
    records: Path = RECORDS
    keep: int = 100
    seed: int | None = None
    quality: bool = True
    recogniser: str = "pocketsphinx"
    votes: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.against is not None and self.against_options is not None:
            raise UsageError(
                "--against with --against-options", "one of them: one question at a time", "Leave one out"
            )
        if self.votes and not self.quality:
            raise UsageError(
                "--votes with --no-quality", "one of them: votes are on quality", "Leave one out"
            )
        if self.blocks is not None and self.blocks < 1:
            raise UsageError(f"--runs {self.blocks}", "at least one block", "Raise it")
        if not self.budget_minutes > 0:
            raise UsageError(f"--budget {self.budget_minutes}", "a positive number of minutes", "Raise it")
        if self.threshold is not None and not 0 < self.threshold < 10:
            raise UsageError(f"--threshold {self.threshold}", "a share such as 0.2 for 20 %", "Correct it")
        if self.keep < 1:
            raise UsageError(f"--keep {self.keep}", "at least 1 record kept", "Pass 1 or more")
        for words in filter(None, (self.options, self.against_options)):
            if self.against is None:  # another revision may know other options
                Options.parse(words)

    def settings(self) -> Settings:
        """Blocks, workloads, calls and time."""
        blocks = self.blocks or (QUICK_BLOCKS if self.quick else BLOCKS)
        workloads = QUICK_WORKLOADS if self.quick else tuple(sentence.name for sentence in SENTENCES)
        now = datetime.datetime.now(datetime.timezone.utc)
        seed = self.seed if self.seed is not None else int(now.timestamp() * 1000)
        plan = Plan(blocks_max=blocks, family=len(workloads) + 1)
        kept = min(QUICK_QUALITY_MINUTES if self.quick else QUALITY_MINUTES, self.budget_minutes / 2)
        seconds = 60 * (self.budget_minutes - kept * self.quality)
        return Settings(plan, workloads, seconds, QUICK_CALLS if self.quick else None, seed)
