"""How long one guided evaluation of the transformer takes at base size, in each format and by each kernel.

`nox -s study -- steps [--rounds N]`. All sets are loaded in one process and take turns in random order; a
round before the first does not count. A call makes one evaluation of 7.9 s of speech behind a 5.3 s clip, and
its sampling stage is timed, to which working out text and clip belongs as well.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from engine.errors import DeviceError
from engine.gate.data.files import write_atomically
from engine.options import Options
from tests.studies.committed import provenance
from tests.studies.ratios import ratio_of

SCHEMA_VERSION = 1
CHECKPOINT = "seeded-base"
SECONDS = 7.9
WORDS = (
    "The quick brown fox jumps over the lazy dog, and nobody knows why it would want to do so again today."
)
SETS = {
    "upstream, fp32": "",
    "hoisted, fp32": "hoist=on",
    "fp32 by oneDNN": "hoist=on linears=onednn",
    "bf16": "hoist=on precision=bf16",
    "bf16, attention fused": "hoist=on precision=bf16 attention=fused",
    "int8 by oneDNN": "hoist=on int8=dynamic",
    "attention fused": "hoist=on linears=onednn attention=fused",
    "int8 and attention fused": "hoist=on int8=fused attention=fused",
}
AIMS = {"fp32 by oneDNN": 1.2, "bf16, attention fused": 2.2, "int8 and attention fused": 3.0}
"""How many times as fast as the first set each shall be, at least."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One set: its toggles, seconds of each round, how many times as fast, and how far its mel moved."""

    name: str
    options: str
    seconds: list[float]
    speedup: float
    low: float
    high: float
    mel_moved: float
    aim: float | None


def measure(checkpoint: str, rounds: int, seed: int = 0) -> list[Row]:
    """Time every set that this machine can run, round by round."""
    import engine

    loaded: dict[str, Any] = {}
    for name, words in SETS.items():
        try:
            loaded[name] = engine.load(checkpoint, Options.parse(f"nfe=1 {words}"), device="cpu")
        except DeviceError as error:
            Console(stderr=True).print(f"{name} is left out: {error}", markup=False)
    order = np.random.default_rng(seed)
    names = list(loaded)
    spent: dict[str, list[float]] = {name: [] for name in names}
    mels: dict[str, Any] = {}
    for _ in track(range(1 + rounds), "rounds", console=Console(stderr=True)):
        for index in order.permutation(len(names)):
            audio = loaded[names[index]].synthesize(WORDS, seed=1, duration=SECONDS)
            spent[names[index]].append(audio.timings.sampling)
            mels[names[index]] = audio.mel
    first = names[0]
    rows = []
    for name in names:
        ratio = ratio_of(spent[first][1:], spent[name][1:])
        moved = float(np.linalg.norm(mels[name] - mels[first]) / np.linalg.norm(mels[first]))
        rows.append(
            Row(
                name=name,
                options=SETS[name],
                seconds=spent[name][1:],
                speedup=ratio.ratio,
                low=ratio.low,
                high=ratio.high,
                mel_moved=moved,
                aim=AIMS.get(name),
            )
        )
    return rows


def table(rows: list[Row]) -> Table:
    """The rows for people."""
    shown = Table(box=None, pad_edge=False)
    for heading in ("set", "s a step", "times as fast", "mel moved", "aim"):
        shown.add_column(heading, justify="left" if heading == "set" else "right")
    for row in rows:
        aim = "-" if row.aim is None else f"{row.aim} {'reached' if row.low >= row.aim else 'missed'}"
        speed = f"{row.speedup:.2f} [{row.low:.2f}, {row.high:.2f}]"
        shown.add_row(row.name, f"{np.median(row.seconds):.2f}", speed, f"{row.mel_moved:.2g}", aim)
    return shown


def main(
    rounds: Annotated[int, typer.Option(help="that count")] = 5,
    checkpoint: Annotated[str, typer.Option(help="of base size")] = CHECKPOINT,
    out: Annotated[Path | None, typer.Option(help="where the record goes")] = None,
) -> None:
    """Time one guided step in each format and by each kernel, in turn in one process."""
    rows = measure(checkpoint, rounds)
    Console(width=100).print(table(rows))
    if out is not None:
        content = {
            **provenance(SCHEMA_VERSION, checkpoint),
            "rows": [dataclasses.asdict(row) for row in rows],
        }
        write_atomically(out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
