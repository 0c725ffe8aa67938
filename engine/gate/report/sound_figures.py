"""What each arm scored over the clips that were judged, as text for the report's rows on sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from engine.gate.data.samples import Run
from engine.gate.data.scores import Scores, WordErrors

SHARES = ("duration", "CER", "WER", "dropped words")
"""Questions whose figures are shares."""


def scored(run: Run, question: str) -> tuple[str, str]:
    """The figures of base and candidate on one question; a dash where it has none."""
    if run.quality is None or question not in _FIGURES:
        return "-", "-"
    base, candidate = (
        _figure(question, list(arm.scores.values())) for arm in (run.quality.base, run.quality.candidate)
    )
    return base, candidate


def number(question: str, value: float) -> str:
    """A figure or a difference on a question of sound."""
    if question in SHARES:
        return f"{value:.1%}"
    return f"{value:.2g}" if abs(value) < 0.01 else f"{value:.2f}"


def overall(question: str, scores: Sequence[Scores]) -> float | None:
    """What one arm scored over the clips that were judged; None where none was."""
    figures = [figure for clip in scores if (figure := _FIGURES[question](clip)) is not None]
    if not figures:
        return None
    total, weight = np.sum(figures, axis=0)
    return float(total / weight)


def _figure(question: str, scores: Sequence[Scores]) -> str:
    """The same as text."""
    figure = overall(question, scores)
    if figure is None:
        return "-"
    return f"{figure:.2f} s" if question == "duration" else number(question, figure)


def _errors(scores: Scores, errors: Callable[[WordErrors], tuple[int, int]]) -> tuple[float, float] | None:
    return None if scores.words is None else errors(scores.words)


_FIGURES: Mapping[str, Callable[[Scores], tuple[float, float] | None]] = {
    "duration": lambda clip: (clip.seconds, 1.0),
    "CER": lambda clip: _errors(clip, lambda words: (words.char_edits, words.chars)),
    "WER": lambda clip: _errors(clip, lambda words: (words.word_edits, words.words)),
    "dropped words": lambda clip: _errors(clip, lambda words: (len(words.dropped), words.words)),
    "speaker": lambda clip: None if clip.similarity is None else (clip.similarity, 1.0),
    "MOS": lambda clip: None if clip.mos is None else (clip.mos.ovrl, 1.0),
}
"""A clip's part of a figure, and its weight: rates are over the whole set, the others are means."""
