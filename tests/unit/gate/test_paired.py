"""Paired differences: bounds against an oracle, error rates as promised, and how many pairs it takes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from engine.errors import UsageError
from engine.gate.stats.paired import ALPHA, ALPHA_PASS, estimate, needed

VALUES = st.lists(st.floats(-1, 1), min_size=2, max_size=30)


@given(VALUES)
@settings(deadline=None)
def test_bounds_are_those_of_two_one_sided_t_tests(values: list[float]) -> None:
    """scipy's t-test, turned around: at a bound its p-value is the error rate."""
    found = estimate(values, family=5)
    if np.std(values) < 1e-6:
        return
    greater = stats.ttest_1samp(values, found.low, alternative="greater").pvalue
    less = stats.ttest_1samp(values, found.high, alternative="less").pvalue
    assert greater == pytest.approx(ALPHA / 5, rel=1e-4)
    assert less == pytest.approx(ALPHA_PASS, rel=1e-4)
    assert found.low <= found.mean <= found.high


def test_equal_differences_have_no_spread() -> None:
    """Identical outputs: the bounds are the mean itself, exactly."""
    found = estimate([0.1, 0.1, 0.1])
    assert (found.mean, found.low, found.high, found.sd) == (0.1, 0.1, 0.1, 0.0)


def test_one_pair_bounds_nothing() -> None:
    """A single clip has no spread to judge by."""
    found = estimate([0.5])
    assert (found.mean, found.low, found.high) == (0.5, -math.inf, math.inf)


def test_differences_that_are_no_numbers_are_refused() -> None:
    """Nothing to average."""
    for values in ([], [math.nan, 1.0], [math.inf]):
        with pytest.raises(UsageError, match="finite numbers"):
            estimate(values)


def test_error_rates_at_the_limit_are_as_promised() -> None:
    """A candidate exactly at its limit: alarms in 1 % and passes in 5 % of 4,000 simulated runs."""
    for pairs in (4, 8, 24):
        generator = np.random.default_rng(pairs)
        estimates = [estimate(generator.normal(0.02, 0.05, pairs)) for _ in range(4_000)]
        alarms = sum(estimate.low > 0.02 for estimate in estimates)
        passes = sum(estimate.high < 0.02 for estimate in estimates)
        assert stats.binomtest(alarms, 4_000, ALPHA).pvalue > 0.001, pairs
        assert stats.binomtest(passes, 4_000, ALPHA_PASS).pvalue > 0.001, pairs


def test_the_pairs_called_needed_pass_an_unchanged_candidate() -> None:
    """In nine of ten simulated runs, and not with far fewer."""
    for sd, limit in ((0.05, 0.02), (0.15, 0.2), (0.03, 0.04), (1.0, 0.05)):
        pairs = needed(sd, limit)
        assert pairs is not None
        rates = []
        for size in (pairs, max(2, pairs // 2)):
            values = np.random.default_rng(0).normal(0, sd, (2_000, size))
            t, error = stats.t.ppf(ALPHA_PASS, size - 1), values.std(axis=1, ddof=1) / size**0.5
            rates.append((values.mean(axis=1) - t * error <= limit).mean())
        assert rates[0] >= 0.88, (sd, limit)
        assert rates[1] < rates[0] - 0.1, (sd, limit)


def test_no_spread_needs_two_pairs_and_hopeless_none() -> None:
    """Ends of the scale."""
    assert needed(0.0, 0.02) == 2
    assert needed(10.0, 0.001) is None
    assert needed(math.inf, 0.02) is None


@given(st.floats(0.001, 0.5), st.floats(0.005, 0.5))
@settings(deadline=None, max_examples=50)
def test_a_wider_limit_never_needs_more_pairs(sd: float, limit: float) -> None:
    """Monotone."""
    tight, wide = needed(sd, limit), needed(sd, 2 * limit)
    assert tight is None or (wide is not None and wide <= tight)
