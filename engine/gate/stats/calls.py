"""What the calls inside one process say: warm-up, tails, memory. Pure functions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import UsageError

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

    One process's few calls say little, so this is the geometric mean over its workloads. Feed the levels of
    all processes [n, 4] to `statistics.decide` with `statistics.tail_plan(plan)`: tails are compared in
    blocks, like the centre.

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


def detect_warmup(times: ArrayLike) -> int:
    """How many leading calls of a process are warm-up.

    The later half of the calls is taken as steady; leading calls that stand out from it (by more than four of
    its robust standard deviations and by 5 %) are warm-up. Half of the calls means: it never settled.
    """
    values = positive(times)
    half = values.size // 2
    centre = np.median(values[half:])
    scatter = 1.4826 * np.median(np.abs(values[half:] - centre))
    apart = np.abs(values[:half] - centre) > max(4 * scatter, 0.05 * centre)
    return half if apart.all() else int(np.argmin(apart))


def positive(values: ArrayLike) -> Floats:
    """The values as an array, checked to be positive finite numbers and not empty."""
    array = np.asarray(values, dtype=np.float64)
    wrong = array[~(np.isfinite(array) & (array > 0))]
    if array.size == 0 or wrong.size:
        given = f"values such as {wrong[0]}" if wrong.size else "no values"
        raise UsageError(given, "positive numbers, at least one", "Measure again")
    return array
