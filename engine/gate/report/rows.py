"""The rows that every form of the report is made of: answers, judgements beside the base, and figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from engine.errors import UsageError
from engine.gate.data.samples import ARMS, Arm, Run, Side
from engine.gate.data.verdict import Band, ExitCode, Figures, Judgement, Verdict
from engine.gate.report.sound_figures import number, scored
from engine.gate.verdict.bounds import apart, figure

MEANING: dict[ExitCode, str] = {0: "PASS", 1: "REGRESSION", 2: "USAGE", 3: "UNDECIDED"}
HEADINGS = ("question", "workload", "base", "candidate", "change", "limit", "verdict")
FIGURES = ("workload", "arm", "mean RTF", "x real time", "best", "worst", "CV", "noise", "MiB/call")
RATIOS = ("candidate/base", "now/recorded")
"""Units of figures that are shown as a change in percent."""
OF_TIME = ("time", "recorded sessions")
"""Questions beside whose ratio the RTF of both arms is shown."""
ABOUT_UNDECIDED = (
    'UNDECIDED means that this run cannot tell: it is neither "same" nor "slower". It passes only where the '
    "95 % upper bound rules out a slow-down as large as the threshold."
)


class Row(NamedTuple):
    """One judgement as text by `HEADINGS`, and what colours it."""

    judgement: Judgement
    cells: tuple[str, ...]


class FigureRow(NamedTuple):
    """One arm's figures on one workload as text by `FIGURES`, and the bands of its mean and CV, if any."""

    cells: tuple[str, ...]
    mean_band: Band | None
    cv_band: Band | None


def verdict_of(run: Run) -> Verdict:
    """The run's verdict.

    Raises:
        UsageError: the run has not been judged.
    """
    if run.verdict is None:
        raise UsageError("a run without a verdict", "a judged run", "Judge it first")
    return run.verdict


def outcome(run: Run) -> str:
    """What the exit code means. A pass without quality must not be read as a pass on quality."""
    verdict = verdict_of(run)
    alone = "" if run.quality is not None or verdict.code else " on speed alone, QUALITY NOT JUDGED"
    return f"{MEANING[verdict.code]}{alone} (exit {verdict.code})"


def title(run: Run) -> str:
    """What was compared, where, and whether the machine was forced."""
    sides = [f"candidate {_side(run.candidate)}"] + ([f"base {_side(run.base)}"] if run.base else [])
    forced = ", FORCED" if run.forced else ""
    return f"{' against '.join(sides)}, on {run.machine_key}{forced}"


def rows(run: Run, *, verbose: bool = False) -> list[Row]:
    """Every judgement on change, limits and drift, and those of sound and trust that do not pass.

    `verbose` adds the others.
    """
    shown = [
        judgement
        for judgement in verdict_of(run).judgements
        if verbose or judgement.code or judgement.topic not in ("sound", "trust")
    ]
    return [Row(judgement, _cells(run, judgement)) for judgement in shown]


def figure_rows(run: Run) -> list[FigureRow]:
    """The figures of each workload, the base's above the candidate's."""
    return [_figure_row(run, figures) for figures in verdict_of(run).figures]


def details(run: Run, *, verbose: bool = False) -> Iterator[tuple[str, str, ExitCode]]:
    """Name, sentence and code of what must be explained: what did not pass; `verbose` explains everything."""
    verdict = verdict_of(run)
    for judgement in verdict.judgements:
        if judgement.code or verbose:
            yield name(judgement), f"{judgement.outcome}: {judgement.sentence}", judgement.code
    for note in verdict.notes:
        yield "note", note, 0
    if any(judgement.outcome == "UNDECIDED" for judgement in verdict.judgements):
        yield "note", ABOUT_UNDECIDED, 0


def name(judgement: Judgement) -> str:
    """Topic, workload and question of a judgement."""
    return ", ".join(filter(None, (judgement.topic, judgement.workload, judgement.question)))


def _side(side: Side) -> str:
    options = " ".join(f"{option}={value}" for option, value in side.options.items()) or "reference"
    untrained = "" if side.trained else ", untrained"
    return f"{side.revision[:10]}{'+' if side.dirty else ''} ({options}; {side.checkpoint}{untrained})"


def _cells(run: Run, judgement: Judgement) -> tuple[str, ...]:
    if judgement.topic == "sound":
        base, candidate, change, limit = _sound_cells(run, judgement)
    elif judgement.unit in RATIOS:
        base, candidate, change, limit = _ratio_cells(run, judgement)
    else:
        base, candidate, change, limit = _plain_cells(judgement)
    return judgement.question, judgement.workload or "-", base, candidate, change, limit, judgement.outcome


def _ratio_cells(run: Run, judgement: Judgement) -> tuple[str, str, str, str]:
    """A ratio as a change in percent; beside the time the RTF of both arms."""
    base, candidate = (_beside(run, arm, judgement) for arm in ARMS)
    change = "-" if judgement.value is None else f"{judgement.value - 1:+.1%}"
    if judgement.low is not None and judgement.high is not None:
        change += f" [{judgement.low - 1:+.0%}, {judgement.high - 1:+.0%}]"
    limit = "-" if judgement.limit is None else f"{judgement.limit - 1:+.0%}"
    return base, candidate, change, limit


def _plain_cells(judgement: Judgement) -> tuple[str, str, str, str]:
    """A figure in its own unit, with as many digits as tell it from its limit."""
    base, value, limit = judgement.base, judgement.value, judgement.limit
    scale, unit = (100.0, " %") if judgement.unit == "ratio" else (1.0, "")
    change = "-"
    if base and value is not None and judgement.topic != "limits":
        change = f"{value / base - 1:+.1%}"
    texts = ["-" if given is None else figure(scale * given) + unit for given in (base, value, limit)]
    if value is not None and limit is not None:
        texts[1:] = [text + unit for text in apart(scale * value, scale * limit)]
    return texts[0], texts[1], change, texts[2]


def _sound_cells(run: Run, judgement: Judgement) -> tuple[str, str, str, str]:
    """What both arms scored, by how much the candidate is worse, and the limit of that."""
    question = judgement.question
    base, candidate = scored(run, question)
    if judgement.base is not None:
        base = number(question, judgement.base)
    change = "-"
    if judgement.value is not None:
        change = ("" if question == "distance" else "+" * (judgement.value >= 0)) + number(
            question, judgement.value
        )
        if judgement.low is not None and judgement.high is not None:
            change += f" [{number(question, judgement.low)}, {number(question, judgement.high)}]"
    limit = "-" if judgement.limit is None else number(question, judgement.limit)
    return base, candidate, change, limit


def _beside(run: Run, arm: Arm, judgement: Judgement) -> str:
    """The arm's own figure beside a ratio: its RTF, or the seconds of its first call or its loading."""
    own = [
        figures
        for figures in verdict_of(run).figures
        if figures.arm == arm and judgement.workload in ("", figures.workload)
    ]
    if not own or (judgement.topic == "drift" and arm == "base"):
        return "-"
    seconds = {"first call": own[0].first_call_seconds, "load": own[0].load_seconds}.get(judgement.question)
    if judgement.question in OF_TIME:
        return f"{own[0].mean_rtf:.3f}"
    return "-" if seconds is None else f"{seconds:.3g} s"


def _figure_row(run: Run, figures: Figures) -> FigureRow:
    bands = {
        judgement.question: judgement.band
        for judgement in verdict_of(run).about("limits")
        if judgement.workload == figures.workload and figures.arm == "candidate"
    }
    cells = (
        figures.workload,
        figures.arm,
        f"{figures.mean_rtf:.3f}",
        f"{1 / figures.mean_rtf:.1f}",
        f"{figures.best_rtf:.3f}",
        f"{figures.worst_rtf:.3f}",
        "-" if figures.cv_calls is None else f"{figures.cv_calls:.1%}",
        "-" if figures.cv_processes is None else f"{figures.cv_processes:.1%}",
        "-" if figures.growth is None else f"{figures.growth:+.3f}",
    )
    return FigureRow(cells, bands.get("mean RTF"), bands.get("CV"))
