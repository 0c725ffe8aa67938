"""Upstream's own `infer` beside the engine: same weights, words, clip and seed, interleaved in one process.

`nox -s study -- upstream [--checkpoint NAME] [--options TOGGLES] [--rounds N]`
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from engine.errors import UsageError
from engine.gate.data.files import write_atomically
from engine.gate.data.workloads import SENTENCES
from engine.options import Options
from engine.reference import trim
from engine.text import finish_reference
from tests.studies import ceilings, committed, costs, flops
from tests.studies.ratios import Ratio, ratio_of

SCHEMA_VERSION = 2


@dataclasses.dataclass(frozen=True)
class SideBySide:
    """What came out.

    Attributes:
        ratio: engine time / upstream time, with its interval over rounds.
        upstream_seconds: one a round; `engine_seconds` likewise.
        difference: relative L2 between the two waves where both took upstream's own steps; None where the
            toggles change the result.
        ceilings: FLOP/s that this machine reaches at best, by number format.
        share_of_ceiling: of the engine's median time, how much its products and convolutions would take if
            each ran at the ceiling of its format.
    """

    ratio: Ratio
    upstream_seconds: tuple[float, ...]
    engine_seconds: tuple[float, ...]
    audio_seconds: float
    difference: float | None
    ceilings: Mapping[str, float]
    share_of_ceiling: float


def compare(
    checkpoint: str, options: Options, *, rounds: int, sentence: str = "short", seed: int = 0
) -> SideBySide:
    """Time upstream's `infer_batch_process` with its defaults against `Engine.synthesize`.

    Each round runs both, in an order that alternates; one round before them warms up and does not count.

    Raises:
        UsageError: fewer than two rounds, or a voice with a duration table, whose words upstream cannot say.
    """
    import engine
    from engine import checkpoint as checkpoints

    found = checkpoints.find(checkpoint)
    if found.durations is not None:
        raise UsageError(
            f"{checkpoint}, whose text front end upstream does not have",
            "a checkpoint without a duration table",
            "Compare with seeded-base, or a published model",
        )
    text = next(one.text for one in SENTENCES if one.name == sentence)
    voice = next(iter(found.references.values()))
    upstream_says = _upstream(found, voice, text, seed)
    spent: dict[str, list[float]] = {"upstream": [], "engine": []}
    with engine.load(checkpoint, options, device="cpu") as tts:
        says: dict[str, Any] = {
            "upstream": upstream_says,
            "engine": lambda: tts.synthesize(text, voice, seed=seed).samples,
        }
        for number in track(range(rounds + 1), "rounds", console=Console(stderr=True)):
            waves = {}
            for side in sorted(says, reverse=bool(number % 2)):
                start = time.perf_counter()
                waves[side] = says[side]()
                spent[side].append(time.perf_counter() - start)
        todo = costs.work(flops.architecture(found), flops.sequences(tts, text, voice), options)
    rates = ceilings.measure("cpu").flops
    theirs, ours = (tuple(spent[side][1:]) for side in ("upstream", "engine"))
    same = options.only_lossless(Options())
    return SideBySide(
        ratio_of(ours, theirs),
        theirs,
        ours,
        len(waves["engine"]) / 24_000,
        _difference(waves) if same else None,
        rates,
        at_best(todo, rates) / float(np.median(ours)),
    )


def at_best(todo: costs.Work, rates: Mapping[str, float]) -> float:
    """Seconds of some work if all of it ran at the ceiling of its format."""
    return sum(count / rates[format] for (_, format), count in todo.flops_by.items())


def _upstream(found: Any, voice: Any, text: str, seed: int) -> Any:
    """Upstream's model and vocoder of a checkpoint, and a call of its own inference with its own defaults."""
    import torch

    from engine import loading, upstream

    model, vocos = loading.build(found)
    samples, rate = voice.read()
    # What `preprocess_ref_audio_text` does to clip and transcript; it is not timed, and needs pydub's ffmpeg.
    clip = torch.from_numpy(trim(samples, rate))[None]  # [1, n]
    words = finish_reference(voice.text).removesuffix(" ")  # `infer_batch_process` adds the last blank itself
    infer = upstream.module("f5_tts.infer.utils_infer").infer_batch_process

    def say() -> np.ndarray:
        torch.manual_seed(seed)
        made = infer((clip, rate), words, [text], model, vocos, progress=None, device="cpu")
        return np.asarray(next(made)[0], np.float32)

    return say


def _difference(waves: dict[str, np.ndarray]) -> float:
    theirs, ours = waves["upstream"], waves["engine"]
    if len(theirs) != len(ours):
        return float("inf")
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def main(
    checkpoint: Annotated[str, typer.Option(help="What both load.")] = "seeded-base",
    options: Annotated[str, typer.Option(help="Toggles of the engine.")] = "fast_cpu",
    rounds: Annotated[int, typer.Option(min=2, help="Pairs of calls.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Record to write.")] = None,
) -> None:
    """Print the ratio of times with its interval."""
    found = compare(checkpoint, Options.parse(options), rounds=rounds)
    ratio = found.ratio
    if out is not None:
        record = {
            **committed.provenance(SCHEMA_VERSION, checkpoint),
            "options": str(Options.parse(options)),
            **dataclasses.asdict(found),
        }
        write_atomically(out, json.dumps(record, indent=1) + "\n")
    Console().print(
        f"{checkpoint}, {options}, {rounds} rounds of {found.audio_seconds:.1f} s of audio: engine time / "
        f"upstream time = {ratio.ratio:.4f} [{ratio.low:.4f}, {ratio.high:.4f}], "
        f"{1 / ratio.ratio:.1f} times as fast as upstream's infer with its own defaults, "
        f"{found.share_of_ceiling:.0%} of this machine's ceiling"
    )


if __name__ == "__main__":
    typer.run(main)
