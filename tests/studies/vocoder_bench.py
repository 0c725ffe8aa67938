"""Another runtime against torch for the vocoder, and what that can do for the whole (Amdahl's law)."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Annotated

import typer

from engine import Engine, Options, loading
from engine.audio import Timings
from engine.checkpoint import DEFAULT_CHECKPOINT
from engine.gate.data import texts

BASE = Options(nfe=7, schedule="epss", reference_cache=True)


@dataclasses.dataclass(frozen=True)
class Gain:
    """Of a part that takes `share` of the time and was made `ratio` times as fast.

    Attributes:
        share: of the total, before.
        ratio: time of the part before, over its time after.
        whole: total before, over total after, as measured.
    """

    share: float
    ratio: float
    whole: float

    @property
    def possible(self) -> float:
        """What the part's ratio gives for the whole (Amdahl's law)."""
        return 1 / (1 - self.share + self.share / self.ratio)

    @property
    def ceiling(self) -> float:
        """What a part that took no time at all would give."""
        return 1 / (1 - self.share)


def gain(before: Sequence[Timings], after: Sequence[Timings]) -> Gain:
    """Medians over requests that were made in pairs."""
    pairs = list(zip(before, after, strict=True))
    return Gain(
        share=statistics.median(one.vocoder / one.total for one in before),
        ratio=statistics.median(one.vocoder / other.vocoder for one, other in pairs),
        whole=statistics.median(one.total / other.total for one, other in pairs),
    )


def measure(torchs: Engine, onnxs: Engine, said: Sequence[str], rounds: int) -> Gain:
    """Both engines say the same, turn by turn; the first round is not counted."""
    timings: tuple[list[Timings], list[Timings]] = ([], [])
    for index in range(rounds + 1):
        for text in said:
            for engine, kept in zip((torchs, onnxs), timings, strict=True):
                spent = engine.synthesize(text).timings
                if index:
                    kept.append(spent)
    return gain(*timings)


def main(
    checkpoint: Annotated[str, typer.Option(help="What to load.")] = DEFAULT_CHECKPOINT,
    device: Annotated[str | None, typer.Option(help="Where to run.")] = None,
    backend: Annotated[str, typer.Option(help="onnx or tensorrt, which wants a card.")] = "onnx",
    precision: Annotated[str, typer.Option(help="Of both vocoders.")] = "fp32",
    rounds: Annotated[int, typer.Option(min=1, help="Requests a text and an engine.")] = 5,
    count: Annotated[int, typer.Option("--texts", min=1, help="Of the pinned ones.")] = 4,
) -> None:
    """Export, compare, and say what the vocoder's gain is worth."""
    from rich.console import Console

    both = [
        loading.load(
            checkpoint,
            dataclasses.replace(BASE, vocoder_backend=name, vocoder_precision=precision),
            device=device,
        )
        for name in ("torch", backend)
    ]
    said = [case.text for case in texts.choose(both[0].checkpoint.languages).cases[:count]]
    found = measure(both[0], both[1], said, rounds)
    Console().print(
        f"{both[1].evidence()['vocoder_backend'].observed}\n"
        f"vocoder {found.ratio:.2f}x as fast; it is {found.share:.1%} of a request, so the whole can gain "
        f"{found.possible:.3f}x (a free vocoder: {found.ceiling:.3f}x); measured {found.whole:.3f}x"
    )


if __name__ == "__main__":
    typer.run(main)
