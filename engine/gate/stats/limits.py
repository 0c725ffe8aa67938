"""Figures held to a limit: the mean, the worst, the spread of calls, and memory that must not grow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from engine.errors import UsageError

ONE_PROCESS = 1.2
"""Identical code differs by up to about this factor from process to process, so one process tells no more."""

ENOUGH_CALLS = 10
"""From so many calls on their CV is held to the limit as it is; below, by its lower bound."""

SURE_GROWTH = 0.03
"""MiB a call. Growth that is surely above it fails: at a call every three seconds it is 0.8 GiB a day."""

BASE_GROWTH = 0.02
"""MiB a call by which the candidate must surely grow faster than the base before it fails for that."""

GROWTH_LEVEL = 0.99
"""Confidence of the lower bound of the growth."""

LEAST_CALLS, STEP_CALLS = 3, 6
"""Fewest calls of a process that have a slope, and fewest in which a single step is told from growth."""


def cv(samples: ArrayLike) -> float:
    """Coefficient of variation: sample standard deviation (ddof = 1) / mean, defined here only.

    Raises:
        UsageError: fewer than two samples, or one that is not a positive number.
    """
    values = _finite(samples)
    if values.size < 2 or (values <= 0).any():
        raise UsageError(
            f"samples {values.ravel()[:4]}", "at least two positive numbers, to have a spread", "Measure more"
        )
    return float(values.std(ddof=1) / values.mean())


@dataclasses.dataclass(frozen=True)
class LimitCheck:
    """A figure held to an upper limit: `exit_code` 0 within, 1 over, 3 over but not sure."""

    estimate: float
    lower_95: float
    limit: float
    exit_code: Literal[0, 1, 3]


def limit_check(values: ArrayLike, limit: float, kind: Literal["mean", "worst"] = "mean") -> LimitCheck:
    """The figure of some processes held to an upper limit. A figure over the limit never passes.

    From two processes on it fails, however little it is over. A single process fails where it is over by more
    than processes of the same code differ, and else it cannot tell.

    Args:
        values: one for each process: its mean RTF, its worst call, its peak memory.
        limit: the largest allowed value, in the same unit.
        kind: the mean over the processes, or the worst of them.

    Raises:
        UsageError: no values, or one that is not a finite number.
    """
    array = _finite(values, limit)
    mean = float(array[0] + (array - array[0]).mean())  # equal values have exactly themselves as mean
    estimate = float(array.max()) if kind == "worst" else mean
    lower = estimate / ONE_PROCESS if array.size == 1 else lower_bound(array, 0.95)
    sure = array.size > 1 or lower > limit
    return LimitCheck(estimate, lower, limit, 0 if estimate <= limit else 1 if sure else 3)


def cv_check(calls: ArrayLike, limit: float) -> LimitCheck:
    """The CV over all calls held to an upper limit; its lower bound decides where the calls are few.

    Raises:
        UsageError: fewer than two calls, or one that is not a positive number.
    """
    estimate, array = cv(calls), _finite(calls, limit)
    free = array.size - 1
    lower = estimate * math.sqrt(free / float(stats.chi2.isf(0.05, free)))
    sure = lower > limit or array.size >= ENOUGH_CALLS
    return LimitCheck(estimate, lower, limit, 0 if estimate <= limit else 1 if sure else 3)


def lower_bound(values: ArrayLike, level: float) -> float:
    """The one-sided lower bound of the mean by Student's t; minus infinity from a single value."""
    array = _finite(values)
    if array.size < 2:
        return -math.inf
    error = float(array.std(ddof=1)) / math.sqrt(array.size)
    return float(array.mean()) - error * float(stats.t.ppf(level, array.size - 1))


def growth_slope(megabytes: ArrayLike) -> float:
    """Growth of one process in MiB a call: the least of the slopes of all its calls and of their two halves.

    Each slope is Theil and Sen's, the median over all pairs of calls. A single step, such as an arena that is
    taken once, leaves one half flat and is no growth; steps that come again and again are in both halves.
    Fewer than six calls cannot be halved and have the slope of all.

    Raises:
        UsageError: fewer than two values, or one that is not a finite number.
    """
    array = _finite(megabytes)
    if array.size < 2:
        raise UsageError(f"{array.size} value(s)", "at least two to have a slope", "Measure more calls")
    if array.size < STEP_CALLS:
        return _slope(array)
    half = array.size // 2
    return min(_slope(array), _slope(array[:half]), _slope(array[half:]))


@dataclasses.dataclass(frozen=True)
class Growth:
    """What the processes' slopes [MiB a call] say: `estimate` is their mean, `lower` its 99 % bound.

    `exit_code`: 0 no growth that is sure, 1 growth surely above the limit, 3 over the absolute limit, unsure.
    `judged` of `processes` had calls enough.
    """

    estimate: float
    lower: float
    limit: float
    exit_code: Literal[0, 1, 3]
    judged: int
    processes: int


def growth_check(
    memory: Sequence[Sequence[float]], limit: float, base: Sequence[Sequence[float]] = ()
) -> Growth | None:
    """Memory [MiB] after every call of each process, held to growth that is sure and to the absolute limit.

    Growth fails where its lower 99 % bound is above 0.03 MiB a call and above the base's own growth, or where
    the mean is over `limit` whatever the base did. Where no process had calls enough to tell a step from
    growth, or only one process did, what is over is unsure.

    Returns:
        None where no process has three calls.

    Raises:
        UsageError: a value is not a finite number.
    """
    long = [calls for calls in memory if len(calls) >= LEAST_CALLS]
    if not long:
        return None
    slopes = [growth_slope(calls) for calls in long]
    before = [growth_slope(calls) for calls in base if len(calls) >= LEAST_CALLS]
    estimate, lower = float(np.mean(slopes)), lower_bound(slopes, GROWTH_LEVEL)
    allowed = max([SURE_GROWTH, *([float(np.mean(before)) + BASE_GROWTH] if before else [])])
    steps_told = len(slopes) > 1 and all(len(calls) >= STEP_CALLS for calls in long)
    over = estimate > limit or lower > allowed
    code: Literal[0, 1, 3] = 0 if not over else 1 if steps_told else 3
    return Growth(estimate, lower, min(limit, allowed), code, len(long), len(memory))


def _slope(array: NDArray[np.float64]) -> float:
    """Theil and Sen's slope: the median over all pairs of calls."""
    return float(stats.theilslopes(array).slope)


def _finite(values: ArrayLike, *others: float) -> NDArray[np.float64]:
    """The values as an array, checked to be finite numbers and not empty."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 or not np.all(np.isfinite(array)) or not all(map(math.isfinite, others)):
        given = f"values {array.ravel()[:4]}" + (f", limit {others[0]}" if others else "")
        raise UsageError(given, "finite numbers, at least one", "Measure again")
    return array
