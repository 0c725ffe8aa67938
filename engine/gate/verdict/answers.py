"""One line for people on each topic: what was decided, with the figures that decided it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from engine.gate.baselines.select import Selection
from engine.gate.data.samples import CONTROL, Run
from engine.gate.data.verdict import Answer, ExitCode, Judgement, Topic
from engine.gate.verdict import change, drift, product
from engine.gate.verdict.bounds import apart

WITHHELD = "Nothing is decided on an unfit machine."
IN_FIGURES = (change.TIME, drift.DRIFT, product.CV, product.MEAN, product.WORST, product.GROWTH)
"""Questions whose figures are in the line of their topic."""
WORST_LAST: tuple[ExitCode, ...] = (0, 3, 1, 2)


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The exit code that wins: 2 over 1 over 3 over 0."""
    return max(codes, key=WORST_LAST.index, default=0)


def answers(run: Run, selection: Selection, judgements: Sequence[Judgement]) -> tuple[Answer, ...]:
    """The answer on each topic that has a judgement: change or toggles, limits, drift, sound, trust."""
    writers: dict[Topic, Callable[[Sequence[Judgement]], tuple[str, str]]] = {
        "change": lambda own: _change(run, own),
        "toggles": lambda own: _change(run, own),
        "limits": lambda own: _limits(run, selection, own),
        "drift": _drift,
        "sound": lambda own: _sound(run, own),
        "trust": _trust,
    }
    lines = []
    for topic, write in writers.items():
        own = [judgement for judgement in judgements if judgement.topic == topic]
        if own:
            outcome, sentence = write(own)
            lines.append(_answer(topic, own, outcome, sentence))
    return tuple(lines)


def _answer(topic: Topic, judgements: Sequence[Judgement], outcome: str, sentence: str) -> Answer:
    """The line, with what spoilt the topic before or behind it."""
    code = worst(judgement.code for judgement in judgements)
    bad = [judgement for judgement in judgements if judgement.code == code and code]
    if bad and outcome not in [judgement.outcome for judgement in bad]:
        outcome = bad[0].outcome
    told = [judgement for judgement in bad if not _in_figures(judgement)]
    if told:
        more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
        named = " ".join(filter(None, (told[0].workload, told[0].question)))
        sentence = "; ".join(filter(None, (sentence, f"{named}: {told[0].sentence}{more}")))
    return Answer(topic=topic, outcome=outcome, code=code, sentence=sentence or outcome)


def _in_figures(judgement: Judgement) -> bool:
    """Whether the topic's line tells a judgement already, by its figure or because all are withheld alike."""
    shown = judgement.question in IN_FIGURES and judgement.value is not None
    return shown or judgement.sentence.startswith(WITHHELD)


def _change(run: Run, judgements: Sequence[Judgement]) -> tuple[str, str]:
    """`short +12 % [+9, +15] ... against 3f2a91c, merge base of main`, and what that is in a word."""
    times = [judgement for judgement in judgements if judgement.question == change.TIME]
    outcomes = [judgement.outcome for judgement in times]
    against = run.base_said or (run.base.revision[:10] if run.base else "")
    sentence = " ".join(_ratio(judgement) for judgement in times) + (f" against {against}" if against else "")
    for outcome in ("SLOWER", "OVER LIMIT"):
        if outcome in outcomes:
            return outcome, sentence
    if any(judgement.code for judgement in times):
        return "UNDECIDED", sentence
    if set(outcomes) <= {"FASTER", "SAME"}:
        return "FASTER" if "FASTER" in outcomes else "SAME", sentence
    return "NOT SLOWER", f"{sentence} (a slow-down as large as the limit is ruled out)"


def _ratio(judgement: Judgement) -> str:
    """`short +12.0 % [+9, +15]`"""
    if judgement.value is None:
        return f"{judgement.workload} {judgement.outcome}"
    interval = ""
    if judgement.low is not None and judgement.high is not None:
        interval = f" [{100 * (judgement.low - 1):+.0f}, {100 * (judgement.high - 1):+.0f}]"
    return f"{judgement.workload} {100 * (judgement.value - 1):+.1f} %{interval}"


def _limits(run: Run, selection: Selection, judgements: Sequence[Judgement]) -> tuple[str, str]:
    """Every limit with the workload that comes nearest to it, and whose limits they are."""
    parts = []
    for question, name, style in (
        (product.MEAN, "mean", _plain),
        (product.WORST, "worst", _plain),
        (product.CV, "CV", _share),
    ):
        nearest = _nearest(judgements, question)
        if nearest is not None:
            parts.append(f"{name} {style(nearest)}" + (f" ({nearest.band})" if nearest.band else ""))
    if (mean := _nearest(judgements, product.MEAN)) is not None and mean.value:
        parts.append(f"{1 / mean.value:.1f} x real time")
    growth = _nearest(judgements, product.GROWTH)
    if growth is not None and growth.value is not None:
        parts.append(f"memory {growth.value:+.3f} {growth.unit}")
    owner = selection.product(run.candidate.checkpoint, run.candidate.options)
    whose = f"{owner.checkpoint} ({owner.options}), {run.machine_key}" if owner else "no product limits"
    outcome = "HELD" if owner else "NO LIMITS"
    return outcome, f"{', '.join(parts)}; {whose}" if parts else whose


def _nearest(judgements: Sequence[Judgement], question: str) -> Judgement | None:
    """The judgement on a question whose figure is the highest over the workloads."""
    own = [
        judgement
        for judgement in judgements
        if judgement.question == question and judgement.value is not None
    ]
    return max(own, key=lambda judgement: judgement.value or 0.0, default=None)


def _plain(judgement: Judgement) -> str:
    value, limit = apart(judgement.value or 0.0, judgement.limit or 0.0)
    return f"{value} {'<=' if (judgement.value or 0) <= (judgement.limit or 0) else '>'} {limit}"


def _share(judgement: Judgement) -> str:
    value, limit = apart(100 * (judgement.value or 0.0), 100 * (judgement.limit or 0.0))
    return f"{value} % {'<=' if (judgement.value or 0) <= (judgement.limit or 0) else '>'} {limit} %"


def _drift(judgements: Sequence[Judgement]) -> tuple[str, str]:
    """`short +1.0 % [-2, +4] ...` against the recorded sessions, or why nothing could be compared."""
    compared = [judgement for judgement in judgements if judgement.question == drift.DRIFT]
    if not compared:
        return judgements[0].outcome, "" if judgements[0].code else judgements[0].sentence
    outcomes = [judgement.outcome for judgement in compared]
    sentence = " ".join(_ratio(judgement) for judgement in compared) + " against the recorded sessions"
    if "VERSIONS DIFFER" in outcomes:
        index = outcomes.index("VERSIONS DIFFER")
        _, _, why = compared[index].sentence.partition(": ")
        return "VERSIONS DIFFER", f"{sentence}: {why}"
    return next((name for name in ("DRIFTED", "UNDECIDED") if name in outcomes), "WITHIN"), sentence


def _sound(run: Run, judgements: Sequence[Judgement]) -> tuple[str, str]:
    """Whether what was said is as good as before; what spoilt it is told with the line."""
    if run.quality is None:
        return judgements[0].outcome, judgements[0].sentence
    clips = f"{len(run.quality.candidate.scores)} clips"
    if not any(judgement.code for judgement in judgements):
        return "SAME", f"same words, same voice ({clips})"
    return "", clips


def _trust(judgements: Sequence[Judgement]) -> tuple[str, str]:
    """That the machine was fit and quiet; what was not is told with the line."""
    if any(judgement.code for judgement in judgements):
        return "", ""
    control = [judgement.sentence for judgement in judgements if judgement.question == CONTROL]
    return "TRUSTED", " ".join(["fit machine, every toggle proven.", *control])
