"""The verdict as data: each question with its answer, the figures beside them, and the exit code."""

from __future__ import annotations

from typing import Literal

from engine.gate.data.workloads import Frozen, Name, NonNegative, Positive

ExitCode = Literal[0, 1, 2, 3]
Arm = Literal["base", "candidate"]
ARMS: tuple[Arm, ...] = ("base", "candidate")
Topic = Literal["change", "toggles", "limits", "drift", "sound", "trust"]


class Judgement(Frozen):
    """One question answered: what was asked, the answer, its exit code, and a sentence for people.

    `value` is the point estimate, `low` and `high` its interval, `limit` the bound it was held to and `base`
    the base's own figure, all in `unit`.
    """

    topic: Topic
    question: Name
    workload: str = ""
    outcome: Name
    code: ExitCode
    sentence: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    base: float | None = None
    unit: str = ""


class Answer(Frozen):
    """The answer on one topic, as one line for people."""

    topic: Topic
    outcome: Name
    code: ExitCode
    sentence: str


class Figures(Frozen):
    """What one arm measured on one workload. None: too few samples to tell."""

    workload: Name
    arm: Arm
    mean_rtf: Positive
    best_rtf: Positive
    worst_rtf: Positive
    cv_calls: NonNegative | None = None
    cv_processes: NonNegative | None = None
    growth: float | None = None
    first_call_seconds: NonNegative
    load_seconds: NonNegative
    peak_host_mb: NonNegative | None = None


class Verdict(Frozen):
    """The verdict on a run: an answer for each topic, every judgement, figures, notes, and the worst code."""

    answers: tuple[Answer, ...]
    judgements: tuple[Judgement, ...]
    figures: tuple[Figures, ...] = ()
    notes: tuple[str, ...] = ()
    code: ExitCode

    @property
    def first_line(self) -> str:
        """The first answer's sentence."""
        return self.answers[0].sentence if self.answers else ""
