"""What one request leaves unused of a device, and what a batch of equal requests brings: shown together.

A request that keeps the device busy leaves nothing to gain, one that leaves it idle leaves much; a gain from
batching without the share at batch 1 says nothing. `nox -s study -- batches --help`
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from engine.checkpoint import DEFAULT_CHECKPOINT
from engine.errors import UsageError
from engine.gate.data.files import write_atomically
from engine.gate.data.workloads import SENTENCES
from engine.options import Options
from tests.studies import ceilings, committed, costs, flops
from tests.studies.ratios import Ratio, ratio_of

SIZES = (1, 2, 4, 8)
TOGGLES = "fast_cpu"
SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Batched:
    """Requests of equal length that were handed over together.

    Attributes:
        size: how many.
        seconds: wall time until all were there, one a round.
        flops: of all of them.
    """

    size: int
    seconds: tuple[float, ...]
    flops: float

    @property
    def median(self) -> float:
        """Seconds of the median round."""
        return float(np.median(self.seconds))

    @property
    def cv(self) -> float:
        """Standard deviation (ddof 1) of the rounds / their mean."""
        return float(np.std(self.seconds, ddof=1) / np.mean(self.seconds))


@dataclasses.dataclass(frozen=True)
class BatchGain:
    """What came out.

    Attributes:
        device, options: as the engine had them.
        audio_seconds: of one request.
        rates: what the device reaches at best.
        sizes: by size of the batch, 1 among them.
    """

    device: str
    options: Options
    audio_seconds: float
    rates: ceilings.Ceilings
    sizes: Mapping[int, Batched]

    @property
    def rtf(self) -> float:
        """Seconds of computing for a second of audio, one request at a time."""
        return self.sizes[1].median / self.audio_seconds

    def share(self, size: int) -> float:
        """Of the highest rate of this device, in any number format, that a batch of `size` reaches."""
        one = self.sizes[size]
        return one.flops / one.median / self.rates.flops[self.rates.fastest]

    def time(self, size: int) -> Ratio:
        """Time of the batch / time of one request, round by round, with its 95 % interval."""
        return ratio_of(self.sizes[size].seconds, self.sizes[1].seconds)

    def rows(self) -> list[dict[str, Any]]:
        """One a size; `throughput` is requests a second against one at a time."""
        return [
            {
                "size": size,
                "seconds": list(one.seconds),
                "cv": one.cv,
                "time": dataclasses.asdict(self.time(size)),
                "throughput": size / self.time(size).ratio,
                "share_of_ceiling": self.share(size),
            }
            for size, one in sorted(self.sizes.items())
        ]


def measure(
    checkpoint: str,
    options: Options,
    *,
    device: str | None = None,
    sizes: Sequence[int] = SIZES,
    rounds: int = 7,
    sentence: str = "short",
    seed: int = 0,
) -> BatchGain:
    """Say the same text alone and in batches of each size, every size once a round, in random order.

    One round before them warms up and does not count. The requests of a batch differ by their seed only, so
    that nothing is padded: what is seen is the batch, not the padding.

    Raises:
        UsageError: fewer than two rounds, or sizes without 1.
        EngineError: the engine does not load or speak.
    """
    import engine

    if rounds < 2 or 1 not in sizes or min(sizes) < 1:
        raise UsageError(
            f"{rounds} rounds of sizes {list(sizes)}",
            "two rounds or more, and 1 among the sizes",
            "Ask for it",
        )
    text = next(one.text for one in SENTENCES if one.name == sentence)
    order = np.random.default_rng(seed)
    spent: dict[int, list[float]] = {size: [] for size in sizes}
    wanted = dataclasses.replace(options, batch=max(sizes))
    with engine.load(checkpoint, wanted, device=device) as tts:
        pieces = flops.sequences(tts, text)
        todo = costs.work(flops.architecture(tts.checkpoint), pieces, wanted)
        if wanted.buckets:
            tts.warmup()
        for number in range(rounds + 1):
            for size in order.permutation(sizes).tolist():
                requests = [engine.Request(text, seed=index) for index in range(size)]
                start = time.perf_counter()
                said = tts.synthesize_batch(requests)  # the samples are on the host when it returns
                if number:
                    spent[size].append(time.perf_counter() - start)
        where = tts.device
    return BatchGain(
        where,
        wanted,
        said[0].seconds,
        ceilings.measure(where),
        {size: Batched(size, tuple(seconds), size * todo.flops) for size, seconds in spent.items()},
    )


def table(found: BatchGain) -> Any:
    """The rows for people."""
    from rich.table import Table

    fastest = found.rates.fastest
    shown = Table(
        title=f"{found.options}\non {found.device}, {found.audio_seconds:.1f} s of audio a request, "
        f"ceiling {found.rates.flops[fastest] / 1e12:.3g} TFLOP/s ({fastest})"
    )
    for name in ("batch", "seconds", "CV", "time / one request", "throughput", "of the ceiling"):
        shown.add_column(name, justify="right")
    for row in found.rows():
        ratio = row["time"]
        shown.add_row(
            str(row["size"]),
            f"{np.median(row['seconds']):.3f}",
            f"{row['cv']:.1%}",
            f"x {ratio['ratio']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]",
            f"x {row['throughput']:.2f}",
            f"{row['share_of_ceiling']:.1%}",
        )
    return shown


def main(
    checkpoint: Annotated[str, typer.Option(help="What to load.")] = DEFAULT_CHECKPOINT,
    options: Annotated[str, typer.Option(help="Toggles; `batch` is set by the sizes.")] = TOGGLES,
    device: Annotated[str | None, typer.Option(help="Where to run.")] = None,
    rounds: Annotated[int, typer.Option(min=2, help="That count.")] = 7,
    out: Annotated[Path, typer.Option(help="Record to write.")] = Path("build/batching.json"),
) -> None:
    """Measure batches of 1, 2, 4 and 8 requests beside each other, print the table and write the record."""
    from rich.console import Console

    found = measure(checkpoint, Options.parse(options), device=device, rounds=rounds)
    written = {
        **committed.provenance(SCHEMA_VERSION, checkpoint),
        "device": found.device,
        "options": str(found.options),
        "audio_seconds": found.audio_seconds,
        "rtf": found.rtf,
        "ceilings": dataclasses.asdict(found.rates),
        "rows": found.rows(),
    }
    write_atomically(out, json.dumps(written, indent=1) + "\n")
    Console().print(table(found))


if __name__ == "__main__":
    typer.run(main)
