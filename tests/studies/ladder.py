"""The ablation ladder: one toggle at a time on top of the last, timed live.

All rungs are loaded in one process and speak in turn, in a random order within each round, so that a drift
of the machine falls on all of them alike. A round gives one log-ratio for each rung and the one below it; a
Student-t interval over rounds says what the toggle brought. A gain has one owner: the rung where its toggle
appears. A toggle that is tried and not kept is measured on top of the same rung, and the ladder goes on
without it. Memory, the start and proofs come from a process for each rung, and beside the speed stands what
it did to the sound (`engine.gate.quality.speech`).

`nox -s study -- ladder [--checkpoint NAME] [--rounds N] [--out FILE] [--plot FILE]`
"""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from engine.checkpoint import DEFAULT_CHECKPOINT
from engine.gate.data.files import write_atomically
from engine.gate.data.samples import Call
from engine.gate.data.workloads import SENTENCES
from engine.gate.measure import process, revisions
from engine.gate.measure.process import Material, Target
from engine.gate.quality import speech as sound
from engine.gate.quality.speech import Sound
from engine.gate.scene import find_material
from engine.options import Options
from tests.studies import committed, interleaved, ladder_report
from tests.studies.interleaved import Timed
from tests.studies.ratios import LEVEL

log = logging.getLogger(__name__)
SCHEMA_VERSION = 3
TIMED = ("hello", "kitchen")
"""Pinned texts that are timed, live: every rung in every round, in random order."""
SENTENCE = next(sentence for sentence in SENTENCES if sentence.name == "short")


class Rung(NamedTuple):
    """A name, what it adds to the toggles of the rung below, and whether the next rung stands on it."""

    name: str
    adds: str
    stays: bool = True


class Step(NamedTuple):
    """A rung with its whole set of toggles, and the name of the rung below it."""

    name: str
    options: Options
    below: str
    stays: bool


RUNGS = (
    Rung("reference", ""),
    Rung("reference cache", "reference_cache=on"),
    Rung("hoisted embeddings", "hoist=on"),
    Rung("guidance apart", "guidance=separate", stays=False),
    Rung("attention by definition", "attention=math", stays=False),
    Rung("buckets", "buckets=on", stays=False),
    Rung("compiled", "compile=default", stays=False),
    Rung("fp32 linears by oneDNN", "linears=onednn", stays=False),
    Rung("bf16 transformer", "precision=bf16", stays=False),
    Rung("int8 products", "int8=dynamic", stays=False),
    Rung("7 pruned steps", "nfe=7 schedule=epss", stays=False),
    Rung("guidance reused", "nfe=7 schedule=epss guidance=reuse", stays=False),
    Rung("guidance in an interval", "nfe=7 schedule=epss guidance=interval", stays=False),
    Rung("8 evaluations by midpoint", "nfe=8 schedule=sway solver=midpoint", stays=False),
    Rung("4 searched steps", "nfe=4 schedule=searched"),
    Rung("each guided by its own strength", "guidance=searched"),
    Rung("fused attention", "attention=fused"),
    Rung("fused int8", "int8=fused"),
    Rung("vocoder by ONNX Runtime", "vocoder_backend=onnx", stays=False),
)
"""Which of them stay is decided by what the ladder showed; those that do are `Options.fast_cpu()` where the
fused kernels can be built."""


@dataclasses.dataclass(frozen=True)
class Taken:
    """A process of one rung: load seconds, peak memory, the wave of its sentence, and what was not proven."""

    load_seconds: float
    peak_mb: float
    output: str
    unproven: tuple[str, ...]


def cumulative(rungs: Sequence[Rung]) -> list[Step]:
    """Each rung with its whole set of toggles; a later word overrides an earlier one.

    Raises:
        OptionsError: a rung spells toggles that do not exist or do not fit together.
    """
    steps: list[Step] = []
    words, below = "", rungs[0].name
    for rung in rungs:
        options = Options.parse(f"{words} {rung.adds}")
        steps.append(Step(rung.name, options, below, rung.stays))
        if rung.stays:
            words, below = f"{words} {rung.adds}", rung.name
    return steps


def weigh(rungs: Sequence[Step], material: Material, outputs: Path) -> dict[str, Taken]:
    """What needs a process of its own: memory, the start, and proofs. Waves go into `outputs` by their hash.

    Raises:
        UsageError: a rung does not load or speak.
    """
    root = revisions.checkout()
    here, dirty = revisions.describe(root)
    taken = {}
    for number, rung in enumerate(rungs, 1):
        log.info("process %d of %d: %s", number, len(rungs), rung.name)
        target = Target(root, here, dirty, "" if rung.options == Options() else str(rung.options))
        with (
            process.opener({"candidate": target}, material, outputs=outputs) as open_worker,
            open_worker("candidate") as handle,
        ):
            spoken = [handle.call(SENTENCE) for _ in range(2)]
            taken[rung.name] = _taken(spoken, handle.described["load_seconds"], handle.finish())
    return taken


def _taken(spoken: Sequence[Call], load_seconds: float, end: Mapping[str, Any]) -> Taken:
    return Taken(
        load_seconds=load_seconds,
        peak_mb=end["peak_device_mb"] or end["peak_host_mb"],
        output=spoken[-1].output,
        unproven=tuple(name for name, (proven, _) in end["evidence"].items() if proven is False),
    )


def hear(rungs: Sequence[Step], checkpoint: str) -> dict[str, Sound]:
    """What each rung sounds like."""
    spoken = sound.speak(
        {rung.name: rung.options for rung in rungs},
        checkpoint,
        report=lambda doing, done, total: log.info("%s: %d of %d", doing, done, total),
    )
    return {name: sound.mean(scores) for name, scores in spoken.scores.items()}


def rows(
    rungs: Sequence[Step],
    timed: Mapping[str, Timed],
    taken: Mapping[str, Taken],
    heard: Mapping[str, Sound],
    outputs: Path,
) -> list[dict[str, Any]]:
    """The ladder as a table: what each rung added, its gain, the gain so far, memory, and its sound."""
    sets, bottom = {rung.name: rung.options for rung in rungs}, rungs[0].name
    found = []
    for rung in rungs:
        mine, under = taken[rung.name], sets[rung.below]
        added = {
            key: value for key, value in rung.options.changed().items() if under.changed().get(key) != value
        }
        found.append(
            {
                "rung": rung.name,
                "below": rung.below,
                "stays": rung.stays,
                "added": added,
                "lossless": rung.options.only_lossless(under),
                "rtf": timed[rung.name].rtf,
                "against_below": dataclasses.asdict(timed[rung.name].against(timed[rung.below])),
                "against_reference": dataclasses.asdict(timed[rung.name].against(timed[bottom])),
                "load_seconds": mine.load_seconds,
                "peak_mb": mine.peak_mb,
                "mel_l2_to_reference": _moved(outputs, taken[bottom].output, mine.output),
                "sound": dataclasses.asdict(heard[rung.name]) if rung.name in heard else None,
                "unproven": sorted(mine.unproven),
                "seconds": timed[rung.name].rounds,
            }
        )
    return found


def _moved(outputs: Path, before: str, after: str) -> float | None:
    """Relative mel L2 between two kept waves of the same noise; None where their lengths differ."""
    from engine.gate.quality.judges.distance import distances

    old, new = (np.fromfile(outputs / f"{output}.f32", np.float32) for output in (before, after))
    return float(distances(old, new).mel_l2) if len(old) == len(new) else None


def main(
    checkpoint: Annotated[str, typer.Option(help="What to load.")] = DEFAULT_CHECKPOINT,
    rounds: Annotated[int, typer.Option(min=2, help="Each rung speaks once a round.")] = 12,
    seed: Annotated[int, typer.Option(help="Of the order within a round.")] = 0,
    quality: Annotated[
        bool, typer.Option(help="Let each rung speak the pinned texts, and judge them.")
    ] = True,
    out: Annotated[Path, typer.Option(help="Record to write.")] = Path("build/ladder.json"),
    picture: Annotated[Path | None, typer.Option("--plot", help="PNG to write.")] = None,
) -> None:
    """Measure the ladder here: times in turn in one process, the rest in processes of their own."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    rungs, material = cumulative(RUNGS), find_material(checkpoint)
    with tempfile.TemporaryDirectory(prefix="ishowtts-ladder-") as scratch:
        # First: a process inherits the peak memory of the one that it came from, which will be large.
        taken = weigh(rungs, material, Path(scratch))
        log.info("timing %d rungs, %d rounds", len(rungs), rounds)
        timed = interleaved.measure(
            {rung.name: rung.options for rung in rungs}, checkpoint, TIMED, rounds=rounds, seed=seed
        )
        heard = hear(rungs, checkpoint) if quality else {}
        ladder = {
            **committed.provenance(SCHEMA_VERSION, material.name),
            "timed": TIMED,
            "rounds": rounds,
            "level": LEVEL,
            "rows": rows(rungs, timed, taken, heard, Path(scratch)),
        }
    write_atomically(out, json.dumps(ladder, indent=1) + "\n")
    write_atomically(out.with_suffix(".md"), ladder_report.markdown(ladder))
    if picture is not None:
        ladder_report.plot(ladder, picture)
    log.info("\n%s", ladder_report.markdown(ladder))


if __name__ == "__main__":
    typer.run(main)
