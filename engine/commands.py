"""The engine's own commands of `ishowtts`: say a text, and list who can say it."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.errors import OutputError, TextError, UsageError
from engine.flags import option_flags
from engine.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.audio import Audio
    from engine.synthesis import Engine
    from engine.synthesis import Progress as Step

IDLE = ("batch", "first_piece")
"""Toggles that mean nothing for one text whose audio is written when it is whole."""
MAX_BYTES = 1 << 20
"""Read from a text file or stdin: more than the longest text has, in any script."""
MAX_THREADS = 1024


@functools.partial(option_flags, without=IDLE)
def speak(
    options: Options,
    text: Annotated[
        str | None,
        typer.Argument(help="the words to say; - reads them from stdin; after -- they may begin with a dash"),
    ] = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="read the words from a text file")] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="the file to write: .wav .flac .ogg .opus .mp3 .pcm; - is stdout"),
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="wav, flac, ogg, opus, mp3 or pcm, whatever the file is called")
    ] = None,
    play: Annotated[bool, typer.Option("--play", help="play it: by aplay, paplay, ffplay or afplay")] = False,
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
    seed: Annotated[int, typer.Option(help="same seed, same samples")] = 0,
    speed: Annotated[float, typer.Option(help="speech rate (0.3 to 3); 1 is the clip's own")] = 1.0,
    device: Annotated[
        str | None,
        typer.Option(help="cpu or cuda; by default CUDA where it is there and no toggle is CPU-only"),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; by default as torch decides")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON")] = False,
) -> None:
    """Say TEXT in the voice of a reference clip, and write it to a file.

    \b
    ishowtts speak "Hello, chat!" -o hello.wav
    ishowtts speak --file story.txt -o story.flac --voice rms
    echo "Hello, chat!" | ishowtts speak - -o - --format opus > hello.opus
    ishowtts speak --play -- "-5 degrees"
    """
    import engine
    from engine.playback import play as play_aloud
    from engine.playback import player
    from engine.text import normalise

    kind = _format(out, format, play, as_json)
    command = player() if play else None
    words = _words(text, file)
    normalise(words)
    chosen = chosen_voice(voice, ref, ref_text)
    name = engine.DEFAULT_CHECKPOINT if checkpoint is None else checkpoint
    if not name:
        raise UsageError("--checkpoint ''", "a name, a folder or a weight file", "See `ishowtts voices`")
    messages = Console(stderr=True, soft_wrap=True, highlight=False)
    with messages.status("loading"):
        use_threads(threads)
        tts = engine.load(name, options, device=device, vocoder=vocoder)
    if not tts.checkpoint.trained:
        _warn(messages, f"The checkpoint {name} is untrained: what you will hear is noise, not speech.")
    with Bar(messages) as advance:
        audio = tts.synthesize(words, chosen, seed=seed, speed=speed, progress=advance)
    for sentence in (*audio.warnings, *tts.unproven()):
        _warn(messages, sentence)
    _deliver(audio, out, kind)
    _report(tts, audio, out, as_json)
    if command:
        play_aloud(audio, command)


def voices(
    as_json: Annotated[bool, typer.Option("--json", help="print the list as JSON")] = False,
) -> None:
    """List the checkpoints, the voices that come with each, and what they speak."""
    from engine.checkpoint import DEFAULT_CHECKPOINT, catalogue

    entries = catalogue()
    if as_json:
        Console().print_json(json.dumps([dataclasses.asdict(entry) for entry in entries]))
        return
    rows = [("CHECKPOINT", "SPEAKS", "VOICES", "")]
    rows += [
        (
            entry.name + " (default)" * (entry.name == DEFAULT_CHECKPOINT),
            ", ".join(entry.languages) or "-",
            ", ".join(entry.voices),
            entry.note,
        )
        for entry in entries
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for *cells, note in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        console.print(f"{line}  {note}".rstrip())
    console.print('\nThe first voice is the default. Any other speaks by --ref CLIP --ref-text "its words".')


COMMANDS = (speak, voices)


def _format(out: Path | None, format: str | None, play: bool, as_json: bool) -> str:
    """The format to write, once it is sure that it can be written.

    Raises:
        UsageError, OutputError: no output, one that cannot be written, or two things for one stdout.
    """
    from engine.audio import check_format, check_output, format_of

    if out is None and not play:
        raise UsageError("no output", "-o FILE or --play", "Add -o hello.wav")
    if format is not None:
        check_format(format)
    if out is None:
        return "wav"
    if str(out) != "-":
        check_output(out)
        return format or format_of(out)
    if as_json:
        raise UsageError("--json and -o - together", "one of them on stdout", "Write to a file")
    if sys.stdout is None or sys.stdout.isatty():
        raise OutputError("output - (a terminal)", "a pipe or a file", "Add > hello.wav, or use --play")
    return format or "wav"


def _words(text: str | None, file: Path | None) -> str:
    """The words to say: given, from a file, or from stdin.

    Raises:
        UsageError: none, two of them, or a file that cannot be read.
        TextError: bytes that are no UTF-8.
    """
    if text is not None and file is not None:
        raise UsageError("TEXT and --file together", "one of them", "Leave one out")
    if file is None and text is None:
        raise UsageError(
            "no text", "TEXT, - for stdin, or --file", "A text that begins with a dash goes behind --"
        )
    try:
        if file is not None:
            with file.open("rb") as source:
                content = source.read(MAX_BYTES)
        elif text == "-":
            if sys.stdin is None:
                raise UsageError("- without a stdin", "an open one", "Give the text, or --file")
            content = sys.stdin.buffer.read(MAX_BYTES)
        else:
            return _decoded(text or "")
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise UsageError(f"--file {file} ({error})", "a text file that can be read", "Check it") from error
    return _utf8(content)


def _decoded(argument: str) -> str:
    """An argument as it was given, where the locale could not decode it.

    Raises:
        TextError: bytes that are no UTF-8.
    """
    return _utf8(os.fsencode(argument))


def _utf8(content: bytes) -> str:
    """The text that these bytes are.

    Raises:
        TextError: they are no UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(
            f"text with the byte 0x{content[error.start]:02x} at {error.start}",
            "UTF-8",
            "Convert it, for example by iconv -f latin1 -t utf8",
        ) from error


def chosen_voice(name: str | None, clip: Path | None, words: str | None) -> Any:
    """The voice that the three flags spell: a name, a clip with its words, or the default.

    Raises:
        UsageError: two voices, or half of one.
        ReferenceClipError: the clip or its words cannot be used.
    """
    from engine.reference import Voice

    if name is not None and clip is not None:
        raise UsageError("--voice and --ref together", "one of them", "Leave one out")
    if (clip is None) != (words is None):
        raise UsageError(
            "--ref without --ref-text, or the other way round", "both", "Give the clip and what it says"
        )
    if clip is None:
        return name
    chosen = Voice(clip, _decoded(words or ""))
    chosen.prepared()  # refuse a bad clip before the model is loaded
    return chosen


def use_threads(threads: int | None) -> None:
    """Let torch use so many CPU threads.

    Raises:
        UsageError: no such number.
    """
    if threads is None:
        return
    if not 1 <= threads <= MAX_THREADS:
        raise UsageError(f"--threads {threads}", f"1 to {MAX_THREADS}", "Give the number of cores to use")
    import torch

    torch.set_num_threads(threads)


class Bar(Progress):
    """A bar on stderr for the steps of every piece; entering it gives what to call after each."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        super().__init__(*columns, console=console, transient=True)
        self._task = self.add_task("sampling", total=None)

    def __enter__(self) -> Callable[[Step], None]:  # type: ignore[override]
        super().__enter__()
        return self._advance

    def _advance(self, at: Step) -> None:
        done = (at.piece - 1) * at.steps + at.step
        name = f"piece {at.piece} of {at.pieces}"
        self.update(self._task, completed=done, total=at.pieces * at.steps, description=name)


def _warn(messages: Console, sentence: str) -> None:
    messages.print(sentence, style="yellow", markup=False)


def _deliver(audio: Audio, out: Path | None, kind: str) -> None:
    """Write the audio where it was asked for."""
    if out is None:
        return
    if str(out) == "-":
        sys.stdout.buffer.write(audio.encode(kind))
        sys.stdout.buffer.flush()
    else:
        audio.save(out, kind)


def _report(tts: Engine, audio: Audio, out: Path | None, as_json: bool) -> None:
    """One line, or JSON, on what was made; on stderr where the audio itself is on stdout."""
    stages = audio.timings.stages()
    if as_json:
        facts = {
            "output": None if out is None else str(out),
            "seconds": audio.seconds,
            "rtf": audio.rtf,
            "stages": stages,
            "warnings": audio.warnings,
            "checkpoint": tts.checkpoint.name,
            "trained": tts.checkpoint.trained,
            "options": dataclasses.asdict(tts.options),
            "evidence": {name: dataclasses.asdict(proof) for name, proof in tts.evidence().items()},
        }
        Console().print_json(json.dumps(facts))
        return
    times = "  ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in stages.items())
    name = "played" if out is None else str(out)
    Console(stderr=str(out) == "-", soft_wrap=True, highlight=False).print(
        f"{name}: {audio.seconds:.2f} s of audio, RTF {audio.rtf:.3f} ({times})", markup=False
    )
