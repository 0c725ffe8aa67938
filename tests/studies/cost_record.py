"""The cost model's record: fitted on some lengths and toggles, checked on others, every pair written down.

The fastest round of each pair counts: the model is of the machine, not of what else ran on it. In every round
engines with different toggles speak texts of different lengths in a random order, so that a drift of the
machine falls on all of them alike. `tests.studies.costs` is fitted to a part of these times and predicts
the rest.

`nox -s study -- costs [--checkpoint NAME] [--out FILE] [--plot FILE]`
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from engine.checkpoint import DEFAULT_CHECKPOINT
from engine.gate.data.files import write_atomically
from engine.gate.data.workloads import SENTENCES
from engine.loading import load
from engine.options import Options
from tests.studies import ceilings, committed, cost_plot, costs, flops
from tests.studies.architecture import Architecture
from tests.studies.architecture import Sequence as Piece
from tests.studies.costs import Model

log = logging.getLogger(__name__)
SCHEMA_VERSION = 1
TOLERANCE = 0.15
"""Largest relative error that a prediction may have."""

TIMES_LONGER = 10
_SHORT, _MEDIUM, _LONG = (sentence.text for sentence in SENTENCES)
FITTED_TEXTS = {
    "greeting": "Good evening.",
    "short": _SHORT,
    "long": _LONG,
}
OTHER_TEXTS = {
    "medium": _MEDIUM,
    "short, ten times": " ".join([_SHORT] * TIMES_LONGER),
}
TEXTS = {**FITTED_TEXTS, **OTHER_TEXTS}

PLAIN = "reference_cache=on nfe=8"
FITTED_SETS = (
    PLAIN,
    f"{PLAIN} hoist=on",
    f"{PLAIN} hoist=on int8=dynamic",
    f"{PLAIN} cfg_strength=0",
    f"{PLAIN} guidance=separate",
)
OTHER_SETS = (
    "reference_cache=on nfe=7 schedule=epss hoist=on",
    "reference_cache=on nfe=16 hoist=on",
    f"{PLAIN} int8=dynamic",
    f"{PLAIN} hoist=on guidance=reuse",
    "reference_cache=on nfe=6 solver=midpoint guidance=interval",
)
SETS = (*FITTED_SETS, *OTHER_SETS)
GROWN = FITTED_SETS[1]
"""Whose growth with the frames is fitted and whose long text is compared with the short one."""


@dataclasses.dataclass(frozen=True)
class Taken:
    """One set of toggles and one text: what it is made of, and its rounds."""

    options: str
    text: str
    pieces: tuple[Piece, ...]
    audio_seconds: float
    seconds: tuple[float, ...]
    sampling: tuple[float, ...]

    @property
    def fastest(self) -> float:
        """Seconds of the call that was disturbed least; the ceilings are the best of their repeats too."""
        return min(self.seconds)

    @property
    def outside(self) -> float:
        """The share of that call that is not the transformer."""
        return 1 - self.sampling[self.seconds.index(self.fastest)] / self.fastest

    @property
    def frames(self) -> int:
        """Of all pieces together."""
        return sum(piece.frames for piece in self.pieces)

    @property
    def role(self) -> str:
        """What the model knew of it."""
        known = self.options in FITTED_SETS, self.text in FITTED_TEXTS
        return {
            (True, True): "fitted",
            (True, False): "other length",
            (False, True): "other toggles",
            (False, False): "other length and toggles",
        }[known]


def measure(checkpoint: str, rounds: int, budget: float, clock: Callable[[], float]) -> list[Taken]:
    """Speak every text with every set of toggles; the first round is warm-up and does not count.

    Args:
        checkpoint: a name.
        rounds: that count, at most.
        budget: seconds after which no further round is begun, once one was counted.
        clock: seconds that only grow.

    Raises:
        EngineError: an engine does not load or speak.
    """
    engines = {options: load(checkpoint, Options.parse(options)) for options in SETS}
    spoken: dict[tuple[str, str], list[Any]] = {(one, name): [] for one in SETS for name in TEXTS}
    start, rng = clock(), np.random.default_rng(0)
    for number in range(rounds + 1):
        if number > 1 and clock() - start > budget:
            break
        log.info("round %d of %d%s", number, rounds, "" if number else " (warm-up)")
        for index in rng.permutation(len(spoken)):
            options, name = list(spoken)[index]
            audio = engines[options].synthesize(TEXTS[name])
            if number:
                spoken[options, name].append((audio.timings.total, audio.timings.sampling, audio.seconds))
    found = []
    for (options, name), heard in spoken.items():
        seconds, sampling, lengths = zip(*heard, strict=True)
        pieces = flops.sequences(engines[options], TEXTS[name])
        found.append(Taken(options, name, tuple(pieces), lengths[0], seconds, sampling))
    return found


def record(taken: Sequence[Taken], shape: Architecture, rates: ceilings.Ceilings) -> dict[str, Any]:
    """Fit, predict, and say what was found; pure.

    Raises:
        UsageError: too few calls to fit.
    """
    works = [costs.work(shape, one.pieces, Options.parse(one.options)) for one in taken]
    known = [(todo, one.fastest) for todo, one in zip(works, taken, strict=True) if one.role == "fitted"]
    model = costs.calibrate(known, rates)
    rows = [_row(one, todo, model) for one, todo in zip(taken, works, strict=True)]
    return {
        "ceilings": dataclasses.asdict(rates),
        "weights": dict(model.weights),
        "shares_of_ceiling": {
            name: 1 / model.weights[name] for name in (*costs.PARTS, "traffic") if model.weights[name]
        },
        "tolerance": TOLERANCE,
        "within": {role: _within(rows, role) for role in dict.fromkeys(row["role"] for row in rows)},
        "all_within": all(abs(row["error"]) <= TOLERANCE for row in rows),
        "growth": _growth(taken),
        "longer": _longer(taken),
        "rows": rows,
    }


def _row(one: Taken, todo: costs.Work, model: Model) -> dict[str, Any]:
    predicted = model.seconds(todo)
    top = model.ceilings.flops[model.ceilings.fastest]
    return {
        "options": one.options,
        "text": one.text,
        "role": one.role,
        "pieces": len(one.pieces),
        "frames": one.frames,
        "audio_seconds": one.audio_seconds,
        "seconds": one.fastest,
        "cv": float(np.std(one.seconds, ddof=1) / np.mean(one.seconds)) if len(one.seconds) > 1 else None,
        "rtf": one.fastest / one.audio_seconds,
        "predicted_seconds": predicted,
        "predicted_rtf": predicted / one.audio_seconds,
        "error": predicted / one.fastest - 1,
        "flops": todo.flops,
        "traffic": todo.traffic,
        "intensity": todo.intensity,
        "share_of_fastest_ceiling": todo.flops / top / one.fastest,
        "outside_transformer": one.outside,
        "rounds": list(one.seconds),
    }


def _within(rows: Sequence[Mapping[str, Any]], role: str) -> dict[str, Any]:
    errors = [abs(row["error"]) for row in rows if row["role"] == role]
    return {
        "pairs": len(errors),
        "within": sum(error <= TOLERANCE for error in errors),
        "median_error": float(np.median(errors)),
        "worst_error": max(errors),
    }


def _growth(taken: Sequence[Taken]) -> dict[str, Any]:
    """a + b * frames + c * frames^2 of the texts that are one piece."""
    single = [one for one in taken if one.options == GROWN and len(one.pieces) == 1]
    found = costs.fit([one.frames for one in single], [one.fastest for one in single])
    return {"options": GROWN, "frames": [one.frames for one in single], **found._asdict()}


def _longer(taken: Sequence[Taken]) -> dict[str, Any]:
    """What a text ten times as long costs."""
    by_text = {one.text: one for one in taken if one.options == GROWN}
    short, longer = by_text["short"], by_text["short, ten times"]
    return {
        "options": GROWN,
        "times_text": TIMES_LONGER,
        "times_seconds": longer.fastest / short.fastest,
        "times_audio": longer.audio_seconds / short.audio_seconds,
    }


def main(
    checkpoint: Annotated[str, typer.Option(help="What to load.")] = DEFAULT_CHECKPOINT,
    rounds: Annotated[int, typer.Option(min=1, help="Calls of each pair that count, at most.")] = 5,
    budget: Annotated[float, typer.Option(help="Seconds after which no further round is begun.")] = 200.0,
    out: Annotated[Path, typer.Option(help="Record to write.")] = Path("build/costs.json"),
    picture: Annotated[Path | None, typer.Option("--plot", help="PNG to write.")] = None,
) -> None:
    """Fit the cost model on this machine, and check it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    rates = ceilings.measure()
    log.info("ceilings: %s", rates)
    taken = measure(checkpoint, rounds, budget, time.monotonic)
    shape = flops.architecture(load(checkpoint).checkpoint)
    written = {
        **committed.provenance(SCHEMA_VERSION, checkpoint),
        "rounds": min(len(one.seconds) for one in taken),
        **record(taken, shape, rates),
    }
    write_atomically(out, json.dumps(written, indent=1) + "\n")
    if picture is not None:
        cost_plot.plot(written, picture)
    for role, found in written["within"].items():
        log.info(
            "%s: %d of %d within 15 %%, worst %.1f %%",
            role,
            found["within"],
            found["pairs"],
            100 * found["worst_error"],
        )


if __name__ == "__main__":
    typer.run(main)
