"""Searched time grids beside the known schedules: which is nearer to the flow's own path."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine import sampler
from engine.gate.data.files import write_atomically
from engine.gate.measure import revisions
from engine.options import EPSS_STEPS, Options, Schedule

SCHEMA_VERSION = 1

Grid = tuple[float, ...]
Errors = Callable[[Grid], Sequence[Sequence[float]]]
"""Relative distances along a grid: on the texts searched on, and on those held out."""


def known(steps: int) -> dict[str, Grid]:
    """The schedules that need no search, by name."""
    names: tuple[Schedule, ...] = ("uniform", "sway", "epss") if steps in EPSS_STEPS else ("uniform", "sway")
    made = {name: sampler.time_grid(Options(nfe=steps, schedule=name), "cpu").tolist() for name in names}
    return {name: tuple(grid) for name, grid in made.items()}


def compare(found: Mapping[int, Grid], errors: Errors) -> list[dict[str, Any]]:
    """One row for each step count and schedule: its mean errors on texts searched on and held out."""
    rows = []
    for steps, grid in found.items():
        for name, times in {**known(steps), "searched": grid}.items():
            seen, unseen = errors(times)
            rows.append(
                {
                    "nfe": steps,
                    "schedule": name,
                    "searched_on": float(np.mean(seen)),
                    "held_out": float(np.mean(unseen)),
                    "held_out_by_text": list(unseen),
                }
            )
    return rows


def better(rows: Sequence[Mapping[str, Any]], steps: int) -> bool:
    """Whether the searched grid beats every known one of its step count on each held-out text but a few.

    A mean alone could be one text's doing: it must also be nearer on three texts of four.
    """
    mine = [row for row in rows if row["nfe"] == steps]
    (searched,) = (row for row in mine if row["schedule"] == "searched")
    others = [row for row in mine if row["schedule"] != "searched"]
    return all(_beats(searched, other) for other in others)


def _beats(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    pairs = zip(one["held_out_by_text"], other["held_out_by_text"], strict=True)
    nearer = np.mean([mine < theirs for mine, theirs in pairs])
    return bool(one["held_out"] < other["held_out"] and nearer >= 0.75)


def write(path: Path, provenance: Mapping[str, Any], found: Mapping[int, Grid], rows: Sequence[Any]) -> None:
    """The grids that are better than the known ones, and the record of all that were compared."""
    record = {
        "schema_version": SCHEMA_VERSION,
        "timestamp": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "revision": revisions.describe(revisions.checkout())[0],
        **provenance,
        "grids": {str(steps): grid for steps, grid in found.items() if better(rows, steps)},
        "rows": rows,
    }
    write_atomically(path, json.dumps(record, indent=1) + "\n")


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table for people, and how near six steps and eight come at their best."""
    lines = [
        "| NFE | schedule | distance, texts searched on | distance, texts held out |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['nfe']} | {row['schedule']} | {row['searched_on']:.4f} | {row['held_out']:.4f} |"
        for row in rows
    ]
    best = {n: min((row for row in rows if row["nfe"] == n), key=_held_out, default=None) for n in (6, 8)}
    said = [
        f"NFE {n} at its best: {row['schedule']}, {row['held_out']:.4f}." for n, row in best.items() if row
    ]
    return "\n".join([*lines, "", *said]) + "\n"


def _held_out(row: Mapping[str, Any]) -> float:
    return float(row["held_out"])
