"""How many chat messages the service speaks, how long each waits, and what memory stays: held to limits.

`nox -s load`, or `nox -s study -- load`, which renews the record. `--long` watches memory for 30 minutes.
Exits 1 where a limit does not hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from engine.checkpoint import DEFAULT_CHECKPOINT
from engine.errors import BaselineError
from engine.gate import signals
from engine.gate.data.files import reason, write_atomically
from engine.options import Options
from tests.studies.load import session
from tests.studies.load.clients import ROOT
from tests.studies.load.record import Limits, Record

RECORD = ROOT / "baselines" / "load.json"
MINUTES, LONG_MINUTES = 2.0, 30.0
WIDTH = 110
"""Columns of the table where nobody's terminal has a say."""


def main(
    checkpoint: Annotated[str, typer.Option(help="What to load.")] = DEFAULT_CHECKPOINT,
    options: Annotated[str, typer.Option(help="Toggles.")] = "fast_cpu",
    minutes: Annotated[float | None, typer.Option(min=0.05, help="Of open arrivals.")] = None,
    long: Annotated[bool, typer.Option("--long", help="30 minutes of them.")] = False,
    closed_seconds: Annotated[float, typer.Option(min=1, help="Of each phase of closed clients.")] = 15.0,
    crowd: Annotated[
        int, typer.Option(min=1, help="Clients that all ask at the same moment.")
    ] = session.CROWD,
    pairs: Annotated[int, typer.Option(min=5, help="Requests beside `synthesize`.")] = 30,
    out: Annotated[Path, typer.Option(help="Record to write.")] = Path("build/load.json"),
) -> None:
    """Measure the service on this machine, print the table, write the record, and fail where a limit does."""
    signals.unwind_when_ended()  # a session that is ended takes its service with it
    messages = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    found = session.measure(
        checkpoint,
        Options.parse(options),
        limits(),
        minutes=minutes or (LONG_MINUTES if long else MINUTES),
        closed_seconds=closed_seconds,
        crowd=crowd,
        pairs=pairs,
        say=lambda what: messages.print(f"load: {what}"),
    )
    write_atomically(out, found.model_dump_json(indent=1) + "\n")
    Console(width=None if Console().is_terminal else WIDTH).print(table(found))
    broken = found.broken()
    for sentence in broken:
        messages.print(f"load: {sentence}", style="red")
    raise SystemExit(1 if broken else 0)


def limits(path: Path = RECORD) -> Limits:
    """Those of the committed record; where there is none, the project's.

    Raises:
        BaselineError: there is one, and it cannot be read.
    """
    if not path.is_file():
        return Limits()
    try:
        return Record.model_validate_json(path.read_text(encoding="utf-8")).limits
    except ValueError as error:
        raise BaselineError(
            f"{path.name}: {reason(error)}", "a record of this session", "Restore it from git"
        ) from error


def table(found: Record) -> Table:
    """What was measured, beside its limits."""
    rows = Table(title=f"{found.checkpoint}, {found.options}, on {found.machine}", box=None)
    for name in ("clients", "a minute", "p50", "p95", "p99", "first", "spoken", "429", "failed"):
        rows.add_column(name, justify="left" if name == "clients" else "right", no_wrap=True)
    for one in found.phases:
        times = (one.p50, one.p95, one.p99, one.first_p50)
        cells = ("–" if value is None else f"{value:.2f} s" for value in times)
        counts = (one.spoken, one.refused, one.failed + one.lost)
        rows.add_row(one.plan.name, f"{one.per_minute:.0f}", *cells, *map(str, counts))
    rows.caption = caption(found)
    return rows


def caption(found: Record) -> str:
    """What is no phase's, and the limits."""
    alone, memory, held = found.overhead, found.memory, found.limits
    added = f"{alone.added_ms:+.1f} ms through the service [{alone.low_ms:+.1f}, {alone.high_ms:+.1f}]"
    return (
        f"a request alone: {alone.direct_ms:.0f} ms by synthesize, {added}\n"
        f"first speech after {found.first_speech_seconds[-1]:.1f} s; memory at rest "
        f"{memory.before_mib:.0f} MiB, {memory.growth_mib:+.1f} MiB after {memory.seconds / 60:g} minutes\n"
        f"limits: over {held.requests_per_minute:.0f} a minute (aim {held.aim_per_minute:.0f}), p95 within "
        f"{found.deadline_seconds:g} s at {held.load:.0%} load, nothing lost, growth {held.growth_mib:g} MiB"
    )


if __name__ == "__main__":
    typer.run(main)
