"""The recommender's report on one screen, and its ranking as a table, for terminals of 100 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.advisor.recommendation import Combination, Ranked, Recommendation, Status

BAR = 40
"""Columns of the longest bar."""
LARGEST, LACKING = 5, 4
"""Operators, and things that are missing, which the screen names."""
BEST = 3
"""Recommendations on the screen."""
WIDTH, TWO_LINES = 98, 165
COLOURS: dict[Status, str] = {
    "faster": "green",
    "unclear": "yellow",
    "sounds worse": "red",
    "nothing": "dim",
    "slower": "red",
    "not engaged": "red",
}
HEADINGS = ("", "toggle", "speed-up", "at most", "RTF", "memory", "sound", "price")


def render(report: Recommendation) -> Group:
    """Head, stages, operators, the best recommendations, the best set, what is missing, what to do next."""
    return Group(*_spaced(_head(report), _stages(report), _operators(report), *_advice(report), _end(report)))


def ranking(report: Recommendation, most: int | None = None) -> Table:
    """The ranked toggles, all of them or the first ones."""
    table = _table(HEADINGS, right=(2, 3, 4, 5))
    for place, row in enumerate(report.rows[:most], 1):
        table.add_row(str(place), *_cells(row))
    return table


def _head(report: Recommendation) -> RenderableType:
    profile = report.profile
    line = Text()
    line.append(f"{profile.checkpoint}, {report.findings.options}\n", "bold")
    line.append(f"{profile.machine}\n", "dim")
    line.append(f"{_clipped(profile.text, 60)!r}, {profile.audio_seconds:.1f} s of audio\n", "dim")
    line.append(f"RTF {report.rtf:.3f}", "bold green" if report.rtf <= report.target else "bold red")
    wanted = "which it meets" if report.rtf <= report.target else f"{report.required:.2f} times as fast"
    line.append(f"  target {report.target:g}: {wanted}; {report.profile.peak_mb:.0f} MiB")
    return line


def _stages(report: Recommendation) -> Table:
    """A bar for each stage."""
    table = _table(("stage", "ms", "share", "", "bound"), right=(1, 2))
    whole = sum(report.profile.stages.values())
    bounds = {one.name.removesuffix(" for nothing"): one.bound for one in report.bounds}
    for name, seconds in report.profile.stages.items():
        share = seconds / whole
        bar = Text("█" * round(BAR * share), "blue")
        bound = bounds.get(name)
        table.add_row(
            name,
            f"{1000 * seconds:.1f}",
            f"{share:.1%}",
            bar,
            f"x{bound:.2f}" if bound and bound < 100 else "-" if bound is None else "over x100",
        )
    return table


def _operators(report: Recommendation) -> Table:
    """The operators with the most time of their own."""
    table = _table(("operator", "ms", "share", "calls"), right=(1, 2, 3))
    for one in report.profile.operators[:LARGEST]:
        table.add_row(_clipped(one.name, 50), f"{1000 * one.seconds:.1f}", f"{one.share:.1%}", str(one.calls))
    return table


def _advice(report: Recommendation) -> list[RenderableType]:
    """What was tried: the best three as a table, the others by name, and the best set."""
    found = report.findings
    if not found.trials:
        return [Text("No toggle was tried.", "yellow")]
    best = [row for row in report.rows if row.status == "faster"]
    parts: list[RenderableType] = []
    if best:
        parts.append(ranking(report, min(BEST, len(best))))
    parts.append(Text("\n").join(_others(report, len(best[:BEST]))))
    if report.combination is not None:
        parts.append(_combination(report.combination))
    return parts


def _others(report: Recommendation, shown: int) -> list[Text]:
    """The rest of the ranking, a line for each outcome, and what could not be tried."""
    by: dict[str, list[str]] = {}
    for row in report.rows[shown:]:
        by.setdefault(row.status, []).append(_short(row))
    failed = [trial.name for trial in report.findings.trials if trial.error]
    late = [one.name for one in report.findings.untried if "budget" in one.reason]
    by |= {name: list(names) for name, names in (("failed", failed), ("no time", late)) if names}
    return [
        _line(f"{name} ({len(names)})", _clipped("; ".join(names), TWO_LINES)) for name, names in by.items()
    ]


def _short(row: Ranked) -> str:
    """A toggle and its speed-up, without which it would only be a name."""
    return row.name if row.gain is None else f"{row.name} x{row.gain:.2f}"


def _combination(best: Combination) -> Text:
    """The best set: promised, happened, and how far apart the two are."""
    text = _line("best set", best.options)
    if best.happened is None:
        text.append(f"\npromised x{best.predicted:.2f}; not run: {best.problem}", "yellow")
        return text
    between = f" [{best.low:.2f}, {best.high:.2f}]" if best.low and best.high else ""
    text.append(
        f"\npromised x{best.predicted:.2f}, happened x{best.happened:.2f}{between}, "
        f"error {best.error:+.0%}; RTF {best.rtf:.3f}; sound: {best.sound.outcome}",
        "red" if best.problem or best.sound.code == 1 else "",
    )
    if best.problem:
        text.append(f"\n{best.problem}", "red")
    return text


def _end(report: Recommendation) -> Text:
    """What is missing, whether the target is met, and what to do now."""
    text = Text()
    for said in report.lacking[:LACKING]:
        text.append(_clipped(said, WIDTH) + "\n", "red" if said.startswith("unfit") else "yellow")
    if len(report.lacking) > LACKING:
        text.append(f"and {len(report.lacking) - LACKING} more: ishowtts doctor --toggles\n", "dim")
    met = report.met_by
    verdict = f"The target is met by the {met}." if met else "The target is not met."
    text.append(f"{verdict} ", "bold green" if met else "bold red")
    text.append(report.next.sentence, "bold")
    if report.next.command:
        text.append(f"\n{report.next.command}", "bold cyan")
    return text


def _cells(row: Ranked) -> tuple[str | Text, ...]:
    gain = "-" if row.gain is None else f"x{row.gain:.2f}"
    if row.gain is not None and row.low is not None and row.high is not None:
        gain += f" [{row.low:.2f}, {row.high:.2f}]"
    bound = "-" if row.bound is None else f"x{row.bound:.2f}"
    price = ", ".join([*(() if row.lossless else ("lossy",)), *row.needs]) or "-"
    name = Text(row.name, COLOURS[row.status])
    return name, gain, bound, f"{row.rtf:.3f}", f"{row.memory:.2f} x", row.sound.outcome, price


def _line(name: str, content: str) -> Text:
    return Text.assemble((f"{name}  ", "bold"), content)


def _table(headings: Sequence[str], right: Sequence[int] = ()) -> Table:
    """A plain table. Cells are no markup."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, heading in enumerate(headings):
        table.add_column(
            heading, justify="right" if number in right else "left", no_wrap=True, overflow="ellipsis"
        )
    return table


def _clipped(text: str, width: int) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= width else f"{plain[: width - 3]}..."


def _spaced(*parts: RenderableType) -> list[RenderableType]:
    """The parts with an empty line between them."""
    return [piece for part in parts for piece in (part, Text(""))][:-1]
