"""Which seeded faults this gate catches: a committed table, made by the tests that seed them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from engine.errors import BaselineError
from engine.gate.baselines.select import BASELINES
from engine.gate.data.files import reason, write_atomically
from engine.gate.data.samples import ExitCode
from engine.gate.data.workloads import Frozen, Name

TABLE = BASELINES / "faults.json"
COMMAND = "nox -s study -- faults"
HEADINGS = ("fault", "must exit", "exits", "result", "what said so")


class Trial(Frozen):
    """One fault: the exit code that it must give, the one that it gave, and what said so."""

    fault: Name
    expected: ExitCode
    exits: ExitCode
    by: str

    @property
    def result(self) -> str:
        """Caught or missed; what must pass passed, or was a false alarm."""
        if self.expected == 0:
            return "false alarm" if self.exits else "passed, as it must"
        return "caught" if self.exits == self.expected else "missed"


class Table(Frozen):
    """Every fault that was tried. `share_needed`: of a stage, for 20 % more of its time to be caught."""

    schema_version: Literal[1] = 1
    command: Name = COMMAND
    share_needed: Annotated[float, Field(gt=0, le=1)]
    trials: Annotated[tuple[Trial, ...], Field(min_length=1)]

    @property
    def said(self) -> str:
        """How many faults were caught, and how many harmless changes passed."""
        faults = [trial for trial in self.trials if trial.expected]
        caught = sum(trial.exits == trial.expected for trial in faults)
        harmless = len(self.trials) - len(faults)
        passed = sum(not trial.expected and not trial.exits for trial in self.trials)
        share = f"{caught} of {len(faults)} seeded faults are caught"
        return f"{share}, {passed} of {harmless} harmless changes pass"


def read(path: Path = TABLE) -> Table:
    """The committed table.

    Raises:
        BaselineError: missing or unreadable.
    """
    try:
        return Table.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaselineError(
            f"{path}: {reason(error)}", "a table of seeded faults", f"Run {COMMAND}"
        ) from error


def write(trials: Sequence[Trial], share_needed: float, path: Path = TABLE) -> None:
    """Write the table as JSON, and as Markdown beside it.

    Raises:
        OutputError: the folder cannot be written.
    """
    table = Table(share_needed=share_needed, trials=tuple(trials))
    write_atomically(path, table.model_dump_json(indent=1) + "\n")
    write_atomically(path.with_suffix(".md"), markdown(table))


def markdown(table: Table) -> str:
    """The table for people."""
    lines = [
        f"# Seeded faults: {table.said}",
        f"Made by `{table.command}`. Exit codes: 0 pass, 1 regression, 2 usage or baseline, 3 undecided.",
        "",
        f"| {' | '.join(HEADINGS)} |",
        "| --- | ---: | ---: | --- | --- |",
    ]
    for one in table.trials:
        by = " ".join(one.by.replace("|", "\\|").split())
        lines.append(f"| {one.fault} | {one.expected} | {one.exits} | {one.result} | {by} |")
    needed = f"{100 * table.share_needed:g} %"
    lines += [
        "",
        f"20 % more time in one stage is caught where that stage takes {needed} of the total or more.",
    ]
    return "\n".join(lines) + "\n"


def note(path: Path = TABLE) -> str:
    """What a report says of the gate itself."""
    if not path.is_file():
        return f"which seeded faults this gate catches is not known here: {path} is missing ({COMMAND})"
    return f"of the gate itself: {read(path).said} ({path.with_suffix('.md')})"
