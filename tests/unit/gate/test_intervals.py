"""The interval of a mean: against the density of Student's t, in coverage, and at its ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from engine.errors import UsageError
from engine.gate.stats.intervals import Spread, mean_interval, pooled

VALUES = st.lists(st.floats(-100, 100).map(lambda value: round(value, 3)), min_size=2, max_size=20)


def tail(score: float, freedom: int) -> float:
    """The chance above `score`: the density of Student's t (1908), integrated."""
    scale = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(freedom * math.pi)
    density = integrate.quad(lambda x: scale * (1 + x * x / freedom) ** (-(freedom + 1) / 2), 0, score)[0]
    return 0.5 - float(density)


@given(VALUES, st.floats(0.55, 0.99))
@settings(deadline=None, max_examples=50)
def test_beyond_each_bound_lies_the_chance_that_is_left(values: list[float], level: float) -> None:
    """The density's integral from the mean to a bound, for both bounds and for one of them alone."""
    if np.ptp(values) < 1e-3:
        return
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    both = mean_interval(values, level)
    assert tail((both.high - both.mean) / error, len(values) - 1) == pytest.approx((1 - level) / 2, rel=1e-4)
    assert both.mean - both.low == pytest.approx(both.high - both.mean)
    low, high = mean_interval(values, level, "low"), mean_interval(values, level, "high")
    assert tail((high.high - high.mean) / error, len(values) - 1) == pytest.approx(1 - level, rel=1e-4)
    assert high.high - high.mean == pytest.approx(low.mean - low.low)
    assert (low.high, high.low) == (math.inf, -math.inf)


@given(VALUES, st.floats(-50, 50), st.floats(0.1, 10))
@settings(deadline=None)
def test_the_interval_moves_and_grows_with_the_values(
    values: list[float], shift: float, factor: float
) -> None:
    """Other units change nothing but the units; the order of the values changes nothing."""
    interval = mean_interval(values)
    other = mean_interval([factor * value + shift for value in reversed(values)])
    assert other.low == pytest.approx(factor * interval.low + shift, abs=1e-6)
    assert other.high == pytest.approx(factor * interval.high + shift, abs=1e-6)


def test_the_true_mean_is_inside_as_often_as_promised() -> None:
    """4,000 simulated samples of three sizes: 90 % of the intervals, 95 % of the single bounds."""
    draw = np.random.default_rng(1)
    for size in (2, 5, 24):
        samples = draw.normal(3.0, 2.0, (4_000, size))
        inside = sum(low <= 3.0 <= high for _, low, high, *_ in (mean_interval(row, 0.9) for row in samples))
        above = sum(mean_interval(row, 0.95, "low").low <= 3.0 for row in samples)
        assert stats.binomtest(inside, 4_000, 0.9).pvalue > 0.001
        assert stats.binomtest(above, 4_000, 0.95).pvalue > 0.001


def test_values_that_are_all_equal_are_their_own_bounds() -> None:
    """Exactly, whatever their sum rounds to, unless a spread is known to be there."""
    assert mean_interval([0.1] * 3) == (0.1, 0.1, 0.1, 0.0, 3)
    floor = mean_interval([0.1] * 3, least_sd=0.5)
    assert (floor.sd, floor.high > 0.1) == (0.5, True)


def test_a_single_value_bounds_nothing() -> None:
    """It has no spread."""
    assert mean_interval([0.5])[:3] == (0.5, -math.inf, math.inf)


def test_what_has_no_mean_is_refused() -> None:
    """No values, no finite ones, or a level that is no probability."""
    for values, level in (([], 0.9), ([math.nan, 1.0], 0.9), ([math.inf], 0.9), ([1.0, 2.0], 1.0)):
        with pytest.raises(UsageError, match=r"finite numbers|between 0 and 1"):
            mean_interval(values, level)


@given(st.lists(VALUES, min_size=1, max_size=6))
@settings(deadline=None)
def test_groups_of_equal_noise_say_together_how_much_it_is(groups: list[list[float]]) -> None:
    """Slow oracle: a regression on one indicator for each group; a single group knows what it knew alone."""
    values = np.concatenate(groups)
    columns = np.zeros((len(values), len(groups)))
    columns[np.arange(len(values)), np.repeat(np.arange(len(groups)), [len(group) for group in groups])] = 1
    residuals = values - columns @ np.linalg.lstsq(columns, values, rcond=None)[0]
    spread = pooled(groups)
    assert spread.freedom == len(values) - len(groups)
    assert spread.sd**2 * spread.freedom == pytest.approx(float(residuals @ residuals), abs=1e-6)
    alone, known = mean_interval(groups[0]), mean_interval(groups[0], spread=pooled(groups[:1]))
    assert known[:3] == pytest.approx(alone[:3])


def test_a_spread_that_is_known_bounds_a_single_value() -> None:
    """With the degrees of freedom of those who know it; a spread that nobody knows bounds nothing."""
    one = mean_interval([1.0], 0.95, spread=Spread(0.1, 20))
    assert one.high - 1 == pytest.approx(0.1 * stats.t.ppf(0.975, 20))
    assert mean_interval([1.0], spread=pooled([[1.0], [2.0]])).low == -math.inf
