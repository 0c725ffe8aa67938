"""Search for few guided steps: when they lie, which of them are guided, and how strongly, all together.

A step without guidance costs half. For each number of steps all choices of guided steps are tried on the
searched grid, and the best choice of each size is polished, one time or one strength after the other. Of
the plans that come as near to the flow's own path as upstream's seven pruned steps do, the cheapest is kept;
where none does, the nearest. What is reported comes from texts that the search did not see.

`nox -s study -- plans [--checkpoint NAME] [--seconds N]` goes on where it stopped.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from engine import sampler
from engine.checkpoint import DEFAULT_CHECKPOINT
from engine.gate.data.files import write_atomically
from engine.options import PLANS, Options, Plan, searched
from tests.studies.committed import provenance
from tests.studies.gridsearch import CANDIDATES, Problem, moved, resumable

log = logging.getLogger(__name__)
SCHEMA_VERSION = 1
STEPS = (4, 5, 6)
STRENGTH = Options().cfg_strength
FIRST_MOVE, FIRST_FACTOR = 1 / 64, 1.25
"""How far polishing moves a time at first, on the unswayed axis, and by what it multiplies a strength."""
LARGEST = 10.0
"""Of the strengths that `Options` allows."""
AS_NEAR_AS = Options(nfe=7, schedule="epss")
"""How near a plan has to come: what is known to be good enough, with 14 rows."""

Error = Callable[[Plan], float]


def masks(steps: int, guided: int) -> list[tuple[float, ...]]:
    """Every choice of `guided` steps among `steps`, as strengths."""
    return [
        tuple(STRENGTH * (index in chosen) for index in range(steps))
        for chosen in itertools.combinations(range(steps), guided)
    ]


def neighbours(plan: Plan, halving: int) -> list[Plan]:
    """The plan with one time or one strength moved either way."""
    found = []
    for index in range(1, len(plan.times) - 1):
        for by in (FIRST_MOVE / 2**halving, -FIRST_MOVE / 2**halving):
            times = moved(plan.times, index, by)
            found += [] if times is None else [Plan(times, plan.strengths)]
    for index, strength in enumerate(plan.strengths):
        if strength:
            for factor in (FIRST_FACTOR ** (1 / 2**halving), FIRST_FACTOR ** (-1 / 2**halving)):
                other = min(LARGEST, strength * factor)
                found.append(Plan(plan.times, (*plan.strengths[:index], other, *plan.strengths[index + 1 :])))
    return found


def polish(plan: Plan, error: Error, halvings: int) -> Plan:
    """Go to a better neighbour for as long as there is one; then look half as far."""
    best = error(plan)
    for halving in range(halvings):
        better = True
        while better:
            better = False
            for index in range(len(neighbours(plan, halving))):
                other = neighbours(plan, halving)[index : index + 1]
                if other and error(other[0]) < best:
                    plan, best, better = other[0], error(other[0]), True
    return plan


def search_steps(steps: int, error: Error, halvings: int) -> dict[int, Plan]:
    """For each number of guided steps the best plan that was found."""
    found = {}
    for guided in range(steps // 2, steps + 1):
        starts = [Plan(searched()[steps], strengths) for strengths in masks(steps, guided)]
        found[guided] = polish(min(starts, key=error), error, halvings)
    return found


def cheapest(plans: dict[int, Plan], error: Error, limit: float) -> Plan:
    """The plan with the fewest guided steps whose error is within the limit; else the nearest."""
    near = [plan for _, plan in sorted(plans.items()) if error(plan) <= limit]
    return near[0] if near else min(plans.values(), key=error)


def row(
    plan: Plan,
    error: Callable[[Plan, Sequence[Problem]], float],
    seen: Sequence[Problem],
    unseen: Sequence[Problem],
    *,
    kept: bool,
) -> dict[str, Any]:
    """One plan as it is recorded."""
    return {
        "steps": len(plan.strengths),
        "rows": plan.rows,
        "searched_on": error(plan, seen),
        "held_out": error(plan, unseen),
        "kept": kept,
        "strengths": plan.strengths,
        "times": plan.times,
    }


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """What was found, for people."""
    shown = Table(box=None, pad_edge=False)
    for heading in ("steps", "rows", "error on texts searched", "held out", "kept", "strengths"):
        shown.add_column(heading, justify="left" if heading == "strengths" else "right")
    for row in rows:
        strengths = " ".join(f"{strength:.2g}" if strength else "-" for strength in row["strengths"])
        cells = (row["steps"], row["rows"], *(f"{row[name]:.4f}" for name in ("searched_on", "held_out")))
        shown.add_row(*map(str, cells), "kept" if row["kept"] else "", strengths)
    return shown


def main(
    checkpoint: Annotated[str, typer.Option(help="What to load.")] = DEFAULT_CHECKPOINT,
    count: Annotated[int, typer.Option("--texts", min=1, help="To search on; as many are held out.")] = 3,
    refine: Annotated[int, typer.Option(min=1, help="Midpoint steps between two candidates.")] = 2,
    polishing: Annotated[int, typer.Option(min=0, help="Rounds of polishing, each half as far.")] = 2,
    seconds: Annotated[float, typer.Option(help="Stop after so long; run again to go on.")] = 3600.0,
    kept: Annotated[Path, typer.Option(help="Folder for work in progress.")] = Path("build/plan-search"),
    out: Annotated[Path, typer.Option(help="Plans and their record to write.")] = PLANS,
) -> None:
    """Search, look at held-out texts, and write the plans."""
    plans: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []

    with resumable(checkpoint, count, refine, kept, seconds) as (search, weights, seen, unseen):

        def error(plan: Plan, problems: Sequence[Problem]) -> float:
            return float(np.mean(search.errors(plan.times, problems, plan.strengths)))

        times = tuple(sampler.time_grid(AS_NEAR_AS, "cpu").tolist())
        known = Plan(times, (STRENGTH,) * AS_NEAR_AS.nfe)
        rows.append(row(known, error, seen, unseen, kept=False))
        for steps in STEPS:
            found = search_steps(steps, lambda plan: error(plan, seen), polishing)
            full = Plan(searched()[steps], (STRENGTH,) * steps)
            best = cheapest(found, lambda plan: error(plan, seen), error(known, seen))
            plans[str(steps)] = {"times": best.times, "strengths": best.strengths}
            for plan in (full, *found.values()):
                rows.append(row(plan, error, seen, unseen, kept=plan == best))
            log.info("%d steps: %d rows", steps, best.rows)
    content = {
        **provenance(SCHEMA_VERSION, checkpoint),
        "weights_sha256": weights,
        "reference": {"solver": "midpoint", "steps": CANDIDATES * refine, "cfg_strength": STRENGTH},
        "searched_on": [problem.name for problem in seen],
        "held_out": [problem.name for problem in unseen],
        "plans": plans,
        "rows": rows,
    }
    write_atomically(out, json.dumps(content, indent=1) + "\n")
    Console(width=110).print(table(rows))


if __name__ == "__main__":
    typer.run(main)
