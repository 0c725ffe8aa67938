"""How soon a long text is heard: the whole of it, its first piece, and a short first piece, timed in turn.

`nox -s study -- first-audio --help`
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from engine.checkpoint import DEFAULT_CHECKPOINT
from engine.errors import UsageError
from engine.gate.data.files import write_atomically
from engine.gate.data.workloads import SENTENCES
from engine.options import Options
from tests.studies import committed
from tests.studies.ratios import Ratio, ratio_of

TEXT = " ".join(sentence.text for sentence in SENTENCES)
"""All pinned texts one after the other: about 17 seconds of speech of the voice in the box."""
WHOLE, STREAM, SHORT = "synthesize", "stream", "stream, short first piece"
SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class FirstAudio:
    """What came out.

    Attributes:
        audio_seconds: of the whole text.
        seconds: from the request to the first samples, by way of asking, one a round.
        heard: seconds of audio that were there by then.
    """

    audio_seconds: float
    seconds: Mapping[str, tuple[float, ...]]
    heard: Mapping[str, float]

    def against_whole(self, way: str) -> Ratio:
        """Time to first audio / time of the whole text, round by round, with its 95 % interval."""
        return ratio_of(self.seconds[way], self.seconds[WHOLE])


def measure(
    checkpoint: str,
    options: Options,
    *,
    first_piece: int = 40,
    device: str | None = None,
    text: str = TEXT,
    rounds: int = 7,
    seed: int = 0,
) -> FirstAudio:
    """Ask in all three ways once a round, in random order; one round before them warms up and does not count.

    Args:
        first_piece: bytes of the short first piece.

    Raises:
        UsageError: fewer than two rounds.
        EngineError: the engine does not load or speak.
    """
    import engine

    if rounds < 2:
        raise UsageError(f"{rounds} rounds", "two or more", "Ask for more")
    plain = dataclasses.replace(options, first_piece=0)
    short = dataclasses.replace(options, first_piece=first_piece)
    order = np.random.default_rng(seed)
    with contextlib.ExitStack() as stack:
        tts, sooner = (
            stack.enter_context(engine.load(checkpoint, one, device=device)) for one in (plain, short)
        )
        ways: dict[str, Callable[[], engine.Audio]] = {
            WHOLE: lambda: tts.synthesize(text),
            STREAM: lambda: next(tts.stream(text)),
            SHORT: lambda: next(sooner.stream(text)),
        }
        spent: dict[str, list[float]] = {way: [] for way in ways}
        heard: dict[str, float] = {}
        for number in range(rounds + 1):
            for index in order.permutation(len(ways)):
                way = list(ways)[index]
                start = time.perf_counter()
                heard[way] = ways[way]().seconds  # the samples are on the host by now
                if number:
                    spent[way].append(time.perf_counter() - start)
    return FirstAudio(heard[WHOLE], {way: tuple(seconds) for way, seconds in spent.items()}, heard)


def rows(found: FirstAudio) -> list[dict[str, Any]]:
    """One a way of asking."""
    return [
        {
            "way": way,
            "seconds": list(seconds),
            "heard": found.heard[way],
            "time": dataclasses.asdict(found.against_whole(way)),
        }
        for way, seconds in found.seconds.items()
    ]


def main(
    checkpoint: Annotated[str, typer.Option(help="What to load.")] = DEFAULT_CHECKPOINT,
    options: Annotated[str, typer.Option(help="Toggles.")] = "fast_cpu",
    first_piece: Annotated[int, typer.Option(min=30, help="Bytes of the short first piece.")] = 40,
    device: Annotated[str | None, typer.Option(help="Where to run.")] = None,
    rounds: Annotated[int, typer.Option(min=2, help="That count.")] = 7,
    out: Annotated[Path, typer.Option(help="Record to write.")] = Path("build/first_audio.json"),
) -> None:
    """Time the first audio of a long text, print the table and write the record."""
    from rich.console import Console
    from rich.table import Table

    chosen = Options.parse(options)
    found = measure(checkpoint, chosen, first_piece=first_piece, device=device, rounds=rounds)
    written = {
        **committed.provenance(SCHEMA_VERSION, checkpoint),
        "options": str(chosen),
        "first_piece": first_piece,
        "audio_seconds": found.audio_seconds,
        "rows": rows(found),
    }
    write_atomically(out, json.dumps(written, indent=1) + "\n")
    table = Table(title=f"{chosen}\ntime to first audio of a text of {found.audio_seconds:.1f} s")
    for name in ("way", "seconds", "of the whole", "heard by then"):
        table.add_column(name, justify="left" if name == "way" else "right")
    for row in written["rows"]:
        ratio = row["time"]
        table.add_row(
            row["way"],
            f"{np.median(row['seconds']):.3f}",
            f"x {ratio['ratio']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]",
            f"{row['heard']:.2f} s",
        )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
