"""The verdict on quality: are the outputs honest, and are the candidate's as good as the base's."""

from __future__ import annotations

from engine.errors import BaselineError
from engine.gate import answers, quality
from engine.gate.baseline import Selection
from engine.gate.quality import Pair
from engine.gate.record import Judgement, Run
from engine.gate.spoken import Quality
from engine.options import Options

QUALITY = "quality"
NOT_JUDGED = Judgement(
    question=QUALITY,
    outcome="NOT JUDGED",
    code=0,
    sentence="Quality was not judged: this run says nothing of what was spoken, and skipped work looks fast.",
)


def judge(run: Run, selection: Selection) -> tuple[Judgement, ...]:
    """Every question about quality with its answer; `NOT_JUDGED` alone where the run did not look at it.

    Raises:
        BaselineError: the baseline has no limits of quality.
    """
    if run.quality is None:
        return (NOT_JUDGED,)
    limits = selection.baseline.relative.quality
    if limits is None:
        raise BaselineError(
            f"{selection.path} without relative.quality", "limits of quality", "Copy them from portable.json"
        )
    lossless = is_lossless(run)
    compared = quality.compare(pairs(run.quality), limits, lossless=lossless)
    return (*answers.judge(run, run.quality, limits), *_same_length(run.quality, lossless), *compared)


def pairs(found: Quality) -> tuple[Pair, ...]:
    """What the judges said of each case, base beside candidate."""
    return tuple(
        Pair(
            case=name,
            text=one.text,
            voice=one.voice,
            base=found.base.scores[name],
            candidate=found.candidate.scores[name],
            distance=found.distances.get(name),
        )
        for name, one in found.candidate.first.items()
    )


def is_lossless(run: Run) -> bool:
    """Whether the candidate claims to be the base but for rounding: the same code, and toggles that keep the
    result."""
    if run.base is None or run.base.trained != run.candidate.trained:
        return False
    sides = [(side.revision, side.dirty) for side in (run.base, run.candidate)]
    if sides[0] != sides[1]:
        return False
    base, candidate = (Options(**side.options) for side in (run.base, run.candidate))  # type: ignore[arg-type]
    return candidate.only_lossless(base)


def notes(run: Run) -> list[str]:
    """What people should know about the judging: who was missing, what was left out."""
    if run.quality is None:
        return []
    missing = [f"not judged: {judge} ({why})" for judge, why in run.quality.missing.items()]
    return [*missing, *run.quality.skipped]


def _same_length(found: Quality, lossless: bool) -> list[Judgement]:
    """Lossless outputs are exactly as long as the base's; distances look at common parts only."""
    other = [
        name
        for name, scores in found.candidate.scores.items()
        if scores.seconds != found.base.scores[name].seconds
    ]
    if not lossless or not other:
        return []
    sentence = f"{', '.join(other[:3])}{' ...' * (len(other) > 3)}: lossless outputs have the base's length."
    return [Judgement(question="length", outcome="NOT LOSSLESS", code=1, sentence=sentence)]
