"""From timings to a verdict: pure functions over numpy and scipy.

The unit of independence is a process. Four processes form a block, run in the order base, candidate,
candidate, base (ABBA) or the reverse (BAAB), drawn at random. A steady drift cancels inside a block, and
whatever the machine does, a candidate that is not different is as likely to come out ahead of the base as
behind it. One block gives one log-ratio of process medians; a Student-t interval for the mean over blocks
decides.

Three things keep the promised error rates:

- **Looks.** A run may stop early, at `Plan.looks`. The allowed error is spent over the looks by the power
  family of Kim and DeMets (doi:10.1093/biomet/74.1.149) and simply added up (Bonferroni), as it is over the
  family of verdicts.
- **The A/A control.** The two processes of one arm in a block ran the same code. Their differences give the
  noise, together with the spread of the log-ratios: the residual of a randomised block design, 3n - 1 degrees
  of freedom for n blocks. For any noise in which neighbours resemble each other at least as much as strangers
  do, they overstate it, so a few throttled processes that happen to line up with one arm do not pass for a
  change. Where the log-ratios themselves surely spread wider (F-test), they count alone.
- **A steady machine.** Drift and throttling make neighbours resemble each other, which Bartels' rank test
  (doi:10.1080/01621459.1982.10477764) sees under any distribution of the noise. If it does, and the pace
  changed much, or if identical processes differ too much, nothing is decided.

Arrays are written `[..., n, 4]`: any leading axes, n blocks, the four processes in the order in which they
ran.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from engine.errors import UsageError
from engine.gate.stats.calls import Floats as Floats
from engine.gate.stats.calls import detect_warmup as detect_warmup
from engine.gate.stats.calls import memory_slope as memory_slope
from engine.gate.stats.calls import positive
from engine.gate.stats.calls import tail_level as tail_level
from engine.gate.stats.looks import HOPELESS, blocks_needed, half_widths
from engine.gate.stats.looks import THRESHOLD as THRESHOLD
from engine.gate.stats.looks import Plan as Plan

TAIL_MARGIN = 0.01
"""Tail levels of two arms that agree within this are the same."""

NOISE_LIMIT = 0.20
"""A machine whose identical processes surely differ by more than this CV decides nothing."""

UNSTEADY_P = 0.001
"""Chance of calling a steady machine unsteady."""


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
        noise: CV of process medians, from pairs of processes of the same arm and block.
        swing: largest relative change of pace between blocks.
        quiet: the machine was steady enough to decide.
        reason: one sentence.
    """

    noise: float
    swing: float
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


def cv(samples: ArrayLike) -> float:
    """Coefficient of variation: sample standard deviation (ddof = 1) / mean, defined here only.

    Raises:
        UsageError: fewer than two samples, or one that is not a positive number.
    """
    values = positive(samples)
    if values.size < 2:
        raise UsageError(f"{values.size} sample(s)", "at least two to have a spread", "Measure more")
    return float(values.std(ddof=1) / values.mean())


def decide(times: ArrayLike, base_first: Sequence[bool] | NDArray[np.bool_], plan: Plan) -> Decision:
    """Judge one workload after some blocks, at one of `plan.looks` (or once when the time runs out before).

    Args:
        times: process medians [n, 4] in seconds, in the order in which the processes ran (any positive
            quantity will do: tail levels, peak memory).
        base_first: [n], True where the block ran ABBA, False where BAAB.
        plan: the plan that the run was started with.

    Raises:
        UsageError: wrong shapes, more blocks than planned, or a time that is not a positive number.
    """
    array, first = positive(times), np.asarray(base_first, dtype=np.bool_)
    if array.shape != (first.size, 4) or first.size > plan.blocks_max:
        expected = f"[n, 4] and [n] with n <= {plan.blocks_max}"
        raise UsageError(f"times {array.shape}, base_first {first.shape}", expected, "Pass whole blocks")
    seen, blocks = _summarise(array, first, plan), first.size
    verdict, control = Verdict(str(_judge(seen, plan))), _control(seen)
    mean, (wide, narrow) = float(seen.mean), seen.half_widths(plan)
    outer = _interval(mean, wide, 1 - plan.alpha)
    inner = _interval(mean, narrow, 1 - 2 * plan.alpha_same)
    needed = None
    if verdict is Verdict.UNDECIDED and control.quiet:
        needed = blocks_needed(float(seen.noise), mean, plan, blocks + 1)
    shown = inner if verdict is Verdict.SAME else outer
    reason = (
        _reason(verdict, mean, shown, blocks, needed) if control.quiet else f"UNDECIDED: {control.reason}"
    )
    return Decision(verdict, math.exp(mean), outer, inner, blocks, needed, control, reason)


def verdicts(times: Floats, base_first: NDArray[np.bool_], plan: Plan) -> NDArray[np.str_]:
    """`decide` for many runs at once: times [..., n, 4], base_first [..., n] -> verdict names [...]."""
    return _judge(_summarise(times, base_first, plan), plan)


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


@dataclasses.dataclass(frozen=True)
class LimitCheck:
    """A product limit held against process values: exit_code 0 within, 1 over, 3 over but unsure."""

    estimate: float
    lower_95: float
    limit: float
    exit_code: int


def limit_check(values: ArrayLike, limit: float, kind: Literal["mean", "worst", "cv"] = "mean") -> LimitCheck:
    """Hold an upper limit against one value per process. A point estimate over the limit never passes.

    Args:
        values: one per process: its mean RTF, its worst RTF, its memory slope, its median time.
        limit: the largest allowed value, same unit.
        kind: what the limit is about: the mean over processes; the worst of all (its bound is that of a
            typical process's worst, so a single outlier is unsure); or the CV over processes.

    Raises:
        UsageError: no values, or one that is not a finite number.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 or not np.all(np.isfinite(array)) or not math.isfinite(limit):
        raise UsageError(
            f"values {array.ravel()[:4]}, limit {limit}", "finite numbers, at least one", "Measure again"
        )
    free = array.size - 1
    if kind == "cv":
        estimate = cv(array)
        lower = estimate * math.sqrt(free / stats.chi2.isf(0.05, free))
    else:
        mean = float(array[0] + (array - array[0]).mean())  # equal values have exactly themselves as mean
        estimate = float(array.max()) if kind == "worst" else mean
        spread = float(array.std(ddof=1)) / math.sqrt(array.size) if free else math.inf
        lower = mean - spread * (float(stats.t.isf(0.05, free)) if free else 1.0)
    return LimitCheck(estimate, lower, limit, 0 if estimate <= limit else 1 if lower > limit else 3)


def tail_plan(plan: Plan) -> Plan:
    """The plan for tail levels: same budget and error rates, a narrower margin."""
    return dataclasses.replace(plan, margin=TAIL_MARGIN)


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What the verdict needs to know of some runs. Each [...], of the block log-ratios unless it says so."""

    blocks: int
    mean: Any
    noise: Any  # standard deviation
    freedom: Any  # degrees of freedom of `noise`
    twins: Any  # the same from the A/A control alone
    pace: Any  # log of slowest block / fastest block
    noisy: Any
    unsteady: Any

    def half_widths(self, plan: Plan) -> tuple[Any, Any]:
        """Of the wide and the narrow interval."""
        return half_widths(self.noise, self.freedom, self.blocks, plan)


def _summarise(times: Floats, base_first: NDArray[np.bool_], plan: Plan) -> _Seen:
    """Reduce times [..., n, 4] to the mean and noise of the log-ratios, and the state of the machine."""
    logs, sign = np.log(times), np.where(base_first, 1.0, -1.0)
    first, second, third, fourth = np.moveaxis(logs, -1, 0)  # each [..., n]
    ratios = sign * (second + third - first - fourth) / 2
    blocks, mean = ratios.shape[-1], ratios.mean(axis=-1)
    twins = (((fourth - first) ** 2 + (third - second) ** 2) / 4).mean(
        axis=-1
    )  # variance, 2n degrees of freedom
    squares = ((ratios - mean[..., None]) ** 2).sum(axis=-1)  # n - 1 degrees of freedom
    alone = squares > (blocks - 1) * twins * special.fdtri(blocks - 1, 2 * blocks, 0.95)
    freedom = np.where(alone, blocks - 1, 3 * blocks - 1)
    noise = np.sqrt((squares + np.where(alone, 0.0, 2 * blocks * twins)) / freedom)
    pace = np.ptp(logs.mean(axis=-1), axis=-1)
    unsteady = np.asarray(pace >= math.log1p(plan.swing))
    if unsteady.any():  # the rank test is slow, and only asked where the pace changed
        effect = (mean[..., None] * sign / 2)[..., None] * np.array([-1.0, 1.0, 1.0, -1.0])
        rest = (logs - effect).reshape(*mean.shape, 4 * blocks)
        unsteady[unsteady] = _serial_p(rest[unsteady]) < UNSTEADY_P
    noisy = twins * 2 * blocks > NOISE_LIMIT**2 * special.chdtri(2 * blocks, 0.05)
    return _Seen(blocks, mean, noise, freedom, np.sqrt(twins), pace, noisy, unsteady)


def _serial_p(series: Floats) -> Floats:
    """P-value [m] of Bartels' rank test: do neighbours in each series [m, k] resemble each other?"""
    ranks, count = stats.rankdata(series, axis=-1), series.shape[-1]
    total = ((ranks - (count + 1) / 2) ** 2).sum(axis=-1)
    steps = (np.diff(ranks, axis=-1) ** 2).sum(axis=-1)
    variance = 4 * (count - 2) * (5 * count**2 - 2 * count - 9) / (5 * count * (count + 1) * (count - 1) ** 2)
    p: Floats = special.ndtr((steps / total - 2) / math.sqrt(variance))
    return p


def _judge(seen: _Seen, plan: Plan) -> NDArray[np.str_]:
    """The verdict's name [...] for each summarised run."""
    wide, narrow = seen.half_widths(plan)
    same = np.abs(seen.mean) + narrow < math.log1p(plan.margin)
    tests = [seen.noisy | seen.unsteady, same, seen.mean > wide, seen.mean < -wide]
    names = [Verdict.UNDECIDED, Verdict.SAME, Verdict.SLOWER, Verdict.FASTER]
    return np.select(tests, [name.value for name in names], Verdict.UNDECIDED.value)


def _control(seen: _Seen) -> Control:
    """The A/A control in words."""
    noise, swing = float(seen.twins), math.expm1(seen.pace)
    if seen.unsteady:
        reason = f"The machine changed its pace by {swing:.0%} during the run (drift or throttling)"
    elif seen.noisy:
        reason = f"Processes that ran the same code differ by {noise:.0%} (CV), too much to measure on"
    else:
        reason = f"The machine was steady; processes that ran the same code differ by {noise:.1%} (CV)"
    return Control(noise, swing, not (seen.unsteady or seen.noisy), reason + ".")


def _interval(mean: float, half: float, level: float) -> Interval:
    """The interval of the ratio, from the log-ratio's."""
    with np.errstate(over="ignore"):  # after one block the bound may well be infinite
        return Interval(float(np.exp(mean - half)), float(np.exp(mean + half)), level)


def _reason(verdict: Verdict, mean: float, shown: Interval, blocks: int, needed: int | None) -> str:
    """One sentence on the verdict, with the interval that decided or failed to."""
    change = f"{abs(math.expm1(mean)):.1%} {'slower' if mean > 0 else 'faster'} over {blocks} blocks"
    change += f" ({100 * shown.level:g}% interval {shown.low - 1:+.1%} to {shown.high - 1:+.1%})"
    if verdict is not Verdict.UNDECIDED:
        return f"{verdict.value}: {change}."
    advice = f"about {needed} blocks in all" if needed else f"not even {HOPELESS} blocks"
    return f"UNDECIDED: {change} may be chance; at this noise {advice} would decide."
