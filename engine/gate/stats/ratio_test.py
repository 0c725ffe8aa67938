"""From log-ratios to a verdict: pure functions over numpy and scipy.

The unit of independence is a process, the unit of pairing a call. A block holds two processes of the base and
two of the candidate, alive together, which speak the same texts in turn. It gives one log-ratio (candidate /
base) and two twin differences: the same for the two processes of one arm, which ran the same code. A
Student-t interval for the mean log-ratio over blocks decides.

Two things keep the promised error rates:

- **Looks.** A run may stop early, at `Plan.looks`. The allowed error is spent over the looks by the power
  family of Kim and DeMets (doi:10.1093/biomet/74.1.149) and simply added up (Bonferroni), as it is over the
  family of verdicts. The last look spends what the looks before have left, whether the plan or the clock
  ended the run: the clock does not know which way the samples point.
- **The A/A control.** The twins' differences give the noise, together with the spread of the log-ratios: the
  residual of a randomised block design, 3n - 1 degrees of freedom for n blocks. Where the log-ratios
  themselves surely spread wider (F-test), they count alone. With one process an arm there are no twins, and
  the spread of the log-ratios counts alone too. Identical processes that surely differ too much decide
  nothing.

A machine that changes its pace need not stop a run. In each round the four processes speak one after the
other, within seconds and in random order: drift and throttling multiply the times of both arms alike and
leave their ratio alone, a change of pace in the middle of a round spoils that round only and the block's
median ignores it, and what order remains falls on either arm with equal chance. What slows single processes
(a bad core, an unlucky allocation) is what twins see.

Arrays are written `[..., n]`: any leading axes, n blocks.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from engine.errors import UsageError
from engine.gate.stats.calls import Floats as Floats
from engine.gate.stats.calls import memory_slope as memory_slope
from engine.gate.stats.looks import HOPELESS, blocks_needed, half_widths
from engine.gate.stats.looks import THRESHOLD as THRESHOLD
from engine.gate.stats.looks import Plan as Plan

TAIL_MARGIN = 0.01
"""Tail levels of two arms that agree within this are the same."""

NOISE_LIMIT = 0.20
"""A machine whose identical processes surely differ by more than this CV decides nothing."""

START_MARGIN = 0.10
"""First calls and loading times of two arms that agree within this are the same."""


ALONE = "One block of one process an arm shows no spread, so nothing can be decided; measure two or more."


class Verdict(str, enum.Enum):
    """What the candidate's time is, compared with the base's."""

    FASTER = "FASTER"
    SAME = "SAME"
    SLOWER = "SLOWER"
    UNDECIDED = "UNDECIDED"


@dataclasses.dataclass(frozen=True)
class Interval:
    """A confidence interval for candidate time / base time, at `level` over all looks (and workloads)."""

    low: float
    high: float
    level: float


@dataclasses.dataclass(frozen=True)
class Control:
    """What the machine did to identical code.

    Attributes:
        noise: CV of identical processes, from the twins of each block; None where there are none.
        quiet: identical processes did not differ too much to decide.
        reason: one sentence.
    """

    noise: float | None
    quiet: bool
    reason: str


@dataclasses.dataclass(frozen=True)
class Decision:
    """The verdict on one workload and what it rests on.

    Attributes:
        ratio: candidate time / base time; 1.2 is 20 % slower.
        wide: decides FASTER and SLOWER (99.5 %, family-wise over workloads and looks).
        narrow: decides SAME (90 %, over looks).
        blocks: how many were measured.
        blocks_needed: how many in all would decide at this ratio and noise; None if no 1000 would, or none is
            needed.
        reason: one sentence for people.
    """

    verdict: Verdict
    ratio: float
    wide: Interval
    narrow: Interval
    blocks: int
    blocks_needed: int | None
    control: Control
    reason: str

    @property
    def upper_95(self) -> float:
        """One-sided 95 % upper bound of the ratio, over looks."""
        return self.narrow.high


def decide(ratios: ArrayLike, twins: ArrayLike, plan: Plan, last: bool = False) -> Decision:
    """Judge one workload after some blocks, at one of `plan.looks` or at the end of the run.

    Args:
        ratios: [n], log(candidate / base) of each block; of times, tail levels, or any positive quantity.
        twins: [n, k], log differences of identical code in each block, each with twice the variance of the
            block's log-ratio: k = 2, one of each arm; 0 where each arm had one process.
        plan: the plan that the run was started with.
        last: nothing will follow, so all error that is left is spent.

    Raises:
        UsageError: wrong shapes, more blocks than planned, or a number that is not finite.
    """
    means, pairs = np.asarray(ratios, dtype=np.float64), np.asarray(twins, dtype=np.float64)
    fits = means.ndim == 1 and 1 <= means.size <= plan.blocks_max and pairs.ndim == 2
    fits = fits and len(pairs) == means.size and pairs.shape[1] <= 2
    if not fits or not (np.isfinite(means).all() and np.isfinite(pairs).all()):
        expected = f"finite [n] and [n, k] with 1 <= n <= {plan.blocks_max} and k <= 2"
        raise UsageError(f"ratios {means.shape}, twins {pairs.shape}", expected, "Pass whole blocks")
    seen, blocks = _summarise(means, pairs), means.size
    verdict, control = Verdict(str(_judge(seen, plan, last))), _control(seen)
    mean, (wide, narrow) = float(seen.mean), seen.half_widths(plan, last)
    outer = _interval(mean, float(wide), 1 - plan.alpha)
    inner = _interval(mean, float(narrow), 1 - 2 * plan.alpha_same)
    needed = None
    if verdict is Verdict.UNDECIDED and control.quiet and seen.freedom > 0:
        needed = blocks_needed(float(seen.noise), mean, plan, blocks + 1, pairs.shape[1])
    shown = inner if verdict is Verdict.SAME else outer
    if not control.quiet:
        reason = f"UNDECIDED: {control.reason}"
    elif not seen.freedom > 0:
        reason = f"UNDECIDED: {ALONE}"
    else:
        reason = _reason(verdict, mean, shown, blocks, needed)
    return Decision(verdict, math.exp(mean), outer, inner, blocks, needed, control, reason)


class Answers(NamedTuple):
    """`decide` for many runs at once, each [...]: the verdict's name, and what exit codes follow from."""

    names: NDArray[np.str_]
    ratio: Floats
    low: Floats  # of the narrow interval, as `high` is
    high: Floats
    quiet: NDArray[np.bool_]


def answers(ratios: Floats, twins: Floats, plan: Plan, last: bool = False) -> Answers:
    """`decide` for many runs at once: ratios [..., n], twins [..., n, k]."""
    seen = _summarise(ratios, twins)
    narrow = seen.half_widths(plan, last)[1]
    with np.errstate(over="ignore"):
        low, high = np.exp(seen.mean - narrow), np.exp(seen.mean + narrow)
    return Answers(_judge(seen, plan, last), np.exp(seen.mean), low, high, ~np.asarray(seen.noisy))


def verdicts(ratios: Floats, twins: Floats, plan: Plan, last: bool = False) -> NDArray[np.str_]:
    """The verdicts' names [...] alone."""
    return answers(ratios, twins, plan, last).names


def finished(decisions: Sequence[Decision]) -> bool:
    """Whether measuring may stop at this look: no workload is undecided."""
    return all(decision.verdict is not Verdict.UNDECIDED for decision in decisions)


def exit_code(decision: Decision, threshold: float = THRESHOLD) -> int:
    """0 pass, 1 regression, 3 undecided.

    An undecided result passes only if the machine was quiet and its 95 % upper bound is below the threshold.
    """
    if decision.verdict is Verdict.SLOWER:
        return 1
    if decision.verdict is not Verdict.UNDECIDED:
        return 0
    return 0 if decision.control.quiet and decision.upper_95 < 1 + threshold else 3


def tail_plan(plan: Plan) -> Plan:
    """The plan for tail levels: same budget and error rates, a narrower margin."""
    return dataclasses.replace(plan, margin=TAIL_MARGIN)


def start_plan(plan: Plan) -> Plan:
    """The plan for first calls and loading times: same budget and error rates, a wider margin."""
    return dataclasses.replace(plan, margin=START_MARGIN)


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What the verdict needs to know of some runs. Each [...], of the block log-ratios unless it says so."""

    blocks: int
    mean: Any
    noise: Any  # standard deviation
    freedom: Any  # degrees of freedom of `noise`
    control: Any  # the same from the twins alone
    noisy: Any

    def half_widths(self, plan: Plan, last: bool) -> tuple[Any, Any]:
        """Of the wide and the narrow interval."""
        return half_widths(self.noise, self.freedom, self.blocks, plan, last)


def _summarise(ratios: Floats, twins: Floats) -> _Seen:
    """Reduce ratios [..., n] and twins [..., n, k] to the mean and noise of the log-ratios."""
    blocks, mean = ratios.shape[-1], ratios.mean(axis=-1)
    squares = ((ratios - mean[..., None]) ** 2).sum(axis=-1)  # n - 1 degrees of freedom
    count = blocks * twins.shape[-1]  # degrees of freedom of the twins
    if count == 0:
        noise = np.sqrt(squares / max(1, blocks - 1))
        missing = np.full_like(mean, np.nan)
        return _Seen(blocks, mean, noise, np.full_like(mean, blocks - 1), missing, np.zeros(mean.shape, bool))
    control = (twins**2).mean(axis=(-2, -1)) / 2  # variance of a process, and of two against two
    alone = squares > (blocks - 1) * control * special.fdtri(blocks - 1, count, 0.95)
    freedom = np.where(alone, blocks - 1, blocks - 1 + count)
    noise = np.sqrt((squares + np.where(alone, 0.0, count * control)) / freedom)
    noisy = control * count > NOISE_LIMIT**2 * special.chdtri(count, 0.05)
    return _Seen(blocks, mean, noise, freedom, np.sqrt(control), noisy)


def _judge(seen: _Seen, plan: Plan, last: bool) -> NDArray[np.str_]:
    """The verdict's name [...] for each summarised run."""
    wide, narrow = seen.half_widths(plan, last)
    same = np.abs(seen.mean) + narrow < math.log1p(plan.margin)
    tests = [seen.noisy, same, seen.mean > wide, seen.mean < -wide]
    names = [Verdict.UNDECIDED, Verdict.SAME, Verdict.SLOWER, Verdict.FASTER]
    return np.select(tests, [name.value for name in names], Verdict.UNDECIDED.value)


def _control(seen: _Seen) -> Control:
    """The A/A control in words."""
    noise, noisy = float(seen.control), bool(seen.noisy)
    if math.isnan(noise):
        return Control(None, True, "Each arm had one process, so identical processes were not compared.")
    reason = f"Processes that ran the same code differ by {noise:.1%} (CV)"
    return Control(noise, not noisy, reason + (", too much to measure on." if noisy else "."))


def _interval(mean: float, half: float, level: float) -> Interval:
    """The interval of the ratio, from the log-ratio's."""
    with np.errstate(over="ignore"):  # after one block the bound may well be infinite
        return Interval(float(np.exp(mean - half)), float(np.exp(mean + half)), level)


def _reason(verdict: Verdict, mean: float, shown: Interval, blocks: int, needed: int | None) -> str:
    """One sentence on the verdict, with the interval that decided or failed to."""
    count = f"{blocks} block{'s' * (blocks != 1)}"
    change = f"{abs(math.expm1(mean)):.1%} {'slower' if mean > 0 else 'faster'} over {count}"
    change += f" ({100 * shown.level:g}% interval {shown.low - 1:+.1%} to {shown.high - 1:+.1%})"
    if verdict is not Verdict.UNDECIDED:
        return f"{verdict.value}: {change}."
    advice = f"about {needed} blocks in all" if needed else f"not even {HOPELESS} blocks"
    return f"UNDECIDED: {change} may be chance; at this noise {advice} would decide."
