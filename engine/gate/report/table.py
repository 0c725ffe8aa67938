"""What is read of a run: tables of speed and quality, Markdown, JUnit XML, and a plot, by the record."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any
from xml.etree import ElementTree

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.errors import UsageError
from engine.gate.baselines.record import Change
from engine.gate.baselines.select import Baseline, find_recorded
from engine.gate.data.files import write_atomically
from engine.gate.data.samples import Arm, Judgement, Row, Run, Side, Verdict
from engine.gate.report import quality_table
from engine.gate.verdict.sound import QUALITY

MEANING = {0: "PASS", 1: "REGRESSION", 2: "USAGE", 3: "UNDECIDED"}
STYLES = {0: "green", 1: "bold red", 2: "bold red", 3: "yellow"}
MEAN_BANDS, CV_BANDS = (0.30, 0.35), (0.05, 0.10)
"""Good below the first, critical from the second on. They colour the table and decide nothing."""

HEADINGS = ("workload", "mean RTF", "worst", "CV", "MiB/call", "against base", "limit", "verdict")
WRAPPED = ("against base", "limit", "verdict")
"""Columns that may take several lines on a narrow terminal."""
ABOUT_UNDECIDED = (
    'UNDECIDED means that this run cannot tell: it is neither "same" nor "slower". It passes only where the '
    "95 % upper bound rules out a slow-down as large as the threshold."
)
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def table(run: Run) -> RenderableType:
    """The verdict as tables of speed and quality, what must be said of the rows and the run, and the outcome.

    Raises:
        UsageError: the run has not been judged.
    """
    verdict = _verdict(run)
    grid = Table()
    for heading in HEADINGS:
        wraps = heading in WRAPPED
        grid.add_column(heading, justify="left" if heading == "workload" else "right", no_wrap=not wraps)
    for row in verdict.rows:
        cells = _cells(row)
        colours = [
            "",
            _band(row.mean_rtf, MEAN_BANDS),
            "",
            _band(row.cv, CV_BANDS),
            "",
            "",
            "",
            STYLES[row.code],
        ]
        grid.add_row(*(Text(cell, style) for cell, style in zip(cells, colours, strict=True)))
    lines = [
        Text.assemble((f"{name}: ", "bold"), (sentence, style))
        for name, sentence, style in _said(run, verdict)
    ]
    quality = quality_table.grids(run, verdict, STYLES)
    outcome = Text(_outcome(verdict), STYLES[verdict.code])
    return Group(Text(_title(run)), grid, *quality, *lines, outcome)


def changes_table(changes: list[Change]) -> RenderableType:
    """What recording changed: mean RTF before and now."""
    grid = Table("workload", "options", "before", "now", "change")
    for change in changes:
        before, percent = change.before, change.percent
        cells = ("-" if before is None else f"{before:.3f}", f"{change.after:.3f}")
        grid.add_row(
            change.workload, change.options, *cells, "new" if percent is None else f"{percent:+.1f} %"
        )
    return grid


def markdown(run: Run) -> str:
    """The verdict for a pull request.

    Raises:
        UsageError: the run has not been judged.
    """
    verdict = _verdict(run)
    lines = [f"### Gate: {_outcome(verdict)}", "", _escape(_title(run)), ""]
    lines += _markdown_table(HEADINGS, [_cells(row) for row in verdict.rows])
    if quality := quality_table.rows(run, verdict):
        lines += ["", *_markdown_table(quality_table.HEADINGS, quality)]
    lines += [
        "",
        *(f"- **{_escape(name)}**: {_escape(sentence)}" for name, sentence, _ in _said(run, verdict)),
    ]
    return "\n".join(lines) + "\n"


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    head = [f"| {' | '.join(headings)} |", "| --- |" + " ---: |" * (len(headings) - 1)]
    return head + [f"| {' | '.join(_escape(cell) for cell in row)} |" for row in rows]


def junit(run: Run) -> str:
    """JUnit XML: one case per question; a regression is a failure, undecided without a pass an error.

    Raises:
        UsageError: the run has not been judged.
    """
    verdict = _verdict(run)
    cases = verdict.judgements
    codes = [judgement.code for _, judgement in cases]
    suite = ElementTree.Element(
        "testsuite",
        name="gate",
        tests=str(len(cases)),
        failures=str(codes.count(1)),
        errors=str(codes.count(3)),
        timestamp=run.timestamp.isoformat(),
    )
    for place, judgement in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=place, name=_xml(judgement.question))
        tag = {0: "system-out", 1: "failure", 2: "error", 3: "error"}[judgement.code]
        detail = ElementTree.SubElement(case, tag)
        detail.text = _xml(_sentence(judgement))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def plot(run: Run, path: Path, baseline: Baseline | None = None) -> None:
    """Write a PNG of every steady call, by process in running order: both arms, and recorded samples if any.

    Raises:
        OutputError: `path` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(run.candidate.hashes)
    figure = Figure(figsize=(9, 2.6 * len(names) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
        for label, colour, groups in _samples(run, name, baseline):
            _scatter(axes, label, colour, groups)
        if baseline is not None and baseline.product is not None:
            limit = baseline.product.mean_rtf.upper
            axes.axhline(
                limit, color="tab:red", linewidth=1, linestyle="--", label=f"limit of the mean {limit:g}"
            )
        axes.set(title=name, ylabel="RTF")
        axes.margins(y=0.15)
        axes.grid(axis="y", alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axes.set_xlabel("process, in running order (points: calls, bars: medians; recorded ones before 0)")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_atomically(path, content.getvalue())


def _samples(
    run: Run, name: str, baseline: Baseline | None
) -> Iterator[tuple[str, str, dict[int, list[float]]]]:
    """Label, colour, and RTF of each call by the place of its process; recorded ones end before 0."""
    order = sorted(run.processes, key=lambda process: (process.block, process.position))
    entry = None if baseline is None else find_recorded(baseline, run.candidate, name)[0]
    if entry is not None:
        first = -len(entry.rtf)
        yield (
            f"recorded at {entry.revision[:8]}",
            "tab:gray",
            {first + index: list(calls) for index, calls in enumerate(entry.rtf)},
        )
    arms: tuple[tuple[Arm, str], ...] = (("base", "tab:blue"), ("candidate", "tab:orange"))
    for arm, colour in arms:
        if run.side(arm) is not None:
            yield (
                arm,
                colour,
                {
                    place: [
                        call.rtf
                        for series in process.series
                        if series.workload == name
                        for call in series.calls
                    ]
                    for place, process in enumerate(order)
                    if process.arm == arm
                },
            )


def _scatter(axes: Any, label: str, colour: str, groups: dict[int, list[float]]) -> None:
    """One column of points per process, in the order of its calls, with a bar at its median."""
    x, y = [], []
    for place, calls in groups.items():
        x += [place + 0.5 * (index + 0.5) / len(calls) - 0.25 for index in range(len(calls))]
        y += calls
        axes.hlines(median(calls), place - 0.35, place + 0.35, color=colour, linewidth=2)
    axes.scatter(x, y, s=9, color=colour, alpha=0.6, linewidths=0, label=label)


def _verdict(run: Run) -> Verdict:
    if run.verdict is None:
        raise UsageError("a run without a verdict", "a judged run", "Judge it first")
    return run.verdict


def _outcome(verdict: Verdict) -> str:
    """One line. A pass without quality must not be read as a pass on quality."""
    alone = "" if quality_table.judged(verdict) or verdict.code else " on speed alone, QUALITY NOT JUDGED"
    return f"{MEANING[verdict.code]}{alone} (exit {verdict.code})"


def _title(run: Run) -> str:
    sides = [f"candidate {_side(run.candidate)}"] + ([f"base {_side(run.base)}"] if run.base else [])
    forced = ", FORCED" if run.forced else ""
    return f"{' against '.join(sides)}, on {run.machine_key}{forced}"


def _side(side: Side) -> str:
    options = " ".join(f"{name}={value}" for name, value in side.options.items()) or "reference"
    untrained = "" if side.trained else ", untrained"
    return f"{side.revision[:10]}{'+' if side.dirty else ''} ({options}; {side.checkpoint}{untrained})"


def _headline(row: Row) -> Judgement:
    """The judgement that the row stands for: the first of the worst (the centre where all is well)."""
    return next(judgement for judgement in row.judgements if judgement.code == row.code)


def _cells(row: Row) -> tuple[str, ...]:
    """One row of text, by `HEADINGS`."""
    head = _headline(row)
    centre = next((j for j in row.judgements if j.question == "centre" and j.value is not None), None)
    against = "-"
    if centre is not None and centre.value is not None:
        against = f"{centre.value - 1:+.1%}"
        if centre.low is not None and centre.high is not None:
            against += f" [{centre.low - 1:+.0%}, {centre.high - 1:+.0%}]"
    limit = "-"
    if head.limit is not None:
        limit = f"{head.limit:g} x base" if head.question == "centre" else f"{head.question} {head.limit:g}"
    return (
        row.workload,
        f"{row.mean_rtf:.3f}",
        f"{row.worst_rtf:.3f}",
        "-" if row.cv is None else f"{row.cv:.1%}",
        "-" if row.growth is None else f"{row.growth:+.2f}",
        against,
        limit,
        head.outcome,
    )


def _said(run: Run, verdict: Verdict) -> Iterator[tuple[str, str, str]]:
    """Name, sentence and style of all that is said below the table: rows first, then the run, then notes."""
    fit = all(judgement.outcome != "UNFIT" for judgement in verdict.trust)
    for row in verdict.rows:
        head = _headline(row)
        for judgement in row.judgements:
            if judgement is head or (judgement.code and fit):
                yield f"{row.workload}, {judgement.question}", _sentence(judgement), STYLES[judgement.code]
    for judgement in quality_table.explained(run, verdict):
        place = "" if judgement.question == QUALITY else f"{QUALITY}, "
        yield f"{place}{judgement.question}", _sentence(judgement), STYLES[judgement.code]
    for judgement in (*verdict.whole, *verdict.trust):
        yield judgement.question, _sentence(judgement), STYLES[judgement.code]
    for note in verdict.notes:
        yield "note", note, ""
    outcomes = [judgement.outcome for row in verdict.rows for judgement in row.judgements]
    if "UNDECIDED" in [*outcomes, *(judgement.outcome for judgement in verdict.whole)]:
        yield "note", ABOUT_UNDECIDED, ""


def _sentence(judgement: Judgement) -> str:
    return f"{judgement.outcome}: {judgement.sentence}"


def _band(value: float | None, bands: tuple[float, float]) -> str:
    """The colour of a figure that is better low."""
    if value is None:
        return ""
    return "green" if value < bands[0] else "yellow" if value < bands[1] else "red"


def _escape(text: str) -> str:
    """Text that Markdown prints as it is, on one line."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", " ".join(text.split()))


def _xml(text: str) -> str:
    """Text without the control characters that XML forbids."""
    return _NOT_XML.sub("?", text)
