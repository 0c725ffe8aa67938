"""The report for a pull request: the answers first, then the rows, with the sentences folded away."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.gate.data.samples import Run
from engine.gate.report import rows


def markdown(run: Run) -> str:
    """The verdict as Markdown.

    Raises:
        UsageError: the run has not been judged.
    """
    verdict = rows.verdict_of(run)
    lines = [f"### Gate: {rows.outcome(run)}", ""]
    lines += [
        f"- **{answer.topic}** {_escape(answer.outcome)}: {_escape(answer.sentence)}"
        for answer in verdict.answers
    ]
    lines += ["", _escape(rows.title(run)), ""]
    lines += _table(rows.HEADINGS, [row.cells for row in rows.rows(run)])
    lines += ["", *(f"- **{_escape(name)}**: {_escape(said)}" for name, said, _ in rows.details(run))]
    lines += ["", "<details><summary>Figures, and every sentence</summary>", ""]
    lines += _table(rows.FIGURES, [row.cells for row in rows.figure_rows(run)])
    lines += [
        "",
        *(f"- **{_escape(name)}**: {_escape(said)}" for name, said, _ in rows.details(run, verbose=True)),
        "",
        "</details>",
    ]
    return "\n".join(lines) + "\n"


def _table(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    head = [f"| {' | '.join(headings)} |", "| --- |" + " ---: |" * (len(headings) - 1)]
    return head + [f"| {' | '.join(_escape(cell) for cell in row)} |" for row in cells]


def _escape(text: str) -> str:
    """Text that Markdown prints as it is, on one line."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", " ".join(text.split()))
