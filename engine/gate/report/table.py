"""The report for a terminal: the answers first, then the tables, and the sentences on what did not pass."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.gate.baselines.record import Change
from engine.gate.data.samples import Run
from engine.gate.data.verdict import Band, ExitCode
from engine.gate.report import rows

STYLES: dict[ExitCode, str] = {0: "green", 1: "bold red", 2: "bold red", 3: "yellow"}
BANDS: dict[Band, str] = {"good": "green", "warning": "yellow", "critical": "red"}
TOPIC_WIDTH = 8


def table(run: Run, *, verbose: bool = False) -> RenderableType:
    """The verdict: a line for each answer and the exit code, base beside candidate, and what did not pass.

    `verbose` shows the rows and sentences of all that passed too.

    Raises:
        UsageError: the run has not been judged.
    """
    verdict = rows.verdict_of(run)
    answers = [
        Text.assemble(
            (f"{answer.topic:<{TOPIC_WIDTH}}", "bold"),
            (answer.outcome, STYLES[answer.code]),
            f"  {answer.sentence}",
        )
        for answer in verdict.answers
        if answer.topic != "trust" or answer.code or verbose
    ]
    outcome = Text.assemble((f"{'exit':<{TOPIC_WIDTH}}", "bold"), (rows.outcome(run), STYLES[verdict.code]))
    sentences = [
        Text.assemble((f"{name}: ", "bold"), (sentence, STYLES[code] if code else ""))
        for name, sentence, code in rows.details(run, verbose=verbose)
    ]
    return Group(
        *answers, outcome, Text(), Text(rows.title(run)), _judgements(run, verbose), _figures(run), *sentences
    )


def changes_table(changes: Sequence[Change]) -> RenderableType:
    """What recording added: mean RTF of the session before and of this one."""
    grid = Table("workload", "options", "before", "now", "change")
    for change in changes:
        before, percent = change.before, change.percent
        cells = ("-" if before is None else f"{before:.3f}", f"{change.after:.3f}")
        grid.add_row(
            change.workload, change.options, *cells, "new" if percent is None else f"{percent:+.1f} %"
        )
    return grid


def _judgements(run: Run, verbose: bool) -> Table:
    """Each question with base and candidate side by side."""
    grid = _grid(rows.HEADINGS, left=2)
    for row in rows.rows(run, verbose=verbose):
        judgement = row.judgement
        cells = [Text(cell) for cell in row.cells]
        cells[3].stylize(BANDS[judgement.band] if judgement.band else "")
        cells[-1].stylize(STYLES[judgement.code])
        grid.add_row(*cells)
    return grid


def _figures(run: Run) -> Table:
    """What each arm measured; coloured only where a product has bands."""
    grid = _grid(rows.FIGURES, left=2)
    for row in rows.figure_rows(run):
        cells = [Text(cell) for cell in row.cells]
        for place, band in ((2, row.mean_band), (6, row.cv_band)):
            cells[place].stylize(BANDS[band] if band else "")
        grid.add_row(*cells)
    return grid


def _grid(headings: Sequence[str], left: int) -> Table:
    grid = Table()
    for place, heading in enumerate(headings):
        grid.add_column(heading, justify="left" if place < left else "right")
    return grid
