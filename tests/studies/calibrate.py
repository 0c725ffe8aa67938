"""How often the gate cries wolf, misses and shrugs: exit codes of the plans that users run, counted.

    nox -s study -- calibrate              # writes baselines/calibration.{json,md,png}

Made-up runs of live pairs (`simulate`) at four amounts of noise, and runs drawn from the recordings of real
machines in baselines/recordings. Every rate carries exact one-sided 95 % bounds (Clopper-Pearson,
doi:10.1093/biomet/26.4.404), and each situation has its own seed, so one alone gives the same result.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from scipy import stats

from engine.errors import UsageError
from engine.gate.baselines.select import BASELINES, PORTABLE, load
from engine.gate.data.files import write_atomically
from engine.gate.data.limits import RelativeLimits
from engine.gate.request import BLOCKS, QUICK_BLOCKS
from tests.studies import recordings
from tests.studies.recordings import Recording
from tests.studies.simulate import SHAPES, WORKLOADS, Logs, Recipe, drawn, exit_codes, made_up

SCHEMA = 2
REPORT = Path("baselines/calibration.json")
SEED = 20_260_101
RUNS, QUICK_RUNS = 2_000, 100
BATCH = 250
"""Runs at once, to bound memory."""

FULL, QUICK, CUT = "full", "quick", "cut by the clock"
PLANS: Mapping[str, Recipe] = {
    FULL: Recipe(BLOCKS),
    QUICK: Recipe(QUICK_BLOCKS, workloads=1),
    CUT: Recipe(BLOCKS, cut=BLOCKS // 2),
}
"""What `nox -s perf`, `--quick`, and a run that the clock ends half-way do."""
NOISES = (0.02, 0.05, 0.10, 0.15)
CHANGES = (0.0, 0.05, 0.10, 0.20, 0.30, 0.50)
COUNTED = (0, 1, 3)


@dataclasses.dataclass(frozen=True)
class Target:
    """What a rate must be."""

    at_most: float = 1.0
    at_least: float = 0.0


def targets(plan: str, noise: float | None, change: float) -> dict[int, Target]:
    """What is demanded of the exit codes in one situation; `noise` is None for a recording."""
    demanded: dict[int, Target] = {}
    if change == 0:
        demanded[1] = Target(at_most=0.01)
        if plan == FULL and noise is None:
            demanded[0] = Target(at_least=0.95)
        if plan == QUICK and noise is not None and noise <= 0.10:
            demanded[0] = Target(at_least=0.90)
    if plan == FULL and change == 0.20 and noise is not None and noise <= 0.10:
        demanded[1] = Target(at_least=0.99 if noise <= 0.05 else 0.95)
    if plan == QUICK and change == 0.50 and noise is not None and noise <= 0.10:
        demanded[1] = Target(at_least=0.95)
    return demanded


def rate(events: int, runs: int) -> dict[str, float]:
    """A rate with exact one-sided 95 % bounds (Clopper-Pearson)."""
    bounds = stats.binomtest(events, runs).proportion_ci(confidence_level=0.90, method="exact")
    low, high = float(bounds.low), float(bounds.high)
    return {"events": events, "rate": events / runs, "low_95": low, "high_95": high}


def situation(
    plan: str,
    change: float,
    limits: RelativeLimits,
    runs: int,
    *,
    noise: float | None = None,
    shape: str = "gaussian",
    recording: Recording | None = None,
    name: str = "",
    seed: int = SEED,
) -> dict[str, Any]:
    """How often a plan ends with each exit code where the candidate is `change` slower.

    Args:
        plan: a name in `PLANS`.
        change: 0.2 is 20 % slower.
        limits: relative limits.
        runs: how many are made up or drawn.
        noise: standard deviation of a block's log-ratio; with `shape` it makes up the runs ...
        shape: a name in `simulate.SHAPES`.
        recording: ... or this real machine's blocks are drawn.
        name: the recording's.
        seed: of everything.

    Raises:
        UsageError: neither noise nor a recording, or both.
    """
    if (noise is None) == (recording is None):
        raise UsageError(f"noise={noise} and recording={name!r}", "one of them", "Make runs up, or draw them")
    label = f"{plan}, {change:+.0%}, " + (f"{noise:.0%} {shape}" if recording is None else name)
    generator = np.random.default_rng([seed, zlib.crc32(label.encode())])
    recipe = PLANS[plan]
    if recording is not None:
        recipe = dataclasses.replace(recipe, workloads=min(recipe.workloads, len(recording.workloads)))
    codes = []
    for start in range(0, runs, BATCH):
        count = min(BATCH, runs - start)
        if recording is None:
            logs = made_up(float(noise or 0), shape, recipe, count, generator)
        else:
            logs = drawn(logs_of(recording), recipe, count, generator)
        codes.append(exit_codes(logs, change, recipe, limits))
    found = np.concatenate(codes)
    demanded = targets(plan, noise if shape == "gaussian" else 0.15 if recording is None else None, change)
    rates = {str(code): rate(int((found == code).sum()), runs) for code in COUNTED}
    held = {
        str(code): {**dataclasses.asdict(target), "met": _met(rates[str(code)]["rate"], target)}
        for code, target in demanded.items()
    }
    source = {"noise": noise, "shape": shape} if recording is None else {"recording": name}
    return {"plan": plan, "change": change, **source, "runs": runs, "codes": rates, "targets": held}


def logs_of(recording: Recording) -> Logs:
    """A recording as `simulate.drawn` takes it: one run of all its blocks, [1, blocks, ...]."""
    calls = np.stack([recording.logs(name) for name in recording.workloads], axis=2)
    once = [
        np.log([getattr(block, f"{what}_seconds") for block in recording.blocks])
        for what in ("first_call", "load")
    ]
    return Logs(calls[None], once[0][None], once[1][None])


def _met(found: float, target: Target) -> bool:
    return target.at_least <= found <= target.at_most


def calibrate(
    limits: RelativeLimits,
    replayed: Mapping[str, Recording],
    runs: int = RUNS,
    seed: int = SEED,
    advance: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Everything the committed file holds.

    Args:
        limits: relative limits that the gate would hold.
        replayed: recordings by name.
        runs: of each situation.
        seed: of everything.
        advance: is told each situation when it is done.
    """
    made = [
        {"plan": plan, "change": change, "noise": noise, "shape": shape}
        for plan in PLANS
        for noise in NOISES
        for shape in SHAPES
        for change in (CHANGES if shape == "gaussian" else (0.0,))
    ]
    real = [
        {"plan": plan, "change": change, "recording": recording, "name": name}
        for name, recording in replayed.items()
        for plan in PLANS
        for change in CHANGES
    ]
    cells = []
    for asked in (*made, *real):
        cells.append(situation(limits=limits, runs=runs, seed=seed, **asked))  # type: ignore[arg-type]
        advance(f"{asked['plan']}, {asked['change']:+.0%}")
    held = [target["met"] for cell in cells for target in cell["targets"].values()]
    return {
        "schema": SCHEMA,
        "command": "nox -s study -- calibrate",
        "seed": seed,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
        "workloads": WORKLOADS,
        "plans": {name: dataclasses.asdict(recipe) for name, recipe in PLANS.items()},
        "recordings": {
            name: {
                "machine": one.machine.key,
                "recorded_at": one.recorded_at.isoformat(timespec="seconds"),
                "burden": one.burden,
                "revision": one.revision,
                "blocks": len(one.blocks),
                "block_noise": _block_noise(one),
            }
            for name, one in replayed.items()
        },
        "targets": len(held),
        "targets_met": sum(held),
        "cells": cells,
    }


def _block_noise(recording: Recording) -> float:
    """Standard deviation of a block's log-ratio, over blocks and workloads."""
    logs = logs_of(recording).calls[0]
    ratios = np.median(logs[:, 2:].mean(axis=1) - logs[:, :2].mean(axis=1), axis=-1)
    return float(np.sqrt((ratios**2).mean()))


def table(report: Mapping[str, Any]) -> str:
    """The rows that people ask for, as Markdown: of 100 runs, how many end with exit code 0, 1 and 3."""
    lines = [
        f"# How far to trust an exit code: {report['targets_met']} of {report['targets']} targets met",
        f"Made by `{report['command']}`. Of 100 runs, how many exit 0 / 1 / 3: pass, regression, undecided.",
        "",
        "| noise of a block | plan | unchanged | +10 % | +20 % | +50 % |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    sources = [
        *((f"{noise:.0%}, made up", {"noise": noise, "shape": "gaussian"}) for noise in NOISES),
        *(
            (f"{facts['block_noise']:.1%}, {name}", {"recording": name})
            for name, facts in report["recordings"].items()
        ),
    ]
    for label, source in sources:
        for plan in PLANS:
            cells = {
                cell["change"]: cell["codes"]
                for cell in report["cells"]
                if cell["plan"] == plan and all(cell.get(key) == value for key, value in source.items())
            }
            shown = (
                " / ".join(f"{100 * cells[change][str(code)]['rate']:.0f}" for code in COUNTED)
                for change in (0.0, 0.10, 0.20, 0.50)
            )
            lines.append(f"| {label} | {plan} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Calibrate and write; 1 if a target is missed (but not by `--quick`, whose rates are too rough)."""
    from rich.console import Console
    from rich.progress import Progress

    from tests.studies.calibration_plot import plot

    parser = argparse.ArgumentParser(
        prog="python -m tests.studies.calibrate", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, default=REPORT, help="JSON to write; .md and .png beside it")
    parser.add_argument("--recordings", type=Path, default=recordings.FOLDER, help="folder of recordings")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_RUNS} runs of each: to try it out")
    given = parser.parse_args(arguments)
    console = Console()
    replayed = {path.stem: recordings.read(path) for path in sorted(given.recordings.glob("*.json"))}
    limits = load(BASELINES / f"{PORTABLE}.json").relative
    situations = len(PLANS) * (len(NOISES) * (len(CHANGES) + len(SHAPES) - 1) + len(replayed) * len(CHANGES))
    with Progress(console=console) as progress:
        task = progress.add_task("calibrating", total=situations)

        def advance(name: str) -> None:
            progress.update(task, advance=1, description=name)

        report = calibrate(limits, replayed, QUICK_RUNS if given.quick else RUNS, given.seed, advance)
    write_atomically(given.out, json.dumps(report, indent=1) + "\n")
    write_atomically(given.out.with_suffix(".md"), table(report))
    plot(report, given.out.with_suffix(".png"))
    for cell in report["cells"]:
        for code, target in cell["targets"].items():
            if not target["met"]:
                source = cell.get("recording") or f"{cell['noise']:.0%} {cell['shape']}"
                found = cell["codes"][code]["rate"]
                console.print(
                    f"missed: {cell['plan']}, {cell['change']:+.0%}, {source}: {code} in {found:.1%}"
                )
    console.print(f"{report['targets_met']} of {report['targets']} targets met")
    return 0 if given.quick or report["targets_met"] == report["targets"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
