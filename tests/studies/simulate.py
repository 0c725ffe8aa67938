"""Made-up runs of live pairs, many at once, and the exit codes that the gate gives them. Pure functions.

What the verdict does for one run (`verdict.change` on `compare.conclude`), this does for arrays of runs; a
test holds both against each other, run by run.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.gate.data.limits import RelativeLimits
from engine.gate.data.plan import Plan
from engine.gate.stats.calls import Floats, tail_log
from engine.gate.stats.ratio_test import Verdict, answers, start_plan, tail_plan

Codes = NDArray[np.int64]
SEVERITY = np.array([0, 3, 1])
"""Exit codes from good to bad: what stands later wins."""
RANKS = np.array([0, 2, -1, 1])
"""Place of each exit code in that order."""
WORKLOADS = 3
ROUNDS = 10
SHARED = 0.5
"""Share of a process's variance that all its workloads have in common."""


def _gaussian(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return generator.standard_normal(shape)


def _heavy(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Student's t with 3 degrees of freedom, scaled to standard deviation 1."""
    return generator.standard_t(3, shape) / math.sqrt(3)


def _skewed(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """One in ten is much slower, never faster; scaled to standard deviation 1."""
    slow, values = generator.random(shape) < 0.1, generator.standard_normal(shape)
    mean, square = 0.1 * 6 * math.sqrt(2 / math.pi), 0.9 + 0.1 * 6**2
    return np.where(slow, 6 * np.abs(values), values) / math.sqrt(square - mean**2)


SHAPES: Mapping[str, Callable[[np.random.Generator, tuple[int, ...]], Floats]] = {
    "gaussian": _gaussian,
    "heavy": _heavy,
    "skewed": _skewed,
}
"""Distributions of what single processes and calls deviate by (log), standard deviation 1."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A plan that users run.

    Attributes:
        blocks_max: the plan's blocks.
        workloads: how many sentences are timed.
        cut: blocks after which the clock ends the run; None: it does not.
    """

    blocks_max: int
    workloads: int = WORKLOADS
    cut: int | None = None

    @property
    def plan(self) -> Plan:
        """With a share of the error for tails, first call and load."""
        return Plan(blocks_max=self.blocks_max, family=self.workloads + 3)

    @property
    def blocks(self) -> int:
        """Blocks that can be measured at most."""
        return self.blocks_max if self.cut is None else self.cut


class Logs(NamedTuple):
    """Logs of unchanged code. The four processes are two of the base, then two of the candidate."""

    calls: Floats  # [runs, blocks, 4, workloads, rounds]
    first_call: Floats  # [runs, blocks, 4]
    load: Floats  # [runs, blocks, 4]


def made_up(
    noise: float, shape: str, recipe: Recipe, runs: int, generator: np.random.Generator, rounds: int = ROUNDS
) -> Logs:
    """Runs whose blocks have log-ratios of standard deviation `noise`, of which calls are a part.

    Single calls deviate by `noise` too; a block's median over `rounds` leaves 1.57 / rounds of their variance
    (the efficiency of a median), and processes deviate by the rest.
    """
    draw, size = SHAPES[shape], (runs, recipe.blocks, 4)
    own = noise * math.sqrt(1 - math.pi / 2 / rounds)
    common = math.sqrt(SHARED) * draw(generator, (*size, 1, 1))
    apart = math.sqrt(1 - SHARED) * draw(generator, (*size, recipe.workloads, 1))
    calls = noise * draw(generator, (*size, recipe.workloads, rounds))
    start = [noise * draw(generator, size) for _ in range(2)]
    return Logs(own * (common + apart) + calls, *start)


def drawn(recording: Logs, recipe: Recipe, runs: int, generator: np.random.Generator) -> Logs:
    """Runs of blocks of a recording [1, blocks, ...], drawn with replacement.

    Its four processes are called base and candidate at random: they ran the same code.
    """
    chosen = generator.integers(recording.load.shape[1], size=(runs, recipe.blocks))
    order = generator.permuted(np.broadcast_to(np.arange(4), (*chosen.shape, 4)), axis=-1)
    calls = recording.calls[0][chosen[..., None], order][..., : recipe.workloads, :]
    return Logs(calls, *(part[0][chosen[..., None], order] for part in recording[1:]))


def exit_codes(logs: Logs, change: float, recipe: Recipe, limits: RelativeLimits) -> Codes:
    """The exit code of each run [runs] whose candidate is `change` slower (0.2: 20 %) in every call."""
    slower = np.array([0.0, 0.0, 1.0, 1.0]) * math.log1p(change)
    calls = logs.calls + slower[:, None, None]
    levels = tail_log(np.exp(calls)).mean(axis=-1)
    rows = [
        *((*_pairs(calls[:, :, :, place]), recipe.plan) for place in range(recipe.workloads)),
        (*_pairs(levels[..., None]), tail_plan(recipe.plan)),
    ]
    ends = _ends(rows, recipe)
    codes = np.zeros(len(calls), np.int64)
    for number, (ratios, twins, plan) in enumerate(rows):
        upper = limits.time_ratio.upper if number < recipe.workloads else limits.tail_ratio.upper
        codes = _worst(codes, _at_the_end(ratios, twins, plan, ends, upper, _compared))
    start = start_plan(recipe.plan)
    begun = (
        (_pairs((logs.first_call + slower)[..., None]), limits.first_call_ratio),
        (_partners(logs.load + slower), limits.load_ratio),
    )
    for (ratios, twins), limit in begun:
        codes = _worst(codes, _at_the_end(ratios, twins, start, ends, limit.upper, _start))
    return codes


class _Ends(NamedTuple):
    """After how many blocks each run ended [runs], and whether a look decided everything."""

    blocks: NDArray[np.int64]
    decided: NDArray[np.bool_]


def _ends(rows: list[tuple[Floats, Floats, Plan]], recipe: Recipe) -> _Ends:
    """A run ends at the first look at which no centre and no tail is undecided, else when it is used up."""
    runs = len(rows[0][0])
    blocks, decided = np.full(runs, recipe.blocks), np.zeros(runs, np.bool_)
    for look in [look for look in recipe.plan.looks if look <= recipe.blocks]:
        names = [answers(ratios[:, :look], twins[:, :look], plan).names for ratios, twins, plan in rows]
        done = np.all([name != Verdict.UNDECIDED.value for name in names], axis=0) & ~decided
        blocks[done], decided = look, decided | done
    return _Ends(blocks, decided)


def _at_the_end(
    ratios: Floats,
    twins: Floats,
    plan: Plan,
    ends: _Ends,
    upper: float,
    code: Callable[[Floats, Floats, Plan, bool, float], Codes],
) -> Codes:
    """The code of one question for each run, at its end: `compare.conclude`."""
    codes = np.zeros(len(ratios), np.int64)
    for blocks in np.unique(ends.blocks):
        for decided in (False, True):
            some = (ends.blocks == blocks) & (ends.decided == decided)
            if some.any():
                codes[some] = code(ratios[some, :blocks], twins[some, :blocks], plan, not decided, upper)
    return codes


def _compared(ratios: Floats, twins: Floats, plan: Plan, last: bool, upper: float) -> Codes:
    """`verdict.change.compared`: a decision, and the limit of the ratio held to its one-sided bounds."""
    seen = answers(ratios, twins, plan, last)
    passes = np.where(seen.quiet & (seen.high < upper), 0, 3)
    codes = np.select(
        [seen.names == Verdict.SLOWER.value, seen.names != Verdict.UNDECIDED.value], [1, 0], passes
    )
    over = np.where(seen.quiet & (seen.low > upper), 1, 3)
    return np.where(seen.ratio > upper, _worst(codes, over), codes)


def _start(ratios: Floats, twins: Floats, plan: Plan, last: bool, upper: float) -> Codes:
    """`verdict.change` on what a process does once: what stays below the limit passes, sure or not."""
    seen = answers(ratios, twins, plan, last)
    return np.where(seen.ratio <= upper, 0, np.where(seen.quiet & (seen.low > upper), 1, 3))


def _pairs(logs: Floats) -> tuple[Floats, Floats]:
    """Ratios [runs, n] and twins [runs, n, 2] of logs [runs, n, 4, rounds], as `compare.pairs` does."""
    base, candidate = logs[:, :, :2], logs[:, :, 2:]
    ratios = np.median(candidate.mean(axis=2) - base.mean(axis=2), axis=-1)
    twins = [np.median(arm[:, :, 0] - arm[:, :, 1], axis=-1) for arm in (base, candidate)]
    return ratios, np.stack(twins, axis=-1)


def _partners(logs: Floats) -> tuple[Floats, Floats]:
    """The same [runs, n] and [runs, n, 1] of loading times [runs, n, 4], as `compare.load_pairs` does."""
    partners = logs[:, :, 2:] - logs[:, :, :2]
    return partners.mean(axis=2), np.diff(partners, axis=2) / math.sqrt(2)


def _worst(one: Codes, other: Codes) -> Codes:
    """The code that wins, element by element: 1 over 3 over 0."""
    worst: Codes = SEVERITY[np.maximum(RANKS[one], RANKS[other])]
    return worst
