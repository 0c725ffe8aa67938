"""Which step counts, solvers and number formats are worth having: speed beside quality, measured together.

    nox -s study -- pareto [--checkpoint NAME] [--rounds N] [--out FILE]

Times are taken in turn in one process (`tests.studies.interleaved`); then every set speaks the pinned quick
texts from the same noise, and the judges score each clip. A set is on the front when no other is both faster
and better. Few clips rank nothing finely: `loss` gives the interval that belongs to a difference.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from engine.checkpoint import DEFAULT_CHECKPOINT, find
from engine.errors import UsageError
from engine.gate.data import texts
from engine.gate.data.files import write_atomically
from engine.gate.data.scores import Scores
from engine.gate.quality import speech as sound
from engine.gate.stats.paired import Estimate, estimate
from engine.options import Options
from tests.studies import committed, interleaved
from tests.studies.interleaved import Timed

log = logging.getLogger(__name__)
SCHEMA_VERSION = 1
REFERENCE = "nfe=32"
EVERY = "reference_cache=on hoist=on"
"""What every set has, as the fast presets do: it changes no result."""
SETS = (
    REFERENCE,
    "nfe=16",
    "nfe=8",
    "nfe=8 schedule=searched",
    "nfe=7",
    "nfe=7 schedule=epss",
    "nfe=7 schedule=searched",
    "nfe=5 schedule=epss",
    "nfe=5 schedule=searched",
    "nfe=4",
    "nfe=4 schedule=searched",
    "nfe=16 solver=midpoint",
    "nfe=8 solver=midpoint",
    "nfe=16 solver=heun",
    "nfe=8 solver=heun",
    "nfe=16 int8=dynamic",
    "nfe=7 schedule=epss int8=dynamic",
    "nfe=7 schedule=epss int8=fused attention=fused",
    *(f"nfe={steps} schedule=searched guidance=searched" for steps in (6, 5, 4)),
    *(f"nfe={steps} schedule=searched guidance=searched int8=fused attention=fused" for steps in (6, 5, 4)),
)
"""What is tried: step counts by time grid, by solver and by number format."""

TIMED = ("hello", "kitchen")
"""The texts that are timed; the judges hear more of them, because single clips are noisy."""

Judge = Literal["cer", "similarity", "mos"]
WORSE: Mapping[Judge, float] = {"cer": 1.0, "similarity": -1.0, "mos": -1.0}
"""The sign that makes a larger score a worse one."""


def front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names that no other dominates, cheapest first; both coordinates are better low.

    One point dominates another when it is nowhere worse and somewhere better; equal points stay together.

    Raises:
        UsageError: no points, or a coordinate that is not a number.
    """
    if not points or any(value != value for point in points.values() for value in point):
        raise UsageError(f"points {dict(points)}", "numbers, one point at least", "Measure again")
    return sorted(
        (
            name
            for name, (cost, loss) in points.items()
            if not any(one[0] <= cost and one[1] <= loss and one != (cost, loss) for one in points.values())
        ),
        key=lambda name: points[name],
    )


def loss(row: Mapping[str, Any], reference: Mapping[str, Any], judge: Judge) -> Estimate:
    """How much worse than the reference, clip by clip (worse is positive), with its bounds.

    Raises:
        UsageError: no clip that the judge scored on both sides.
    """
    pairs = [
        WORSE[judge] * (clip[judge] - before[judge])
        for name, clip in row["clips"].items()
        if clip[judge] is not None and (before := reference["clips"][name])[judge] is not None
    ]
    return estimate(pairs)


def times(sets: Mapping[str, Options], timed: Mapping[str, Timed]) -> list[dict[str, Any]]:
    """The sets as a table: speed against the first of them, and every call. Nobody has listened yet."""
    first = timed[next(iter(sets))]
    return [
        {
            "name": name,
            "options": str(options),
            "steps": options.steps,
            "rtf": timed[name].rtf,
            "against_reference": dataclasses.asdict(timed[name].against(first)),
            "calls": {case: [round(one, 5) for one in calls] for case, calls in timed[name].calls.items()},
            "audio": {case: round(seconds, 4) for case, seconds in timed[name].audio.items()},
        }
        for name, options in sets.items()
    ]


def heard(rows: Sequence[Mapping[str, Any]], spoken: sound.Spoken) -> list[dict[str, Any]]:
    """The table with what the judges said of each set."""
    return [
        {
            **row,
            "sound": dataclasses.asdict(sound.mean(spoken.scores[row["name"]])),
            "clips": _clips(spoken.cases, spoken.scores[row["name"]]),
        }
        for row in rows
    ]


def _clips(cases: Sequence[texts.Case], scores: Sequence[Scores]) -> dict[str, dict[str, float | None]]:
    """By text, what each judge said of the clip; None where it could not."""
    return {
        case.name: {
            "cer": None if one.words is None else round(one.words.cer, 4),
            "similarity": None if one.similarity is None else round(one.similarity, 4),
            "mos": None if one.mos is None else round(one.mos.ovrl, 3),
        }
        for case, one in zip(cases, scores, strict=True)
    }


def measure(checkpoint: str, rounds: int, seed: int) -> dict[str, Any]:
    """The record of the times alone, on this machine."""
    sets = {name: Options.parse(f"{EVERY} {name}") for name in SETS}
    log.info("timing %d sets, %d rounds", len(sets), rounds)
    timed = interleaved.measure(sets, checkpoint, TIMED, rounds=rounds, seed=seed)
    return {
        **committed.provenance(SCHEMA_VERSION, find(checkpoint).name),
        "timed": list(TIMED),
        "judged": list(texts.QUICK),
        "rounds": rounds,
        "rows": times(sets, timed),
    }


def main(
    checkpoint: Annotated[str, typer.Option(help="What to load.")] = DEFAULT_CHECKPOINT,
    rounds: Annotated[int, typer.Option(min=2, help="That count, after one that warms up.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the order within a round.")] = 0,
    out: Annotated[Path, typer.Option(help="Record to write.")] = Path("build/pareto.json"),
    kept: Annotated[
        Path | None, typer.Option("--times", help="Record whose times are kept: only the judges listen.")
    ] = None,
) -> None:
    """Measure every set on this machine, then let the judges listen; times are written before that."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if kept is None:
        record = measure(checkpoint, rounds, seed)
        write_atomically(out, json.dumps(record, indent=1) + "\n")
    else:
        record = dict(committed.read(kept.stem, kept.parent).content)
    sets = {row["name"]: Options.parse(row["options"]) for row in record["rows"]}
    log.info("speaking %d texts each, and judging", len(record["judged"]))
    spoken = sound.speak(sets, record["checkpoint"], record["judged"])
    record["rows"] = heard(record["rows"], spoken)
    write_atomically(out, json.dumps(record, indent=1) + "\n")
    log.info("%s", out)


if __name__ == "__main__":
    typer.run(main)
