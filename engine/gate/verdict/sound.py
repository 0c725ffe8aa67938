"""The verdict on quality: are the outputs honest, and are the candidate's as good as the base's."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import BaselineError
from engine.gate.baselines.select import Selection
from engine.gate.data.outputs import Quality
from engine.gate.data.samples import Judgement, Run
from engine.gate.listening import votes
from engine.gate.listening.votes import Votes
from engine.gate.quality import differences, honesty
from engine.gate.quality.differences import Pair
from engine.options import Options

QUALITY = "quality"
NOT_JUDGED = Judgement(
    question=QUALITY,
    outcome="NOT JUDGED",
    code=0,
    sentence="Quality was not judged: this run says nothing of what was spoken, and skipped work looks fast.",
)


def judge(run: Run, selection: Selection, heard: Votes | None = None) -> tuple[Judgement, ...]:
    """Every question about quality with its answer; `NOT_JUDGED` alone where the run did not look at it.

    Args:
        run: what both arms said, and the judges' scores.
        selection: the baseline, which holds the limits.
        heard: votes of people on the same outputs, if there are any.

    Raises:
        BaselineError: the baseline has no limits of quality.
        VotesError: the votes are on other outputs.
    """
    if run.quality is None:
        return (NOT_JUDGED,)
    limits = selection.baseline.relative.quality
    if limits is None:
        raise BaselineError(
            f"{selection.path} without relative.quality", "limits of quality", "Copy them from portable.json"
        )
    lossless = is_lossless(run)
    compared = differences.compare(pairs(run.quality), limits, lossless=lossless)
    honest = honesty.judge(run, run.quality, limits)
    people = _people(run.quality, heard, limits.mos_drop)
    deaf = _deaf(run, run.quality, selection.baseline.relative.required_judges)
    return (*honest, *deaf, *_same_length(run.quality, lossless), *compared, *people)


def _deaf(run: Run, found: Quality, required: Sequence[str]) -> list[Judgement]:
    """A judge that must be there and has scored no clip: what it should have heard was not judged."""
    scored = {
        "words": lambda one: one.words, "speaker": lambda one: one.similarity, "mos": lambda one: one.mos,
    }  # fmt: skip
    scores = list(found.candidate.scores.values())
    silent = [name for name in required if all(scored[name](one) is None for one in scores)]
    if not silent or not run.candidate.trained:
        return []
    sentence = f"Required, and no clip was judged by: {', '.join(silent)}."
    return [Judgement(question="judges", outcome="UNDECIDED", code=3, sentence=sentence)]


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
    skipped: dict[str, list[str]] = {}
    for said in run.quality.skipped:
        name, _, why = said.partition(": ")
        skipped.setdefault(why, []).append(name)
    return [*missing, *(f"{', '.join(names)}: {why}" for why, names in skipped.items())]


def _people(found: Quality, heard: Votes | None, mos_drop: float) -> list[Judgement]:
    """What people say, once it is sure that they heard these outputs."""
    if heard is None:
        return []
    outputs = [[one.output for one in arm.scores.values()] for arm in (found.candidate, found.base)]
    heard.check(*outputs)
    return [votes.judge(heard, mos_drop)]


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
