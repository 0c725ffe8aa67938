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
WIDTH = 110
"""Columns of the report where nobody's terminal has a say, as in the log of a CI."""


def gate(
    against: Annotated[
        str | None, typer.Option(help="a git revision (default: the merge base with the default branch)")
    ] = None,
    options: Annotated[
        str | None, typer.Option(help="toggles to judge: a preset, name=value, or both (the product's)")
    ] = None,
    against_options: Annotated[
        str | None, typer.Option(help="compare with these toggles of the same code instead")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="a name, a folder or a weight file (the product's)")
    ] = None,
    candidate: Annotated[
        str | None, typer.Option(help="a git revision to judge (default: the checkout as it is)")
    ] = None,
    limits: Annotated[
        bool, typer.Option("--limits", help="judge limits and drift alone: nothing is compared")
    ] = False,
    runs: Annotated[
        int | None, typer.Option(help="calls of each workload in each process (as the budget holds)")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="3 minutes: six blocks of one workload")] = False,
    blocks: Annotated[
        int | None, typer.Option(help="blocks of live pairs at most (10); with --limits: processes (3)")
    ] = None,
    through: Annotated[
        str | None, typer.Option(help="http: time POST /api/tts of each revision's own service")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="no block begins that would end later (14; --quick: 3)")
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="instead of this machine's own")] = None,
    threshold: Annotated[float | None, typer.Option(help="tolerated slow-down; 0.2 is 20 %")] = None,
    force: Annotated[bool, typer.Option("--force", help="judge on an unfit machine too")] = False,
    accept_looser: Annotated[
        bool, typer.Option("--accept-looser", help="let limits be looser than before")
    ] = False,
    accept_changed_output: Annotated[
        bool, typer.Option("--accept-changed-output", help="let the output differ from the base's")
    ] = False,
    accept_more_work: Annotated[
        bool, typer.Option("--accept-more-work", help="let it do more work than the base")
    ] = False,
    record: Annotated[
        bool, typer.Option("--record", help="add a session to this machine's baseline, if all can be trusted")
    ] = False,
    records: Annotated[
        Path | None, typer.Option(help="folder of the records (build/records of the checkout)")
    ] = None,
    keep: Annotated[int, typer.Option(help="records kept")] = 100,
    seed: Annotated[int | None, typer.Option(help="of the order of calls")] = None,
    no_quality: Annotated[
        bool, typer.Option("--no-quality", help="judge speed alone, which the verdict says")
    ] = False,
    recogniser: Annotated[
        str, typer.Option(help="of words; whisper:MODEL where you have one")
    ] = "pocketsphinx",
    votes: Annotated[list[Path] | None, typer.Option(help="a file saved by the page of `listen`")] = None,
    markdown: Annotated[Path | None, typer.Option(help="write the report for a pull request")] = None,
    junit: Annotated[Path | None, typer.Option(help="write JUnit XML")] = None,
    plot: Annotated[Path | None, typer.Option(help="write a PNG of every sample")] = None,
    pyperf: Annotated[
        Path | None, typer.Option(help="write pyperf's JSON, the base's beside it as NAME-base.json")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the verdict as JSON")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="every row and sentence")] = False,
) -> None:
    """Judge a change: is it slower than before, over its limits, or can this run not tell?

    By default this checkout is compared with the merge base of the default branch, and limits and recorded
    sessions are held where this machine has them. Exits 0 pass, 1 regression, 2 usage, 3 undecided.
    """
    from engine.gate import run
    from engine.gate.report.files import Files

    request = run.Request(
        against=against, options=options, against_options=against_options, checkpoint=checkpoint,
        candidate=candidate, limits_only=limits, runs=runs, quick=quick, blocks=blocks, minutes=minutes,
        baseline=baseline, threshold=threshold, force=force, accept_looser=accept_looser,
        accept_changed_output=accept_changed_output, accept_more_work=accept_more_work, records=records,
        keep=keep, seed=seed, quality=not no_quality, recogniser=recogniser, votes=tuple(votes or ()),
        record=record, through=through,
    )  # fmt: skip
    messages = Console(stderr=True, soft_wrap=True, highlight=False)
    outcome = run.gate(request, lambda said: messages.print(said, style="dim", markup=False))
    _show(outcome, as_json, verbose)
    Files(markdown, junit, plot, pyperf).write(outcome.run, outcome.selection.baseline)
    if record:
        _record(outcome)
    raise typer.Exit(outcome.run.verdict.code if outcome.run.verdict else USAGE)


def _show(outcome: Outcome, as_json: bool, verbose: bool) -> None:
    """Print a judged run."""
    from engine.gate.report.table import table

    verdict = outcome.run.verdict
    if as_json:
        facts = {"record": str(outcome.path), "verdict": verdict and verdict.model_dump(mode="json")}
        Console().print_json(json.dumps(facts))
        return
    terminal = Console().is_terminal
    Console(width=None if terminal else WIDTH).print(table(outcome.run, verbose=verbose))
    Console(soft_wrap=True, highlight=False).print(f"Record: {outcome.path}", markup=False)


def _record(outcome: Outcome) -> None:
    """Add the run to this machine's baseline, and print what changed."""
    from engine.gate.baselines.record import record_session
    from engine.gate.baselines.select import BASELINES
    from engine.gate.measure.revisions import checkout
    from engine.gate.report.table import changes_table

    path, changes = record_session(outcome.run, checkout() / BASELINES)
    Console().print(changes_table(changes), f"Recorded in {path}")


def listen(
    a: Annotated[str, typer.Argument(help="the candidate: toggles such as 'fast_cpu', or a folder of WAVs")],
    b: Annotated[str, typer.Argument(help="the base: toggles such as 'reference', or a folder of WAVs")],
    out: Annotated[Path, typer.Option("-o", "--out", help="the HTML file to write")],
    checkpoint: Annotated[str | None, typer.Option(help="a name, a folder or a weight file")] = None,
    whole: Annotated[
        bool, typer.Option("--all", help="speak all pinned texts, not the few quick ones")
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(help="cpu or cuda; by default CUDA where it is there and no toggle is CPU-only"),
    ] = None,
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
