"""What was decided about a run: one judgement for each question, one answer for each topic, one exit code."""

from __future__ import annotations

from typing import Literal

from engine.gate.data.workloads import Frozen, Name, NonNegative, Positive

ExitCode = Literal[0, 1, 2, 3]
Arm = Literal["base", "candidate"]
ARMS: tuple[Arm, ...] = ("base", "candidate")
Topic = Literal["change", "toggles", "limits", "drift", "sound", "trust"]
Band = Literal["good", "warning", "critical"]
UNDECIDED: ExitCode = 3


class Judgement(Frozen):
    """One question answered: what was asked, the answer, its exit code, and a sentence for people.

    `value` is the candidate's figure (or candidate/base), `low` and `high` its interval, `limit` the bound it
    was held to and `base` the base's own figure, all in `unit`. `workload` is empty where the question is
    about the whole run. `band` colours a figure of a product and decides nothing.
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
    band: Band | None = None


class Answer(Frozen):
    """One line for people on one topic, with the worst exit code of its judgements."""

    topic: Topic
    outcome: Name
    code: ExitCode
    sentence: str


class Figures(Frozen):
    """What one arm measured on one workload, over its steady calls.

    `cv_calls` is over all calls (what a product limit holds), `cv_processes` over the medians of processes
    (the noise of the measurement). `growth` is in MiB a call, the steeper of host and device. None: too few
    samples to tell, or not seen. First call, load and peak memory are the median over the processes.
    """

    workload: Name
    arm: Arm
    mean_rtf: Positive
    best_rtf: Positive
    worst_rtf: Positive
    cv_calls: NonNegative | None = None
    cv_processes: NonNegative | None = None
    growth: float | None = None
    first_call_seconds: NonNegative | None = None
    load_seconds: NonNegative | None = None
    peak_host_mb: NonNegative | None = None


class Verdict(Frozen):
    """The verdict on a run: answers by topic, the judgements behind them, the figures, and the exit code.

    `notes` are said aloud whatever the outcome.
    """

    answers: tuple[Answer, ...]
    judgements: tuple[Judgement, ...]
    figures: tuple[Figures, ...]
    notes: tuple[str, ...] = ()
    code: ExitCode

    @property
    def first_line(self) -> str:
        """The answer that decided the exit code: the first of the worst, or of all where all is well.

        Where nothing could be decided since the run cannot be trusted, it is the answer that says why.
        """
        decisive = [answer for answer in self.answers if answer.code == self.code]
        if self.code == UNDECIDED:
            decisive.sort(key=lambda answer: answer.topic != "trust")
        return f"{decisive[0].outcome}: {decisive[0].sentence}" if decisive else "Nothing was asked."

    def about(self, topic: Topic) -> tuple[Judgement, ...]:
        """The judgements on one topic."""
        return tuple(judgement for judgement in self.judgements if judgement.topic == topic)
