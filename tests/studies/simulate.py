"""Made-up machines on which the gate is tried: noise models, and whole runs with stopping. Pure functions."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from engine.gate.stats.calls import Floats, tail_log
from engine.gate.stats.looks import Plan, draw_orders
from engine.gate.stats.ratio_test import Verdict, tail_plan, verdicts

BATCH = 4000
"""Runs simulated at once, to bound memory."""

TAIL_BATCH = 250
"""The same where every call is simulated."""


def _gaussian(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return generator.standard_normal(shape)


def _heavy(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Student's t with 3 degrees of freedom, scaled to standard deviation 1."""
    return generator.standard_t(3, shape) / math.sqrt(3)


def _skewed(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """One process in ten is much slower, never faster; scaled to standard deviation 1."""
    slow, values = generator.random(shape) < 0.1, generator.standard_normal(shape)
    mean, square = 0.1 * 6 * math.sqrt(2 / math.pi), 0.9 + 0.1 * 6**2
    return np.where(slow, 6 * np.abs(values), values) / math.sqrt(square - mean**2)


SHAPES: Mapping[str, Callable[[np.random.Generator, tuple[int, ...]], Floats]] = {
    "gaussian": _gaussian,
    "heavy": _heavy,
    "skewed": _skewed,
}
"""Distributions of a process median's log around its expectation, standard deviation 1."""


def _steady(generator: np.random.Generator, runs: int, processes: int) -> Floats:
    return np.zeros((runs, processes))


def _drift(generator: np.random.Generator, runs: int, processes: int) -> Floats:
    """A linear drift of up to 20 % either way over the run."""
    total = generator.uniform(-math.log(1.2), math.log(1.2), (runs, 1))
    return np.asarray(total * np.linspace(0, 1, processes), np.float64)


def _walk(generator: np.random.Generator, runs: int, processes: int) -> Floats:
    """A random walk with steps of 2 % between processes."""
    return np.cumsum(0.02 * generator.standard_normal((runs, processes)), axis=-1)


def _pause(generator: np.random.Generator, runs: int, processes: int) -> Floats:
    """The first process of every block, after a pause, is 10 % slower."""
    return np.tile([math.log(1.1), 0.0, 0.0, 0.0], (runs, processes // 4))


def _throttle(
    generator: np.random.Generator, runs: int, processes: int, *, share: float, dwell: float
) -> Floats:
    """Markov: `share` of the time, for `dwell` processes on average, the machine is 25-30 % slower."""
    leave = 1 / dwell
    enter = leave * share / (1 - share)
    draws = generator.random((processes, runs))
    state = draws[0] < share
    states = [state]
    for draw in draws[1:]:
        state = np.where(state, draw >= leave, draw < enter)
        states.append(state)
    depth = np.log(generator.uniform(1.25, 1.30, (runs, 1)))
    return np.asarray(depth * np.stack(states, axis=-1), np.float64)


MACHINES: Mapping[str, Callable[[np.random.Generator, int, int], Floats]] = {
    "steady": _steady,
    "drift": _drift,
    "walk": _walk,
    "pause": _pause,
    "throttle 3 %, dwell 3": functools.partial(_throttle, share=0.03, dwell=3),
    "throttle 10 %, dwell 2": functools.partial(_throttle, share=0.1, dwell=2),
    "throttle 30 %, dwell 3": functools.partial(_throttle, share=0.3, dwell=3),
    "throttle 50 %, dwell 8": functools.partial(_throttle, share=0.5, dwell=8),
}
"""How the machine's pace (log) moves from process to process; all workloads of a process share it."""


@dataclasses.dataclass(frozen=True)
class Noise:
    """What disturbs process medians: `cv` of a process on a steady machine, a SHAPES and a MACHINES name."""

    cv: float
    shape: str = "gaussian"
    machine: str = "steady"

    def logs(self, generator: np.random.Generator, runs: int, workloads: int, blocks: int) -> Floats:
        """Log process medians [runs, workloads, blocks, 4] of unchanged code."""
        size = (runs, workloads, 4 * blocks)
        own = math.sqrt(math.log1p(self.cv**2)) * SHAPES[self.shape](generator, size)
        pace = MACHINES[self.machine](generator, runs, 4 * blocks)
        return (own + pace[:, None]).reshape(runs, workloads, blocks, 4)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Simulated runs: verdict names [runs, workloads] when the run stopped, and its blocks [runs]."""

    verdicts: NDArray[np.str_]
    blocks: NDArray[np.int64]


def simulate(
    noise: Noise, change: float, plan: Plan, workloads: int, runs: int, generator: np.random.Generator
) -> Outcome:
    """Whole gate runs against a candidate `change` slower (0.2: 20 %) in every workload."""
    parts = []
    for start in range(0, runs, BATCH):
        count = min(BATCH, runs - start)
        logs = noise.logs(generator, count, workloads, plan.blocks_max)
        base_first = draw_orders(plan.blocks_max, generator, count)
        parts.append(run_gate(logs, base_first, change, plan))
    return Outcome(np.concatenate([p.verdicts for p in parts]), np.concatenate([p.blocks for p in parts]))


def run_gate(logs: Floats, base_first: NDArray[np.bool_], change: float, plan: Plan) -> Outcome:
    """Show the gate log medians [runs, workloads, blocks, 4] until it stops; base_first is [runs, blocks]."""
    runs, workloads = logs.shape[:2]
    times = np.exp(logs + _candidate(base_first)[:, None] * math.log1p(change))
    orders = np.broadcast_to(base_first[:, None], (runs, workloads, base_first.shape[-1]))
    found, blocks = np.full((runs, workloads), Verdict.UNDECIDED.value), np.zeros(runs, np.int64)
    going = np.arange(runs)
    for look in plan.looks:
        found[going] = verdicts(times[going, :, :look], orders[going, :, :look], plan)
        blocks[going] = look
        going = going[(found[going] == Verdict.UNDECIDED.value).any(axis=-1)]
    return Outcome(found, blocks)


@dataclasses.dataclass(frozen=True)
class Calls:
    """The calls of a process: how many per workload, their CV, a SHAPES name, and a fault.

    `slow_every` n: every n-th call of the candidate, counted on from process to process, takes 50 % longer.
    """

    calls: int
    cv: float = 0.05
    shape: str = "gaussian"
    slow_every: int | None = None


def simulate_tails(
    noise: Calls, plan: Plan, workloads: int, runs: int, generator: np.random.Generator
) -> NDArray[np.str_]:
    """Tail verdicts [runs] at the end of the budget."""
    names = []
    for start in range(0, runs, TAIL_BATCH):
        count = min(TAIL_BATCH, runs - start)
        size = (count, plan.blocks_max, 4, workloads, noise.calls)
        logs = math.sqrt(math.log1p(noise.cv**2)) * SHAPES[noise.shape](generator, size)
        base_first = draw_orders(plan.blocks_max, generator, count)
        if noise.slow_every is not None:
            phase = generator.integers(noise.slow_every, size=(*size[:-1], 1))
            slow = (np.arange(noise.calls) + phase) % noise.slow_every == 0
            logs += math.log(1.5) * (slow & _candidate(base_first)[..., None, None])
        levels = np.exp(tail_log(np.exp(logs)).mean(axis=-1))
        names.append(verdicts(levels, base_first, tail_plan(plan)))
    return np.concatenate(names)


def _candidate(base_first: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which processes [..., 4] of each block [...] run the candidate."""
    return np.asarray(base_first[..., None] == np.array([False, True, True, False]), np.bool_)
