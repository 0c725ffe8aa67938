"""The mean of a few values and how sure it is: Student's t, for every interval of a mean that is shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from engine.errors import UsageError

LEVEL = 0.95


class Interval(NamedTuple):
    """A mean with its bounds, the standard deviation of the values, and their number."""

    mean: float
    low: float
    high: float
    sd: float
    n: int


class Spread(NamedTuple):
    """A standard deviation and the degrees of freedom that it was estimated with."""

    sd: float
    freedom: int


def mean_interval(
    values: ArrayLike,
    level: float = LEVEL,
    side: Literal["both", "low", "high"] = "both",
    *,
    least_sd: float = 0.0,
    spread: Spread | None = None,
) -> Interval:
    """The mean of independent values and its interval by Student's t (`scipy.stats.t`).

    A single value has no spread of its own, so its bounds are infinite. Values that are all equal are their
    own bounds.

    Args:
        values: [n], one from each independent unit.
        level: chance that the interval, or the one bound that is asked for, holds the true mean.
        side: both bounds, or one of them alone; the other one is infinite.
        least_sd: the standard deviation is never taken to be below it.
        spread: of such values, if more is known of it than they say themselves (see `pooled`).

    Raises:
        UsageError: no values, one that is not finite, or a level that is no probability.
    """
    array = np.asarray(values, np.float64)
    if not array.size or not np.isfinite(array).all():
        raise UsageError(f"values {array.ravel()[:4]}", "finite numbers, at least one", "Measure more")
    if not 0 < level < 1:
        raise UsageError(f"level={level}", "a probability between 0 and 1", "Pass one, such as 0.95")
    mean = float(array[0] + (array - array[0]).mean())  # equal values have exactly themselves as mean
    own = (
        Spread(float(array.std(ddof=1)) if np.ptp(array) else 0.0, array.size - 1) if array.size > 1 else None
    )
    known = spread or own
    if known is None or not known.freedom:
        return Interval(mean, -math.inf, math.inf, math.inf, array.size)
    sd = max(known.sd, least_sd)
    quantile = (1 + level) / 2 if side == "both" else level
    half = float(stats.t.ppf(quantile, known.freedom)) * sd / math.sqrt(array.size)
    low = -math.inf if side == "high" else mean - half
    high = math.inf if side == "low" else mean + half
    return Interval(mean, low, high, sd, array.size)


def pooled(groups: Iterable[Sequence[float]]) -> Spread:
    """The spread of values around the mean of their own group: what groups of equal noise say together."""
    arrays = [np.asarray(group, np.float64) for group in groups if len(group)]
    freedom = sum(array.size - 1 for array in arrays)
    squares = sum(float(((array - array.mean()) ** 2).sum()) for array in arrays)
    return Spread(math.sqrt(squares / freedom) if freedom else 0.0, freedom)
