"""The commands that need no listener: speak a file of texts, pack an installation, unpack it."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.commands import chosen_voice, use_threads
from engine.errors import UsageError
from engine.flags import option_flags
from engine.options import Options

if TYPE_CHECKING:
    from engine.jobs.batch import Summary
    from engine.jobs.results import Result

NOT_SPOKEN = 1
"""The exit code of a batch of which a line was not spoken."""


@functools.partial(option_flags, without=("first_piece",))
def batch(
    options: Options,
    texts: Annotated[
        Path,
        typer.Argument(
            help='a file with one JSON object a line: {"text": "Hello"}, and if you like id, voice, seed, '
            "speed, nfe, cfg_strength, duration, fade, pause, trim"
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="the folder for the audio and results.jsonl")],
    format: Annotated[str, typer.Option(help="wav, flac, ogg, opus, mp3 or pcm")] = "wav",
    checkpoint: Annotated[
        str | None, typer.Option(help="a name (see `ishowtts voices`), a folder, or a weight file")
    ] = None,
    vocoder: Annotated[
        Path | None, typer.Option(help="a folder with a Vocos, if none lies beside the weights")
    ] = None,
    voice: Annotated[str | None, typer.Option(help="a reference clip that came with the checkpoint")] = None,
    ref: Annotated[
        Path | None,
        typer.Option(help="a reference clip of another speaker: WAV, FLAC, OGG or MP3, 0.5 to 20 s"),
    ] = None,
    ref_text: Annotated[str | None, typer.Option(help="exactly what the clip of --ref says")] = None,
    seed: Annotated[int, typer.Option(help="of lines without one of their own")] = 0,
    speed: Annotated[float, typer.Option(help="of lines without one of their own (0.3 to 3)")] = 1.0,
    device: Annotated[
        str | None,
        typer.Option(help="cpu or cuda; by default CUDA where it is there and no toggle is CPU-only"),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; by default as torch decides")] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]",
            help="speak on a Ray cluster, such as 10.0.0.1:6379; without an address on one started here",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="processes of --cluster, one GPU or --threads cores (1) each; by default all"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the summary as JSON")] = False,
) -> None:
    """Say every line of TEXTS, one audio file each, and write what became of it to results.jsonl.

    \b
    ishowtts batch texts.jsonl -o out/
    ishowtts batch texts.jsonl -o out/ --preset fast_cpu --batch 4 --format flac
    ishowtts batch texts.jsonl -o out/ --cluster --workers 2

    Run it again after an interruption: what is finished is skipped, and only lines that are new, that failed,
    or whose text, voice or toggles changed are spoken. A file is called by its line's id, else by the line's
    number. Exits 0 if every line has its audio, and 1 if one has not; 2 if it cannot begin or go on.
    """
    import engine
    from engine.audio import check_format
    from engine.checkpoint import find
    from engine.jobs import batch as batches
    from engine.jobs.distributed import Cluster
    from engine.jobs.speaking import Setup
    from engine.requests import Request

    check_format(format)
    if workers is not None and cluster is None:
        raise UsageError(f"--workers {workers} without --cluster", "both", "Add --cluster")
    chosen = chosen_voice(voice, ref, ref_text)
    defaults = Request("", None, seed, speed).checked()
    use_threads(threads)
    speaker = batches.locally if cluster is None else Cluster(cluster, workers)
    assets = find(checkpoint if checkpoint is not None else engine.DEFAULT_CHECKPOINT, vocoder=vocoder)
    setup = Setup(assets.name, vocoder, device, options, format, assets.digest(), threads, chosen)
    messages = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    if not assets.trained:
        messages.print(f"The checkpoint {assets.name} is untrained: its speech is noise.", style="yellow")
    began = time.perf_counter()
    with Bar(messages) as bar:
        summary = batches.run(texts, out, setup, assets, defaults, speaker, bar.report)
    for sentence in summary.unproven:
        messages.print(sentence, style="yellow")
    _say(summary, out, time.perf_counter() - began, as_json)
    if summary.failed:
        raise typer.Exit(NOT_SPOKEN)


class Bar(Progress):
    """A bar on stderr for the items of a batch; above it, each that failed or did not go as asked."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        super().__init__(*columns, console=console, transient=True)
        self._task = self.add_task("speaking", total=None)

    def report(self, done: int, total: int, result: Result | None) -> None:
        """Move the bar, and say what is to say of the latest result."""
        self.update(self._task, completed=done, total=total)
        if result is None:
            return
        for sentence in (result.error, *result.warnings):
            if sentence:
                self.console.print(
                    f"line {result.line}: {sentence}", style="red" if result.error else "yellow"
                )


def _say(summary: Summary, out: Path, wall_seconds: float, as_json: bool) -> None:
    """What the batch came to: one line, or JSON."""
    audio_seconds = sum(result.seconds for result in summary.spoken)
    failed = [result.line for result in summary.failed]
    if as_json:
        facts = {
            "output": str(out),
            "spoken": len(summary.spoken),
            "finished_before": summary.finished,
            "failed": [dataclasses.asdict(result) for result in summary.failed],
            "seconds": audio_seconds,
            "wall_seconds": wall_seconds,
            "processes": summary.workers,
        }
        Console().print_json(json.dumps(facts))
        return
    parts = [f"{len(summary.spoken)} spoken ({audio_seconds:.1f} s of audio in {wall_seconds:.1f} s)"]
    if summary.finished:
        parts.append(f"{summary.finished} finished before")
    if failed:
        more = ", ..." if len(failed) > 10 else ""
        parts.append(f"{len(failed)} failed (line {', '.join(map(str, failed[:10]))}{more})")
    Console(soft_wrap=True, highlight=False).print(f"{out}: {', '.join(parts)}", markup=False)


def backup(
    file: Annotated[Path, typer.Argument(help="the archive to write, such as ishowtts.zip")],
    config: Annotated[
        Path | None, typer.Option(help="the configuration; by default ishowtts.toml, if it is there")
    ] = None,
    baselines: Annotated[
        Path | None, typer.Option(help="a folder of baselines; by default baselines, if it is there")
    ] = None,
    records: Annotated[
        Path | None, typer.Option(help="a folder of records; by default build/records, if it is there")
    ] = None,
) -> None:
    """Pack configuration, voices (clips and what they say), baselines and records into FILE, with checksums.

    \b
    ishowtts backup ishowtts-monday.zip
    ishowtts restore ishowtts-monday.zip --into fresh/
    """
    import engine
    from engine.jobs import archive
    from engine.jobs.contents import Sources, collect

    usual = (config, Path(archive.CONFIGURATION)), (baselines, Path("baselines")), (records, RECORDS)
    given = (path if path is not None else place if place.exists() else None for path, place in usual)
    contents = collect(Sources(*given))
    archive.write(file, contents, engine.__version__)
    size = sum(map(len, contents.values())) / 1e6
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"{file}: {len(contents)} files, {size:.1f} MB; {_counted(list(contents))}")
    if archive.CONFIGURATION in contents:
        console.print("Keep it private: the configuration may hold a key. Weights are not part of it.")


def restore(
    file: Annotated[Path, typer.Argument(help="an archive that `ishowtts backup` wrote")],
    into: Annotated[Path, typer.Option(help="an empty folder, or one that is not there yet")],
) -> None:
    """Unpack FILE into an empty folder, once every checksum has been found right.

    \b
    ishowtts restore ishowtts-monday.zip --into fresh/
    """
    from engine.jobs import archive

    written = archive.restore(file, into)
    Console(soft_wrap=True, highlight=False, markup=False).print(
        f"{into}: {len(written)} files, every checksum right; {_counted(written)}"
    )


RECORDS = Path("build/records")
"""Where the gate keeps its records, below the checkout."""


def _counted(names: list[str]) -> str:
    """How much there is of each part of a backup."""
    parts = [name.partition("/")[0] for name in names]
    return ", ".join(f"{part} {parts.count(part)}" for part in dict.fromkeys(parts))


COMMANDS = (batch, backup, restore)
