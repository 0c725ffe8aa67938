"""The status page: what the daily check said on each of the last days, on one page that fetches nothing.

    python -m engine.gate.report.status [FOLDER] --out build/status.html --days 30

A day without a run is a row of its own: silence is not health.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import html
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.errors import EngineError, UsageError
from engine.gate.data import samples
from engine.gate.data.files import write_atomically
from engine.gate.data.samples import RECORDS, Run
from engine.gate.data.verdict import Figures, Verdict

OUTCOMES = {0: "passed", 1: "regression", 3: "undecided"}
COLUMNS = ("day", "outcome", "machine, checkpoint", "mean RTF", "worst", "CV", "MiB/call", "commit", "why")
STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #2e7d32; --bad: #b3261e; --open: #9a6700; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.87rem; }
th, td { border-bottom: 1px solid var(--line); padding: 0.3rem 0.8rem 0.3rem 0; text-align: left; }
td:first-child, th { white-space: nowrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.passed { color: var(--good); } .regression { color: var(--bad); font-weight: 600; }
.undecided, .none { color: var(--open); } img { max-width: 100%; background: #fff; }
"""


def last_days(runs: Sequence[Run], today: datetime.date, days: int) -> dict[datetime.date, list[Run]]:
    """The judged runs of each of the last `days` days (UTC), today's first; a day without one is empty."""
    found: dict[datetime.date, list[Run]] = {today - datetime.timedelta(day): [] for day in range(days)}
    for run in sorted(runs, key=lambda run: run.timestamp):
        if run.verdict is not None and run.timestamp.date() in found:
            found[run.timestamp.date()].append(run)
    return found


def page(found: Mapping[datetime.date, Sequence[Run]], limit: float | None = None) -> str:
    """The whole page; `limit` is the product's limit of the mean RTF, drawn where there is one."""
    runs = [run for day in found for run in found[day]]
    newest = max(runs, key=lambda run: run.timestamp, default=None)
    headline = "No run in these days." if newest is None else _headline(newest)
    rows = "".join(
        _row(day, run)
        for day, those in found.items()
        for run in (*reversed(those), *([] if those else [None]))
    )
    picture = _picture(runs, min(found), max(found), limit) if runs else ""
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Status</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><h1>Status of the last {len(found)} days</h1><p>{headline}</p>{picture}"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        "<p>Days are UTC. RTF is seconds of computing for one second of speech; CV is over calls.</p>"
        "</body></html>"
    )


def _headline(run: Run) -> str:
    verdict = _verdict(run)
    outcome = OUTCOMES[verdict.code]
    return (
        f'Newest run, {run.timestamp:%Y-%m-%d %H:%M} UTC: <b class="{outcome}">{outcome}</b>. '
        f"{html.escape(verdict.first_line)}"
    )


def _row(day: datetime.date, run: Run | None) -> str:
    if run is None:
        return f'<tr><td>{day}</td><td class="none">no run</td>{"<td></td>" * 7}</tr>'
    verdict, figures = _verdict(run), _figures(run)
    outcome = OUTCOMES[verdict.code]
    spreads = [figure.cv_calls for figure in figures if figure.cv_calls is not None]
    growth = [figure.growth for figure in figures if figure.growth is not None]
    numbers = (
        f"{sum(figure.mean_rtf for figure in figures) / len(figures):.3f}",
        f"{max(figure.worst_rtf for figure in figures):.3f}",
        f"{max(spreads):.1%}" if spreads else "-",
        f"{max(growth):+.3f}" if growth else "-",
    )
    return (
        f'<tr><td>{day}</td><td class="{outcome}">{outcome}</td>'
        f"<td>{html.escape(f'{run.machine_key}, {run.candidate.checkpoint}')}</td>"
        + "".join(f'<td class="number">{number}</td>' for number in numbers)
        + f"<td>{html.escape(run.candidate.revision[:10])}{'+' * run.candidate.dirty}</td>"
        f"<td>{html.escape(verdict.first_line)}</td></tr>"
    )


def _verdict(run: Run) -> Verdict:
    if run.verdict is None:
        raise UsageError("a run without a verdict", "a judged one", "Run it again: nox -s perf")
    return run.verdict


def _figures(run: Run) -> list[Figures]:
    """What the candidate measured, one entry a workload."""
    return [figure for figure in _verdict(run).figures if figure.arm == "candidate"]


def _picture(runs: Sequence[Run], first: datetime.date, last: datetime.date, limit: float | None) -> str:
    """Mean and worst RTF over time, as an image with its content inside."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ordered = sorted(runs, key=lambda run: run.timestamp)
    figure = Figure(figsize=(9, 3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    end = datetime.datetime.combine(last, datetime.time(), datetime.timezone.utc) + datetime.timedelta(days=1)
    times = [(run.timestamp - end) / datetime.timedelta(days=1) for run in ordered]
    means = [max(each.mean_rtf for each in _figures(run)) for run in ordered]
    worst = [max(each.worst_rtf for each in _figures(run)) for run in ordered]
    axes.plot(times, means, "o-", label="mean of the slowest text")
    axes.plot(times, worst, "^", color="gray", label="worst call")
    if limit is not None:
        axes.axhline(limit, color="tab:red", linestyle="--", label=f"limit of the mean {limit:g}")
    axes.set(ylabel="RTF (s / s of speech)", xlabel=f"before the end of {last} (days)")
    axes.set(title="Real-time factor by day", xlim=((first - last).days - 1, 0))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    picture = base64.b64encode(content.getvalue()).decode()
    return f'<img alt="Mean and worst RTF by day" src="data:image/png;base64,{picture}">'


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; 0 whatever it says, 2 where a record cannot be read or the page not be written."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.gate.report.status", description="A page on the runs of the last days."
    )
    parser.add_argument("folder", type=Path, nargs="?", default=RECORDS, help=f"of the records ({RECORDS})")
    parser.add_argument("--out", type=Path, default=Path("build/status.html"), help="build/status.html")
    parser.add_argument("--days", type=int, default=30, help="30")
    parser.add_argument("--limit", type=float, help="of the mean RTF, to be drawn")
    given = parser.parse_args(arguments)
    try:
        if given.days < 1:
            raise UsageError(f"--days {given.days}", "at least 1", "Raise it")
        runs = [samples.read(path) for path in sorted(given.folder.glob("run-*.json"))]
        today = datetime.datetime.now(datetime.timezone.utc).date()
        write_atomically(given.out, page(last_days(runs, today, given.days), given.limit))
    except EngineError as error:
        sys.stderr.write(f"status: {error}\n")
        return 2
    sys.stdout.write(f"{given.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
