"""The advisor's commands of `ishowtts`: their options, and one call each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from engine.flags import option_flags
from engine.options import Options


def doctor(
    toggles: Annotated[
        bool, typer.Option("--toggles", help="try every value of every toggle on the device (seconds)")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the findings as JSON")] = False,
) -> None:
    """Say what machine this is, what is installed, and whether it is fit to measure."""
    from engine.advisor import doctor as examination

    report = examination.report(tried=toggles)
    if as_json:
        Console().print_json(report.model_dump_json())
    else:
        Console().print(examination.render(report))
    raise typer.Exit(report.exit_code)


@option_flags
def profile(
    options: Options,
    checkpoint: Annotated[str | None, typer.Option(help="a name, a folder or a weight file")] = None,
    text: Annotated[
        str | None, typer.Option(help="what is spoken; the shortest pinned text if left out")
    ] = None,
    target: Annotated[float, typer.Option(help="real-time factor to reach")] = 0.36,
    budget: Annotated[float, typer.Option(help="seconds; no trial begins that would end later")] = 600.0,
    no_trials: Annotated[bool, typer.Option("--no-trials", help="profile only, try no toggle")] = False,
    file: Annotated[Path | None, typer.Option("--json", help="write the record")] = None,
) -> None:
    """Show where the time goes, try every toggle that can work here, and say what to do next. Exits 0 if the
    target is met, 1 if not."""
    from engine.advisor import screen, session
    from engine.checkpoint import DEFAULT_CHECKPOINT
    from engine.gate.data.workloads import SENTENCES
    from engine.text import normalise

    said = SENTENCES[0].text if text is None else text
    normalise(said)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task("loading", total=budget)
        report = session.advise(
            checkpoint or DEFAULT_CHECKPOINT, options, said,
            target=target, budget=budget, tried=not no_trials,
            watch=lambda doing, seconds: bar.update(task, description=doing, completed=seconds),
        )  # fmt: skip
    Console().print(screen.render(report))
    if file is not None:
        report.save(file)
    raise typer.Exit(report.exit_code)


COMMANDS = (doctor, profile)
