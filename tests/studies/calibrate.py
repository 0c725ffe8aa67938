"""How often the gate cries wolf, how often it misses, how often it shrugs: simulated, replayed, committed.

    nox -s study -- calibrate                                     # writes baselines/calibration.{json,png}
    ishowtts gate --options nfe=7 --against-options nfe=7 --json    # the same code twice, for --recording

The first runs whole simulated gates (`simulate`): three workloads, stopping, A/A control, the error shared
with the tail check. Every rate is of complete runs and carries exact one-sided 95 % bounds (Clopper-Pearson,
doi:10.1093/biomet/26.4.404). Each scenario has its own seed, so one alone can be run again with the same
result.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import platform
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import stats

from engine.errors import UsageError
from engine.gate.data import samples
from engine.gate.data.files import write_atomically
from engine.gate.stats.looks import Plan, draw_orders
from tests.studies.scenarios import CHANGES, CURVES, EVENTS, Asks, Scenario, Target, scenarios
from tests.studies.simulate import Calls, Noise, Outcome, run_gate, simulate, simulate_tails

SCHEMA = 1
REPORT = Path("baselines/calibration.json")
SEED = 20_260_101
WORKLOADS = 3
FAMILY = WORKLOADS + 1  # and the tails
QUICK = 40
"""`--quick` simulates this many times fewer runs: it shows that the machinery works, not the rates."""


def rate(events: int, runs: int) -> dict[str, Any]:
    """A rate with exact one-sided 95 % bounds (Clopper-Pearson)."""
    bounds = stats.binomtest(events, runs).proportion_ci(confidence_level=0.90, method="exact")
    return {
        "events": events,
        "runs": runs,
        "rate": events / runs,
        "low_95": bounds.low,
        "high_95": bounds.high,
    }


def run_scenario(scenario: Scenario, seed: int = SEED, quick: bool = False) -> dict[str, Any]:
    """Simulate one situation and hold its rates against their targets."""
    generator = np.random.default_rng([seed, zlib.crc32(scenario.name.encode())])
    runs = max(50, scenario.runs // QUICK) if quick else scenario.runs
    plan = Plan(scenario.blocks_max, FAMILY)
    if isinstance(scenario.noise, Calls):
        tails = simulate_tails(scenario.noise, plan, WORKLOADS, runs, generator)
        outcome = Outcome(tails[:, None], np.full(runs, scenario.blocks_max))
    else:
        outcome = simulate(scenario.noise, scenario.change, plan, WORKLOADS, runs, generator)
    return {
        "name": scenario.name,
        "noise": dataclasses.asdict(scenario.noise),
        "change": scenario.change,
        "blocks_max": scenario.blocks_max,
        "blocks_mean": float(outcome.blocks.mean()),
        "rates": {event: _held(outcome, event, target) for event, target in scenario.asks},
    }


def _held(outcome: Outcome, event: str, target: Target | None) -> dict[str, Any]:
    """The rate of one event, its target, and whether it is met (None without a target)."""
    found = rate(int(EVENTS[event](outcome.verdicts).sum()), len(outcome.blocks))
    if target is None:
        return found | {"target": None, "met": None}
    met = target.at_least <= found["rate"] <= target.at_most and found["high_95"] <= target.bound_at_most
    defaults = dataclasses.asdict(Target())
    given = {name: value for name, value in dataclasses.asdict(target).items() if value != defaults[name]}
    return found | {"target": given, "met": met}


def curve(cv: float, blocks_max: int, seed: int = SEED, quick: bool = False) -> dict[str, Any]:
    """Rates of SLOWER and SAME in one workload over true slow-downs, Gaussian noise."""
    asks: Asks = (("SLOWER", None), ("SAME", None))
    rows = [
        run_scenario(Scenario(Noise(cv), change, blocks_max, 4_000, asks), seed, quick) for change in CHANGES
    ]
    rates = {name: [row["rates"][name]["rate"] for row in rows] for name, _ in asks}
    return {"cv": cv, "blocks_max": blocks_max, "changes": list(CHANGES), **rates}


def replay(
    recording: Mapping[str, Sequence[float]], plan: Plan, generator: np.random.Generator, runs: int = 4_000
) -> dict[str, Any]:
    """Run the gate on recorded process medians of unchanged code, under random ABBA and BAAB labels.

    Runs start anywhere in the recording (which closes to a ring), so their rates hold for this recording
    only: they overlap. What it says about the machine is bounded by the windows that share no process.

    Args:
        recording: workload -> process medians in seconds, in running order, of the same processes.

    Raises:
        UsageError: workloads of unequal length, non-positive times, or fewer processes than 4 blocks need.
    """
    times = (
        np.array([*recording.values()], dtype=np.float64) if _equally_long(recording) else np.empty((0, 0))
    )
    blocks = min(plan.blocks_max, times.shape[-1] // 4)
    if blocks < 4 or not np.all(np.isfinite(times) & (times > 0)):
        shape = {name: len(values) for name, values in recording.items()}
        raise UsageError(
            f"a recording of {shape} process medians", "16 or more positive times each", "Record again"
        )
    processes, plan = times.shape[-1], dataclasses.replace(plan, blocks_max=blocks, family=len(recording) + 1)
    gate = functools.partial(_replay, np.log(times), plan, generator)
    anywhere = generator.integers(processes, size=runs)
    apart = np.arange(processes // (4 * blocks)) * 4 * blocks
    alarm = EVENTS["any FASTER or SLOWER"]
    return {
        "processes": processes,
        "blocks_max": blocks,
        "cv": {
            name: float(np.std(row, ddof=1) / np.mean(row))
            for name, row in zip(recording, times, strict=True)
        },
        "false alarms, given this recording": rate(int(alarm(gate(anywhere, 0.0)).sum()), runs),
        "false alarms, windows apart": rate(int(alarm(gate(apart, 0.0)).sum()), len(apart)),
        "all SAME, given this recording": rate(int(EVENTS["all SAME"](gate(anywhere, 0.0)).sum()), runs),
        "SLOWER at +20 %, given this recording": rate(int(EVENTS["SLOWER"](gate(anywhere, 0.2)).sum()), runs),
    }


def recorded(path: Path, seed: int = SEED) -> dict[str, Any]:
    """The replay of a record of unchanged code, and where and when it was made.

    Raises:
        BaselineError: no such record, or one that cannot be read.
        UsageError: its arms differ, or it is too short.
    """
    run = samples.read(path)
    found = replay(medians(run), Plan(), np.random.default_rng(seed))
    made = {"record": path.name, "machine": run.machine_key, "timestamp": run.timestamp.isoformat()}
    return made | {"revision": run.candidate.revision, "options": run.candidate.options} | found


def medians(run: samples.Run) -> dict[str, list[float]]:
    """Process medians in seconds, by workload and in running order, of a run that compared code with itself.

    Raises:
        UsageError: the arms differ, so their difference is no noise.
    """
    base, candidate = run.base, run.candidate
    arms = [side and (side.revision, side.dirty, side.options) for side in (base, candidate)]
    if base is None or arms[0] != arms[1]:
        raise UsageError("a record of two different arms", "the same code and options twice", "Record again")
    ordered = sorted(run.processes, key=lambda process: (process.block, process.position))
    return {
        workload.name: [
            float(np.median([call.seconds for call in one.calls]))
            for process in ordered
            for one in process.series
            if one.workload == workload.name
        ]
        for workload in candidate.workloads
    }


def _equally_long(recording: Mapping[str, Sequence[float]]) -> bool:
    return len({len(values) for values in recording.values()}) == 1


def _replay(
    logs: NDArray[np.float64],
    plan: Plan,
    generator: np.random.Generator,
    starts: NDArray[np.int64],
    change: float,
) -> NDArray[np.str_]:
    """Verdicts [runs, workloads] of gates on windows of logs [workloads, processes] from `starts` [runs]."""
    places = (starts[:, None] + np.arange(4 * plan.blocks_max)) % logs.shape[-1]  # [runs, 4 blocks]
    windows = np.moveaxis(logs[:, places], 0, 1).reshape(len(starts), len(logs), plan.blocks_max, 4)
    return run_gate(windows, draw_orders(plan.blocks_max, generator, len(starts)), change, plan).verdicts


def calibrate(
    recording: Mapping[str, Any] | None = None,
    seed: int = SEED,
    quick: bool = False,
    advance: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Everything the committed file holds.

    Args:
        recording: what `recorded` says of one, if there is one.
        advance: is told each scenario's name when it is done.
    """
    cells = []
    for scenario in scenarios():
        cells.append(run_scenario(scenario, seed, quick))
        advance(scenario.name)
    curves = []
    for cv, blocks in CURVES:
        curves.append(curve(cv, blocks, seed, quick))
        advance(f"power curve, CV {cv:.1%}")
    held = [held for cell in cells for held in cell["rates"].values() if held["met"] is not None]
    plan = Plan(family=FAMILY)
    return {
        "schema": SCHEMA,
        "command": "nox -s study -- calibrate",
        "seed": seed,
        "quick": quick,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
        "workloads": WORKLOADS,
        "plan": dataclasses.asdict(plan) | {"looks": {n: Plan(n).looks for n in (3, 10, 20, 30)}},
        "targets": len(held),
        "targets_met": sum(held["met"] for held in held),
        "cells": cells,
        "curves": curves,
        "recording": recording or "no recording",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Calibrate and write; 1 if a target is missed (but not by `--quick`, whose rates are too rough)."""
    from rich.console import Console
    from rich.progress import Progress

    from tests.studies.calibration_plot import plot

    parser = argparse.ArgumentParser(prog="nox -s study -- calibrate", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=REPORT, help="JSON to write")
    parser.add_argument("--plot", type=Path, default=REPORT.with_suffix(".png"), help="PNG to write")
    parser.add_argument("--recording", type=Path, help="record of a gate run whose two arms are the same")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--quick", action="store_true", help=f"1/{QUICK} of the simulations: to try it out")
    given = parser.parse_args(arguments)
    console = Console()
    recording = recorded(given.recording, given.seed) if given.recording else None
    with Progress(console=console) as progress:
        task = progress.add_task("calibrating", total=len(scenarios()) + len(CURVES))

        def advance(name: str) -> None:
            progress.update(task, advance=1, description=name)

        report = calibrate(recording, given.seed, given.quick, advance)
    write_atomically(given.out, json.dumps(report, indent=1) + "\n")
    plot(report, given.plot)
    for cell in report["cells"]:
        for event, held in cell["rates"].items():
            if held["met"] is False:
                console.print(f"missed: {cell['name']}: {event} {held['rate']:.4f}, target {held['target']}")
    console.print(f"{report['targets_met']} of {report['targets']} targets met")
    return 0 if given.quick or report["targets_met"] == report["targets"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
