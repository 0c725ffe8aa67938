"""How often the gate cries wolf, how often it misses, how often it shrugs: simulated, replayed, committed.

    python -m engine.gate.calibrate --out baselines/calibration.json --plot baselines/calibration.png

runs whole simulated gates (`simulate`): three workloads, stopping, A/A control, the error shared with the tail check.
Every rate is of complete runs and carries exact one-sided 95 % bounds (Clopper-Pearson,
doi:10.1093/biomet/26.4.404). Each scenario has its own seed, so one alone can be run again with the same result.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import platform
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import stats

from engine.errors import UsageError
from engine.gate.sequential import Plan, draw_orders
from engine.gate.simulate import MACHINES, Calls, Noise, Outcome, run_gate, simulate, simulate_tails

SCHEMA = 1
SEED = 20_260_101
WORKLOADS = 3
FAMILY = WORKLOADS + 1  # and the tails
QUICK = 40
"""`--quick` divides the number of simulated runs by this: it shows that the machinery works, not the rates."""


@dataclasses.dataclass(frozen=True)
class Target:
    """What a rate must satisfy; `bound_at_most` is about its upper 95 % bound."""

    at_most: float = 1.0
    at_least: float = 0.0
    bound_at_most: float = 1.0


Asks: TypeAlias = "tuple[tuple[str, Target | None], ...]"
"""Event name (a key of EVENTS) and its target; None where the rate is only reported."""


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One simulated situation and what is asked of it.

    Attributes:
        noise: of process medians, or of calls where the tails are judged.
        change: how much slower the candidate is in every workload (0.2: 20 %).
        asks: which rates, against which targets.
    """

    noise: Noise | Calls
    change: float
    blocks_max: int
    runs: int
    asks: Asks

    @property
    def name(self) -> str:
        """Says everything that makes the scenario; also seeds it."""
        if isinstance(self.noise, Calls):
            fault = f", every {self.noise.slow_every}th call +50 %" if self.noise.slow_every else ""
            return f"tails: {self.noise.calls} calls of CV {self.noise.cv:.1%} {self.noise.shape}{fault}"
        machine = self.noise.machine
        return f"{self.change:+.0%}, CV {self.noise.cv:.1%} {self.noise.shape}, {machine}, {self.blocks_max} blocks"


EVENTS: Mapping[str, Callable[[NDArray[np.str_]], NDArray[np.bool_]]] = {
    "any FASTER or SLOWER": lambda v: ((v == "FASTER") | (v == "SLOWER")).any(axis=-1),
    "any FASTER": lambda v: (v == "FASTER").any(axis=-1),
    "any SAME": lambda v: (v == "SAME").any(axis=-1),
    "all SAME": lambda v: (v == "SAME").all(axis=-1),
    "SLOWER": lambda v: v[:, 0] == "SLOWER",
    "SAME": lambda v: v[:, 0] == "SAME",
    "UNDECIDED": lambda v: v[:, 0] == "UNDECIDED",
}
"""What may happen in a run [runs, workloads] -> [runs]; without any or all it is about one workload, the first."""

FALSE_ALARM = ("any FASTER or SLOWER", Target(at_most=0.01, bound_at_most=0.015))
WRONG_WAY = ("any FASTER", Target(at_most=1e-4))
FALSE_SAME = ("SAME", Target(at_most=0.05))
CVS = (0.015, 0.05, 0.16)
CURVES = ((0.015, 10), (0.05, 10), (0.05, 20), (0.16, 30))
CHANGES = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.10, 0.12, 0.15, 0.20, 0.25, 0.30)
THROTTLES = tuple(name for name in MACHINES if name.startswith("throttle"))


def scenarios() -> list[Scenario]:
    """Every situation of the report."""
    return [*_unchanged(), *_power(), *_wrong_way(), *_tails()]


def _unchanged() -> Iterator[Scenario]:
    """A/A runs: no alarm on any noise, and SAME where the noise allows it."""
    asks: Asks = (FALSE_ALARM, ("SAME", None), ("all SAME", None), ("UNDECIDED", None))
    others = [("heavy", "steady"), ("skewed", "steady"), *(("gaussian", m) for m in MACHINES if m != "steady")]
    for cv in CVS:
        for blocks in (3, 10, 30):
            yield Scenario(Noise(cv), 0.0, blocks, 20_000, asks)
        for shape, machine in others:
            yield Scenario(Noise(cv, shape, machine), 0.0, 10, 20_000, asks)
    enough = Target(at_least=0.90)
    for shape, target in (("gaussian", enough), ("heavy", enough), ("skewed", None)):
        same: Asks = (FALSE_ALARM, ("SAME", target), ("all SAME", target), ("UNDECIDED", None))
        yield Scenario(Noise(0.05, shape), 0.0, 20, 20_000, same)


def _power() -> Iterator[Scenario]:
    """Slow-downs that must be seen, and what other noise and throttling leave of that."""
    for cv, change, blocks, least in ((0.05, 0.20, 10, 0.99), (0.05, 0.10, 20, 0.95), (0.16, 0.20, 30, 0.90)):
        for shape, machine in (("gaussian", "steady"), ("heavy", "steady"), ("skewed", "steady"), ("gaussian", "drift")):
            required = machine == "steady" and shape != "skewed"
            seen: Asks = (("SLOWER", Target(at_least=least) if required else None), WRONG_WAY)
            yield Scenario(Noise(cv, shape, machine), change, blocks, 20_000, seen)
    throttled: Asks = (("SLOWER", None), ("UNDECIDED", None), WRONG_WAY, ("any SAME", Target(at_most=0.01)))
    for machine in THROTTLES:
        yield Scenario(Noise(0.015, "gaussian", machine), 0.20, 10, 40_000, throttled)


def _wrong_way() -> Iterator[Scenario]:
    """True slow-downs of 5 % and more must be called neither FASTER nor, beyond the agreed rate, SAME."""
    asks: Asks = (WRONG_WAY, FALSE_SAME, ("SLOWER", None))
    for cv in CVS:
        for shape, machine in (("heavy", "steady"), *(("gaussian", m) for m in THROTTLES)):
            yield Scenario(Noise(cv, shape, machine), 0.05, 10, 40_000, asks)
        for change, blocks in ((0.05, 10), (0.05, 20), (0.05, 30), (0.10, 10)):
            yield Scenario(Noise(cv), change, blocks, 40_000, asks)


def _tails() -> Iterator[Scenario]:
    """Every 20th call 50 % slower, by calls per process and workload; the median sees none of it."""
    for shape, cv in (("gaussian", 0.05), ("heavy", 0.05), ("gaussian", 0.15)):
        yield Scenario(Calls(20, cv, shape), 0.0, 10, 4_000, (FALSE_ALARM,))
        for calls in (6, 10, 20, 30):
            required = calls >= 20 and cv < 0.1
            seen: Asks = (("SLOWER", Target(at_least=0.95) if required else None),)
            yield Scenario(Calls(calls, cv, shape, slow_every=20), 0.0, 10, 1_000, seen)


def rate(events: int, runs: int) -> dict[str, Any]:
    """A rate with exact one-sided 95 % bounds (Clopper-Pearson)."""
    bounds = stats.binomtest(events, runs).proportion_ci(confidence_level=0.90, method="exact")
    return {"events": events, "runs": runs, "rate": events / runs, "low_95": bounds.low, "high_95": bounds.high}


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
    rows = [run_scenario(Scenario(Noise(cv), change, blocks_max, 4_000, asks), seed, quick) for change in CHANGES]
    rates = {name: [row["rates"][name]["rate"] for row in rows] for name, _ in asks}
    return {"cv": cv, "blocks_max": blocks_max, "changes": list(CHANGES), **rates}


def replay(
    recording: Mapping[str, Sequence[float]], plan: Plan, generator: np.random.Generator, runs: int = 4_000
) -> dict[str, Any]:
    """Run the gate on recorded process medians of unchanged code, under random ABBA and BAAB labels.

    Runs start anywhere in the recording (which closes to a ring), so their rates hold for this recording only:
    they overlap. What it says about the machine is bounded by the windows that share no process.

    Args:
        recording: workload -> process medians in seconds, in running order, of the same processes.

    Raises:
        UsageError: workloads of unequal length, non-positive times, or fewer processes than 4 blocks need.
    """
    times = np.array([*recording.values()], dtype=np.float64) if _equally_long(recording) else np.empty((0, 0))
    blocks = min(plan.blocks_max, times.shape[-1] // 4)
    if blocks < 4 or not np.all(np.isfinite(times) & (times > 0)):
        shape = {name: len(values) for name, values in recording.items()}
        raise UsageError(f"a recording of {shape} process medians", "16 or more positive times each", "Record again")
    processes, plan = times.shape[-1], dataclasses.replace(plan, blocks_max=blocks, family=len(recording) + 1)
    gate = functools.partial(_replay, np.log(times), plan, generator)
    anywhere = generator.integers(processes, size=runs)
    apart = np.arange(processes // (4 * blocks)) * 4 * blocks
    alarm = EVENTS["any FASTER or SLOWER"]
    return {
        "processes": processes,
        "blocks_max": blocks,
        "cv": {name: float(np.std(row, ddof=1) / np.mean(row)) for name, row in zip(recording, times, strict=True)},
        "false alarms, given this recording": rate(int(alarm(gate(anywhere, 0.0)).sum()), runs),
        "false alarms, windows apart": rate(int(alarm(gate(apart, 0.0)).sum()), len(apart)),
        "all SAME, given this recording": rate(int(EVENTS["all SAME"](gate(anywhere, 0.0)).sum()), runs),
        "SLOWER at +20 %, given this recording": rate(int(EVENTS["SLOWER"](gate(anywhere, 0.2)).sum()), runs),
    }


def _equally_long(recording: Mapping[str, Sequence[float]]) -> bool:
    return len({len(values) for values in recording.values()}) == 1


def _replay(
    logs: NDArray[np.float64], plan: Plan, generator: np.random.Generator, starts: NDArray[np.int64], change: float
) -> NDArray[np.str_]:
    """Verdicts [runs, workloads] of gates on windows of logs [workloads, processes] from `starts` [runs]."""
    places = (starts[:, None] + np.arange(4 * plan.blocks_max)) % logs.shape[-1]  # [runs, 4 blocks]
    windows = np.moveaxis(logs[:, places], 0, 1).reshape(len(starts), len(logs), plan.blocks_max, 4)
    return run_gate(windows, draw_orders(plan.blocks_max, generator, len(starts)), change, plan).verdicts


def calibrate(
    recording: Mapping[str, Sequence[float]] | None = None,
    seed: int = SEED,
    quick: bool = False,
    advance: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Everything the committed file holds. `advance` is told each scenario's name when it is done."""
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
        "command": "python -m engine.gate.calibrate",
        "seed": seed,
        "quick": quick,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__},
        "workloads": WORKLOADS,
        "plan": dataclasses.asdict(plan) | {"looks": {n: Plan(n).looks for n in (3, 10, 20, 30)}},
        "targets": len(held),
        "targets_met": sum(held["met"] for held in held),
        "cells": cells,
        "curves": curves,
        "recording": replay(recording, plan, np.random.default_rng(seed)) if recording else "no recording",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Calibrate and write; 1 if a target is missed (but not by `--quick`, whose rates are too rough)."""
    from rich.console import Console
    from rich.progress import Progress

    from engine.gate.calibration_plot import plot

    parser = argparse.ArgumentParser(prog="python -m engine.gate.calibrate", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("--plot", type=Path, help="PNG to write")
    parser.add_argument("--recording", type=Path, help='JSON: {"workloads": {name: [seconds, ...]}}, A/A medians')
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--quick", action="store_true", help=f"1/{QUICK} of the simulations: to try it out")
    given = parser.parse_args(arguments)
    console = Console()
    recording = json.loads(given.recording.read_text())["workloads"] if given.recording else None
    with Progress(console=console) as progress:
        task = progress.add_task("calibrating", total=len(scenarios()) + len(CURVES))

        def advance(name: str) -> None:
            progress.update(task, advance=1, description=name)

        report = calibrate(recording, given.seed, given.quick, advance)
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    if given.plot:
        plot(report, given.plot)
    for cell in report["cells"]:
        for event, held in cell["rates"].items():
            if held["met"] is False:
                console.print(f"missed: {cell['name']}: {event} {held['rate']:.4f}, target {held['target']}")
    console.print(f"{report['targets_met']} of {report['targets']} targets met")
    return 0 if given.quick or report["targets_met"] == report["targets"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
