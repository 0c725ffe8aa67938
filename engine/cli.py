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

from engine.advisor import commands as advisor
from engine.errors import EngineError
from engine.flags import option_flags
from engine.gate import commands as gate
from engine.options import Options

if TYPE_CHECKING:
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
        name = engine.DEFAULT_CHECKPOINT if checkpoint is None else checkpoint
        tts = engine.load(name, options, device=device, vocoder=vocoder)
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
    for sentence in (*tts.unproven(), *audio.warnings):
        console.print(f"Note: {sentence}.", style="yellow", markup=False, soft_wrap=True)
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


for command in (*advisor.COMMANDS, *gate.COMMANDS):
    app.command()(command)


if __name__ == "__main__":
    main()
