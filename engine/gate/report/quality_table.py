"""The half of the report that is about quality: one row for each question, base beside candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from rich.table import Table
from rich.text import Text

from engine.gate.data.samples import Judgement, Run, Verdict
from engine.gate.data.scores import Scores, WordErrors
from engine.gate.verdict.sound import NOT_JUDGED

HEADINGS = ("quality", "base", "candidate", "worse by", "limit", "verdict")
SHARES = ("duration", "CER", "WER", "dropped words")
"""Questions whose figures are shares."""
SAID = ("NOT JUDGED", "ROUNDING")
"""Outcomes that are explained although they pass."""
JUDGES = {"CER": "words", "WER": "words", "dropped words": "words", "speaker": "speaker", "MOS": "mos"}
"""Who answers a question; that a judge is missing is said once, among the notes."""


def judged(verdict: Verdict) -> bool:
    """Whether quality was looked at."""
    return bool(verdict.quality) and verdict.quality != (NOT_JUDGED,)


def rows(run: Run, verdict: Verdict) -> list[tuple[str, ...]]:
    """Cells by `HEADINGS` for each question; none where quality was not judged."""
    if run.quality is None or not judged(verdict):
        return []
    arms = [list(arm.scores.values()) for arm in (run.quality.base, run.quality.candidate)]
    return [
        (
            judgement.question,
            *(_figure(judgement.question, scores) for scores in arms),
            _worse(judgement),
            "-" if judgement.limit is None else _number(judgement.question, judgement.limit),
            judgement.outcome,
        )
        for judgement in verdict.quality
    ]


def grids(run: Run, verdict: Verdict, styles: Mapping[int, str]) -> list[Table]:
    """The table for a terminal, each verdict in the style of its code; none where quality was not judged."""
    found = rows(run, verdict)
    if not found:
        return []
    grid = Table()
    for heading in HEADINGS:
        grid.add_column(heading, justify="left" if heading == HEADINGS[0] else "right")
    for judgement, cells in zip(verdict.quality, found, strict=True):
        grid.add_row(*cells[:-1], Text(cells[-1], styles[judgement.code]))
    return [grid]


def explained(run: Run, verdict: Verdict) -> list[Judgement]:
    """The judgements whose sentences belong below the table: what did not pass, or does not fit a cell."""
    missing = {} if run.quality is None else run.quality.missing
    said = [one for one in verdict.quality if one.code or one.outcome in SAID or one.question == "distance"]
    return [one for one in said if one.code or JUDGES.get(one.question) not in missing]


def _figure(question: str, scores: Sequence[Scores]) -> str:
    """What one arm scored over the clips that were judged."""
    if question not in _FIGURES:
        return "-"
    found = [value for one in scores if (value := _FIGURES[question](one)) is not None]
    if not found:
        return "-"
    total, weight = np.sum(found, axis=0)
    unit = " s" if question == "duration" else ""
    return _number("" if unit else question, total / weight) + unit


def _errors(scores: Scores, errors: Callable[[WordErrors], tuple[int, int]]) -> tuple[float, float] | None:
    return None if scores.words is None else errors(scores.words)


_FIGURES: Mapping[str, Callable[[Scores], tuple[float, float] | None]] = {
    "duration": lambda one: (one.seconds, 1.0),
    "CER": lambda one: _errors(one, lambda words: (words.char_edits, words.chars)),
    "WER": lambda one: _errors(one, lambda words: (words.word_edits, words.words)),
    "dropped words": lambda one: _errors(one, lambda words: (len(words.dropped), words.words)),
    "speaker": lambda one: None if one.similarity is None else (one.similarity, 1.0),
    "MOS": lambda one: None if one.mos is None else (one.mos.ovrl, 1.0),
}
"""A clip's part of a figure, and its weight: rates are over the whole set, the others are means."""


def _worse(judgement: Judgement) -> str:
    """The difference with its interval."""
    if judgement.value is None:
        return "-"
    number = _number(judgement.question, judgement.value)
    if judgement.question != "distance" and judgement.value >= 0:
        number = f"+{number}"
    if judgement.low is None or judgement.high is None:
        return number
    low, high = (_number(judgement.question, bound) for bound in (judgement.low, judgement.high))
    return f"{number} [{low}, {high}]"


def _number(question: str, value: float) -> str:
    if question in SHARES:
        return f"{value:.1%}"
    return f"{value:.2g}" if question in ("distance", "length") else f"{value:.2f}"
