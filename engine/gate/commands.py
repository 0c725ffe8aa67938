"""The gate's commands of `ishowtts`: their options, and one call each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from engine.gate.run import Outcome

USAGE = 2


def gate(
    against: Annotated[str | None, typer.Option(help="compare with this git revision")] = None,
    options: Annotated[
        str | None, typer.Option(help="toggles to judge: a preset, name=value, or both")
    ] = None,
    against_options: Annotated[str | None, typer.Option(help="toggles to compare with (reference)")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="a name, a folder or a weight file")] = None,
    quick: Annotated[bool, typer.Option(help="three blocks of the shortest workload")] = False,
    runs: Annotated[int | None, typer.Option(help="blocks of four processes at most")] = None,
    budget: Annotated[float, typer.Option(help="minutes; no block begins that would end later")] = 14.0,
    baseline: Annotated[Path | None, typer.Option(help="instead of this machine's own")] = None,
    threshold: Annotated[float | None, typer.Option(help="tolerated slow-down; 0.2 is 20 %")] = None,
    force: Annotated[bool, typer.Option(help="judge on an unfit machine too")] = False,
    accept_looser: Annotated[bool, typer.Option(help="let limits be looser than before")] = False,
    record: Annotated[
        bool, typer.Option(help="write this machine's baseline, if all can be trusted")
    ] = False,
    records: Annotated[Path, typer.Option(help="folder of the records")] = Path("build/records"),
    keep: Annotated[int, typer.Option(help="records kept")] = 100,
    seed: Annotated[int | None, typer.Option(help="of the order of the arms")] = None,
    quality: Annotated[bool, typer.Option(help="judge what is said too, and how it sounds")] = True,
    recogniser: Annotated[
        str, typer.Option(help="of words; whisper:MODEL where you have one")
    ] = "pocketsphinx",
    votes: Annotated[list[Path] | None, typer.Option(help="files saved by the page of `listen`")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the verdict as JSON")] = False,
    markdown: Annotated[Path | None, typer.Option(help="write the table for a pull request")] = None,
    junit: Annotated[Path | None, typer.Option(help="write JUnit XML")] = None,
    plot: Annotated[Path | None, typer.Option(help="write a PNG of every sample")] = None,
) -> None:
    """Judge a change: is it faster, and does it still speak as well? Exits 0 pass, 1 regression, 2 usage, 3
    undecided."""
    from engine.gate import run
    from engine.gate.baselines.record import record_entry
    from engine.gate.report import table

    request = run.Request(
        against, options, against_options, checkpoint, quick, runs, budget, baseline, threshold, force,
        accept_looser, records, keep, seed, quality, recogniser, tuple(votes or ()),
    )  # fmt: skip
    messages = Console(stderr=True, soft_wrap=True, highlight=False)
    outcome = run.gate(request, lambda said: messages.print(said, style="dim", markup=False))
    _publish(outcome, as_json, markdown, junit, plot)
    if record:
        path, changes = record_entry(outcome.run)
        Console().print(table.changes_table(changes), f"Recorded in {path}")
    raise typer.Exit(outcome.run.verdict.code if outcome.run.verdict else USAGE)


def _publish(
    outcome: Outcome, as_json: bool, markdown: Path | None, junit: Path | None, plot: Path | None
) -> None:
    """Print a judged run, and write the files that were asked for."""
    from engine.gate.data.files import write_atomically
    from engine.gate.report import table

    run, verdict = outcome.run, outcome.run.verdict
    if as_json:
        facts = {"record": str(outcome.path), "verdict": verdict and verdict.model_dump(mode="json")}
        Console().print_json(json.dumps(facts))
    else:
        Console().print(table.table(run))
        Console(soft_wrap=True, highlight=False).print(f"Record: {outcome.path}", markup=False)
    for path, render in ((markdown, table.markdown), (junit, table.junit)):
        if path is not None:
            write_atomically(path, render(run))
    if plot is not None:
        table.plot(run, plot, outcome.selection.baseline)


def listen(
    a: Annotated[str, typer.Argument(help="the candidate: toggles such as 'fast_cpu', or a folder of WAVs")],
    b: Annotated[str, typer.Argument(help="the base: toggles such as 'reference', or a folder of WAVs")],
    out: Annotated[Path, typer.Option("-o", "--out", help="the HTML file to write")],
    checkpoint: Annotated[str | None, typer.Option(help="a name, a folder or a weight file")] = None,
    whole: Annotated[
        bool, typer.Option("--all", help="speak all pinned texts, not the few quick ones")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; by default CUDA where it is there")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the blind order")] = 0,
) -> None:
    """Write one HTML page on which people hear A (the candidate) against B, blind, and save their votes."""
    from engine.audio import check_output
    from engine.gate.data.files import write_atomically
    from engine.gate.listening import page as listening
    from engine.gate.listening import takes

    check_output(out)
    messages = Console(stderr=True, soft_wrap=True, highlight=False)
    with messages.status("starting") as status:
        found = takes.find(
            a,
            b,
            checkpoint,
            whole,
            device,
            lambda doing, done, total: status.update(f"{doing} {done}/{total}"),
        )
        status.update("writing")
        write_atomically(out, listening.render(found.pairs, found.a, found.b, seed))
    for note in found.notes:
        messages.print(note, style="yellow", markup=False)
    Console(soft_wrap=True, highlight=False).print(
        f"{out}: {len(found.pairs)} pairs, {out.stat().st_size / 2**20:.1f} MiB. Open it in a browser.",
        markup=False,
    )


COMMANDS = (gate, listen)
