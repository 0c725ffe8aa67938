"""The ablation ladder: one toggle at a time on top of the last, each rung in processes of its own.

Every block runs each rung once, in a random order, so that a drift of the machine falls on all of them alike.
A block gives one log-ratio of process medians for each rung and the one below it; a Student-t interval over
blocks says what the toggle brought. A gain has one owner: the rung where its toggle appears. A toggle that is
tried and not kept is measured on top of the same rung, and the ladder goes on without it. Beside the speed
stands what it did to the sound (`engine.gate.quality.speech`).

`nox -s study -- ladder [--checkpoint NAME] [--blocks N] [--out FILE] [--plot FILE]`
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
from engine.errors import UsageError
from engine.gate.data.files import write_atomically
from engine.gate.data.samples import Call
from engine.gate.data.workloads import SENTENCES, Sentence
from engine.gate.measure import process, revisions
from engine.gate.measure.process import Material, Target
from engine.gate.quality import speech as sound
from engine.gate.quality.speech import Sound
from engine.gate.scene import find_material
from engine.gate.stats.intervals import mean_interval
from engine.options import Options
from tests.studies import committed, ladder_report

log = logging.getLogger(__name__)
SCHEMA_VERSION = 2
LEVEL = 0.95


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
class Ratio:
    """Time after / time before, with its 95 % interval over blocks (Student-t on logarithms)."""

    ratio: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Taken:
    """One process of one rung: steady seconds, load seconds, peak memory, and what was proven."""

    seconds: float
    audio_seconds: float
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


def ratio_of(after: Sequence[float], before: Sequence[float]) -> Ratio:
    """The ratio of paired times, one pair a block.

    Raises:
        UsageError: fewer than two blocks, which have no interval.
    """
    if len(after) < 2 or len(after) != len(before):
        raise UsageError(f"{len(after)} and {len(before)} blocks", "two or more, in pairs", "Measure more")
    logs = np.log(np.asarray(after) / np.asarray(before))
    interval = mean_interval(logs, LEVEL)
    return Ratio(*(float(np.exp(value)) for value in (interval.mean, interval.low, interval.high)))


def climb(
    rungs: Sequence[Step],
    sentences: Sequence[Sentence],
    material: Material,
    outputs: Path,
    *,
    blocks: int,
    calls: int,
    seed: int,
) -> dict[str, list[Taken]]:
    """Measure every rung once a block, in random order. Waves are kept in `outputs` by their hash.

    Raises:
        UsageError: a rung does not load or speak.
    """
    root = revisions.checkout()
    here, dirty = revisions.describe(root)
    rng = np.random.default_rng(seed)
    taken: dict[str, list[Taken]] = {rung.name: [] for rung in rungs}
    for block in range(blocks):
        for index in rng.permutation(len(rungs)):
            name, options = rungs[index].name, rungs[index].options
            log.info("block %d of %d: %s", block + 1, blocks, name)
            target = Target(root, here, dirty, "" if options == Options() else str(options))
            taken[name].append(_process(target, material, sentences, calls, outputs))
    return taken


def _process(
    target: Target, material: Material, sentences: Sequence[Sentence], calls: int, outputs: Path
) -> Taken:
    """One process of one rung; the first call of each sentence is warm-up and does not count."""
    with (
        process.opener({"candidate": target}, material, outputs=outputs) as open_worker,
        open_worker("candidate") as handle,
    ):
        spoken = [[handle.call(sentence) for _ in range(1 + calls)] for sentence in sentences]
        end = handle.finish()
        return _taken(spoken, handle.described["load_seconds"], end)


def _taken(spoken: Sequence[Sequence[Call]], load_seconds: float, end: Mapping[str, Any]) -> Taken:
    steady = [float(np.median([call.seconds for call in calls[1:]])) for calls in spoken]
    return Taken(
        seconds=sum(steady),
        audio_seconds=sum(calls[0].audio_seconds for calls in spoken),
        load_seconds=load_seconds,
        peak_mb=end["peak_device_mb"] or end["peak_host_mb"],
        output=spoken[-1][-1].output,
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
    rungs: Sequence[Step], taken: Mapping[str, Sequence[Taken]], heard: Mapping[str, Sound], outputs: Path
) -> list[dict[str, Any]]:
    """The ladder as a table: what each rung added, its gain, the gain so far, memory, and its sound."""
    sets = {rung.name: rung.options for rung in rungs}
    bottom = taken[rungs[0].name]
    found = []
    for rung in rungs:
        mine, base, under = taken[rung.name], taken[rung.below], sets[rung.below]
        seconds, before, start = ([one.seconds for one in side] for side in (mine, base, bottom))
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
                "rtf": float(np.median([one.seconds / one.audio_seconds for one in mine])),
                "against_below": dataclasses.asdict(ratio_of(seconds, before)),
                "against_reference": dataclasses.asdict(ratio_of(seconds, start)),
                "load_seconds": float(np.median([one.load_seconds for one in mine])),
                "peak_mb": max(one.peak_mb for one in mine),
                "mel_l2_to_reference": _moved(outputs, bottom[0].output, mine[0].output),
                "sound": dataclasses.asdict(heard[rung.name]) if rung.name in heard else None,
                "unproven": sorted({toggle for one in mine for toggle in one.unproven}),
                "seconds": seconds,
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
    blocks: Annotated[int, typer.Option(min=2, help="Each rung runs once a block.")] = 5,
    calls: Annotated[int, typer.Option(min=1, help="Steady calls of each sentence in a process.")] = 3,
    sentences: Annotated[str, typer.Option(help="Pinned sentences, separated by commas.")] = "short,medium",
    seed: Annotated[int, typer.Option(help="Of the order of the rungs.")] = 0,
    quality: Annotated[
        bool, typer.Option(help="Let each rung speak the pinned texts, and judge them.")
    ] = True,
    out: Annotated[Path, typer.Option(help="Record to write.")] = Path("build/ladder.json"),
    picture: Annotated[Path | None, typer.Option("--plot", help="PNG to write.")] = None,
) -> None:
    """Measure the ladder on this machine."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    rungs, material = cumulative(RUNGS), find_material(checkpoint)
    wanted = sentences.split(",")
    chosen = [sentence for sentence in SENTENCES if sentence.name in wanted]
    if len(chosen) != len(wanted):
        raise UsageError(
            f"sentences {sentences!r}", f"some of {', '.join(s.name for s in SENTENCES)}", "Correct it"
        )
    with tempfile.TemporaryDirectory(prefix="ishowtts-ladder-") as scratch:
        taken = climb(rungs, chosen, material, Path(scratch), blocks=blocks, calls=calls, seed=seed)
        heard = hear(rungs, checkpoint) if quality else {}
        ladder = {
            **committed.provenance(SCHEMA_VERSION, material.name),
            "sentences": wanted,
            "blocks": blocks,
            "calls": calls,
            "level": LEVEL,
            "rows": rows(rungs, taken, heard, Path(scratch)),
        }
    write_atomically(out, json.dumps(ladder, indent=1) + "\n")
    write_atomically(out.with_suffix(".md"), ladder_report.markdown(ladder))
    if picture is not None:
        ladder_report.plot(ladder, picture)
    log.info("\n%s", ladder_report.markdown(ladder))


if __name__ == "__main__":
    typer.run(main)
