"""How much each linear of the transformer minds 8 bits, alone: the measurement behind `int8.LAYERS`."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydantic
import typer

from engine import Options, loading
from engine.checkpoint import DEFAULT_CHECKPOINT, sha256
from engine.gate.data import texts
from engine.gate.data.files import write_atomically
from engine.optimizations import int8

OPTIONS = Options(nfe=7, schedule="epss", reference_cache=True)
REPORT = Path("baselines/int8-sensitivity.json")


class Row(pydantic.BaseModel, frozen=True):
    """One linear.

    Attributes:
        name: in upstream's `DiT`.
        replaced: whether the toggle `int8` makes it 8-bit.
        share: of the multiplications in all linears.
        distance: relative L2 that the mel moves when this one alone is in 8 bits, mean over the texts.
    """

    name: str
    replaced: bool
    share: float
    distance: float


class Report(pydantic.BaseModel, frozen=True):
    """Every linear, and `together`: the distance with all that the toggle replaces."""

    checkpoint: str
    weights_sha256: str
    options: str
    texts: tuple[str, ...]
    together: float
    rows: tuple[Row, ...]


def measure(tts: Any, said: Sequence[str], report: Callable[[str], None]) -> Report:
    """Say the texts once in full precision, once for each linear in 8 bits, and once with the toggle's own.

    Args:
        tts: an open engine with every toggle of the transformer off.
        said: what to say, each with the seed 0.
        report: told the name of each linear as its turn comes.
    """
    import torch

    transformer, top = tts._open().model.transformer, int8.largest_weight()
    linears = {n: m for n, m in transformer.named_modules() if isinstance(m, torch.nn.Linear)}
    ours = int8.layers(transformer)
    work: Counter[str] = Counter()

    def mels() -> list[Any]:
        return [tts.synthesize(text).mel for text in said]

    with _counted(linears, work):
        exact = mels()

    def distance(names: Sequence[str]) -> float:
        with _rounded({name: linears[name] for name in names}, top):
            moved = [np.linalg.norm(a - b) / np.linalg.norm(a) for a, b in zip(exact, mels(), strict=True)]
        return float(np.mean(moved))

    rows = []
    for name in sorted(work):
        report(name)
        share = work[name] / work.total()
        rows.append(Row(name=name, replaced=name in ours, share=share, distance=distance([name])))
    return Report(
        checkpoint=tts.checkpoint.name,
        weights_sha256=sha256(tts.checkpoint.weights),
        options=str(tts.options),
        texts=tuple(said),
        together=distance(list(ours)),
        rows=tuple(sorted(rows, key=lambda row: -row.distance)),
    )


@contextlib.contextmanager
def _counted(linears: dict[str, Any], work: Counter[str]) -> Iterator[None]:
    """Count the multiplications of each linear."""

    def count(name: str, linear: Any) -> Callable[..., None]:
        def hook(_: Any, inputs: tuple[Any], out: Any) -> None:
            work[name] += out.numel() * linear.in_features

        return hook

    with contextlib.ExitStack() as stack:
        for name, linear in linears.items():
            stack.callback(linear.register_forward_hook(count(name, linear)).remove)
        yield


@contextlib.contextmanager
def _rounded(linears: dict[str, Any], top: int) -> Iterator[None]:
    """Answer for these linears in 8 bits; the modules stay, because others ask for their weights."""

    def answer(rounded: Any) -> Callable[..., Any]:
        return lambda _module, inputs, _out: rounded(inputs[0])

    with contextlib.ExitStack() as stack:
        for linear in linears.values():
            stack.callback(linear.register_forward_hook(answer(int8.quantized(linear, top))).remove)
        yield


def main(
    checkpoint: Annotated[str, typer.Option(help="What to load.")] = DEFAULT_CHECKPOINT,
    count: Annotated[int, typer.Option("--texts", min=1, help="Of the pinned ones.")] = 2,
    out: Annotated[Path, typer.Option(help="JSON to write.")] = REPORT,
) -> None:
    """Measure every linear and write the record."""
    from rich.console import Console

    console = Console()
    tts = loading.load(checkpoint, OPTIONS, device="cpu")
    said = [case.text for case in texts.choose(tts.checkpoint.languages).cases[:count]]
    report = measure(tts, said, console.print)
    write_atomically(out, json.dumps(report.model_dump(), indent=1) + "\n")
    for row in report.rows[:10]:
        console.print(f"{row.distance:.4f} {row.share:.3f} {'8-bit' if row.replaced else 'kept '} {row.name}")
    console.print(f"{report.together:.4f} with all that int8 replaces")


if __name__ == "__main__":
    typer.run(main)
