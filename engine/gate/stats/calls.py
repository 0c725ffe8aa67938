"""What the calls inside one process say: warm-up, tails, memory. Pure functions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from engine.errors import UsageError

SETTLED_CALLS = 5
"""Fewest calls from which an unsettled start can be told from noise."""

SETTLED_ALPHA = 0.01
"""Chance of calling a steady curve unsettled, at most: it must also differ by 5 %."""

Floats = NDArray[np.float64]

SLOW_CALL = 1.1
"""A call slower than this many times its process's median belongs to the tail."""

TAIL_CALLS = 60
"""Fewest calls from which a 95th percentile and a worst call are reported."""


@dataclasses.dataclass(frozen=True)
class Tail:
    """The slow end of one arm's calls, in the calls' unit. `enough`: at least 60 calls were seen."""

    p95: float
    worst: float
    calls: int
    enough: bool


def tail(calls: ArrayLike) -> Tail:
    """95th percentile and worst of all calls of one arm, for the report."""
    values = positive(calls)
    return Tail(float(np.percentile(values, 95)), float(values.max()), values.size, values.size >= TAIL_CALLS)


def tail_level(calls_by_workload: Sequence[ArrayLike]) -> float:
    """How heavy the slow end of one process is: 1.0 when no call exceeds 1.1x its workload's median.

    One process's few calls say little, so this is the geometric mean over its workloads. The levels
    of all processes are compared in blocks, like the centre, with `ratio_test.tail_plan(plan)`.

    Raises:
        UsageError: no workloads, no calls, or a time that is not a positive number.
    """
    if not calls_by_workload:
        raise UsageError("no workloads", "at least one", "Pass the calls of each workload")
    return math.exp(float(np.mean([tail_log(calls) for calls in calls_by_workload])))


def tail_log(calls: ArrayLike) -> Floats:
    """Log of (mean call, all raised to at least 1.1x the median) / (1.1x the median): [..., k] -> [...]."""
    values = positive(calls)
    floor = SLOW_CALL * np.median(values, axis=-1, keepdims=True)
    logs: Floats = np.log(np.maximum(values / floor, 1.0).mean(axis=-1))
    return logs


def memory_slope(megabytes: ArrayLike) -> float:
    """Growth of one process in MB per call: Theil-Sen, the median slope of all pairs of its calls.

    A single step is no slope. (scipy's `theilslopes` makes an interval too, which nobody asks for here.)

    Hold the slopes of all processes against the limit with `limit_check`.
    """
    values = positive(megabytes)
    earlier, later = np.triu_indices(values.size, 1)
    slopes = (values[later] - values[earlier]) / (later - earlier)
    return float(np.median(slopes)) if slopes.size else 0.0


def settled(curve: ArrayLike) -> bool:
    """Whether the calls that count began after warm-up was over, judged from their mean curve.

    The first call is held against the later two thirds: it is apart if it differs from their mean by 5 % and
    by more than their scatter explains (a Student-t prediction of its log at 1 %). A first call that is
    faster is no steady one either. Fewer than five calls cannot tell, and are taken to be settled.

    Args:
        curve: seconds of call 0, 1, 2 ... after the warm-up, averaged over all processes (each divided by its
            own median, so that slow processes do not weigh more).

    Raises:
        UsageError: no calls, or a time that is not a positive number.
    """
    values = np.log(positive(curve))
    later = values[max(1, values.size // 3) :]
    if values.size < SETTLED_CALLS:
        return True
    centre, scatter = later.mean(), later.std(ddof=1) * math.sqrt(1 + 1 / later.size)
    apart = abs(values[0] - centre)
    free = later.size - 1
    return not apart > max(math.log1p(0.05), scatter * -special.stdtrit(free, SETTLED_ALPHA / 2))


def positive(values: ArrayLike) -> Floats:
    """The values as an array, checked to be positive finite numbers and not empty."""
    array = np.asarray(values, dtype=np.float64)
    wrong = array[~(np.isfinite(array) & (array > 0))]
    if array.size == 0 or wrong.size:
        given = f"values such as {wrong[0]}" if wrong.size else "no values"
        raise UsageError(given, "positive numbers, at least one", "Measure again")
    return array
