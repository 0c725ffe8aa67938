"""The `ishowtts` command. The only place that prints."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.errors import EngineError
from engine.flags import option_flags
from engine.options import Options

if TYPE_CHECKING:
    from engine.gate.run import Outcome
    from engine.synthesis import Progress as Step

USAGE = 2
app = typer.Typer(
    help="A thin F5-TTS engine with every optimisation toggleable, and a gate that judges each of them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line: an error of ours is one sentence on stderr and exit code 2, never a traceback.

    Any other error exits 2 too: Python's own 1 would read as a regression. SIGTERM unwinds, so that a
    cancelled gate leaves neither processes nor checkouts behind.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        app()
    except EngineError as error:
        Console(stderr=True).print(
            f"ishowtts: {error}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        raise SystemExit(USAGE) from None
    except Exception:  # noqa: BLE001 - whatever it is, it is no verdict
        traceback.print_exc()
        raise SystemExit(USAGE) from None


@app.command()
@option_flags
def speak(
    text: Annotated[str, typer.Argument(help="the words to say")],
    out: Annotated[Path, typer.Option("-o", "--out", help="the WAV to write")],
    options: Options,
    checkpoint: Annotated[str | None, typer.Option(help="a name, a folder, or a weight file")] = None,
    vocoder: Annotated[
        Path | None, typer.Option(help="a folder with a Vocos, if none lies beside the weights")
    ] = None,
    voice: Annotated[str | None, typer.Option(help="a reference clip that came with the checkpoint")] = None,
    ref: Annotated[Path | None, typer.Option(help="a reference clip of another speaker, 0.5 to 20 s")] = None,
    ref_text: Annotated[str | None, typer.Option(help="exactly what the clip of --ref says")] = None,
    seed: Annotated[int, typer.Option(help="same seed, same bytes")] = 0,
    speed: Annotated[float, typer.Option(help="of speech, 0.3 to 3; 1 is the clip's own")] = 1.0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; by default CUDA where it is there")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON")] = False,
) -> None:
    """Say TEXT in the voice of a reference clip and write a WAV."""
    import engine
    from engine.audio import check_output
    from engine.text import normalise

    check_output(out)
    normalise(text)
    chosen = _voice(voice, ref, ref_text)
    console = Console(stderr=True)
    with console.status("loading"):
        tts = engine.load(checkpoint or engine.DEFAULT_CHECKPOINT, options, device=device, vocoder=vocoder)
    if not tts.checkpoint.trained:
        console.print(
            f"The checkpoint {tts.checkpoint.name} is untrained: what you will hear is noise, not speech.",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task("sampling", total=None)

        def advance(at: Step) -> None:
            done = (at.piece - 1) * at.steps + at.step
            bar.update(
                task,
                completed=done,
                total=at.pieces * at.steps,
                description=f"piece {at.piece} of {at.pieces}",
            )

        audio = tts.synthesize(text, chosen, seed=seed, speed=speed, progress=advance)
    audio.save(out)
    facts = {
        "output": str(out),
        "seconds": audio.seconds,
        "rtf": audio.rtf,
        "stages": audio.timings.stages(),
        "checkpoint": tts.checkpoint.name,
        "trained": tts.checkpoint.trained,
        "options": dataclasses.asdict(options),
        "evidence": {name: dataclasses.asdict(proof) for name, proof in tts.evidence().items()},
    }
    if as_json:
        Console().print_json(json.dumps(facts))
        return
    stages = "  ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in audio.timings.stages().items())
    Console(soft_wrap=True, highlight=False).print(
        f"{out}: {audio.seconds:.2f} s of audio, RTF {audio.rtf:.3f} ({stages})", markup=False
    )


def _voice(name: str | None, clip: Path | None, words: str | None) -> Any:
    """The voice that the three flags spell: a name, a clip with its words, or the default."""
    from engine.errors import UsageError
    from engine.reference import Voice

    if name and clip:
        raise UsageError("--voice and --ref together", "one of them", "Leave one out")
    if (clip is None) != (words is None):
        raise UsageError(
            "--ref without --ref-text, or the other way round", "both", "Give the clip and what it says"
        )
    if clip is None:
        return name
    chosen = Voice(clip, words or "")
    chosen.read()  # refuse a bad clip before the model is loaded
    return chosen


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="print the findings as JSON")] = False,
) -> None:
    """Say what machine this is, whether it is fit to measure, and which toggles can work here."""
    from engine.advisor import doctor as examination

    report = examination.report()
    if as_json:
        Console().print_json(report.model_dump_json())
    else:
        Console().print(examination.render(report))
    raise typer.Exit(report.exit_code)


@app.command()
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
    from engine.advisor import profile_screen, study
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
        report = study.study(
            checkpoint or DEFAULT_CHECKPOINT, options, said,
            target=target, budget=budget, tried=not no_trials,
            watch=lambda doing, seconds: bar.update(task, description=doing, completed=seconds),
        )  # fmt: skip
    Console().print(profile_screen.render(report))
    if file is not None:
        report.save(file)
    raise typer.Exit(report.exit_code)


@app.command()
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


@app.command()
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


if __name__ == "__main__":
    main()
