"""Figures held to a limit: one CV, a mean and a worst that fail as they are, and growth that must be sure."""

from __future__ import annotations

import statistics
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.gate.stats.limits import (
    cv,
    cv_check,
    growth_check,
    growth_slope,
    limit_check,
    lower_bound,
)

RTFS = st.lists(st.floats(0.01, 10.0), min_size=2, max_size=40)


@given(RTFS)
def test_the_cv_is_the_sample_standard_deviation_over_the_mean(samples: list[float]) -> None:
    """The oracle is the standard library's; the CV of scaled samples is the same."""
    expected = statistics.stdev(samples) / statistics.fmean(samples)
    assert cv(samples) == pytest.approx(expected, abs=1e-12)
    assert cv([3 * sample for sample in samples]) == pytest.approx(cv(samples), abs=1e-12)


def test_what_has_no_spread_or_no_size_is_refused() -> None:
    """One sample, none, and what is no positive finite number."""
    for samples in ([], [1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")]):
        with pytest.raises(UsageError):
            cv(samples)
    for values, limit in (([], 1.0), ([float("nan")], 1.0), ([1.0], float("inf"))):
        with pytest.raises(UsageError, match="finite"):
            limit_check(values, limit)


@given(RTFS, st.floats(0.01, 10.0))
def test_from_two_processes_on_a_figure_fails_exactly_when_it_is_over(
    values: list[float], limit: float
) -> None:
    """However little it is over: the rule is about the figure. It never passes over the limit."""
    mean, worst = limit_check(values, limit), limit_check(values, limit, "worst")
    assert mean.estimate == pytest.approx(statistics.fmean(values))
    assert worst.estimate == max(values)
    for check in (mean, worst):
        assert check.exit_code == (1 if check.estimate > limit else 0)


def test_one_process_tells_only_what_is_far_over() -> None:
    """Processes of the same code differ by up to a fifth, so a little over is undecided, and never a pass."""
    codes = {value: limit_check([value], 0.36).exit_code for value in (0.2, 0.36, 0.361, 0.43, 0.44, 1.0)}
    assert codes == {0.2: 0, 0.36: 0, 0.361: 3, 0.43: 3, 0.44: 1, 1.0: 1}


def test_equal_values_have_exactly_themselves_as_mean() -> None:
    """Rounding of a sum does not put a process over its own limit."""
    for value in (0.1, 0.36, 1 / 3):
        assert limit_check([value] * 7, value).exit_code == 0


def test_few_calls_fail_a_cv_only_where_it_is_sure_and_ten_as_it_is() -> None:
    """A CV of three calls is worth little; its lower bound by chi-square must be over."""
    steady, jittery, wild = [0.2, 0.2, 0.21], [0.2, 0.2, 0.31], [0.2] * 2 + [2.0]
    assert [cv_check(calls, 0.2).exit_code for calls in (steady, jittery, wild)] == [0, 3, 1]
    assert cv_check(([0.2] * 9) + [0.36], 0.2).exit_code == 1
    assert cv_check(([0.2] * 9) + [0.30], 0.2).exit_code == 0


def test_the_lower_bound_covers_the_mean_as_often_as_it_says() -> None:
    """At 99 % it lies above the true mean in one of a hundred samples."""
    random = np.random.default_rng(1)
    above = [lower_bound(random.standard_normal(5), 0.99) > 0 for _ in range(4000)]
    assert np.mean(above) == pytest.approx(0.01, abs=0.006)
    assert lower_bound([1.0], 0.99) == -np.inf


# Growth


def memory(slope: float, calls: int, processes: int, seed: int = 0, noise: float = 0.02) -> list[list[float]]:
    """MiB after each call of some processes."""
    random = np.random.default_rng(seed)
    return [
        [float(500 + slope * i + noise * random.standard_normal()) for i in range(calls)]
        for _ in range(processes)
    ]


def test_the_slope_is_the_median_of_all_pairs() -> None:
    """The oracle is the definition of Theil and Sen, over fewer calls than are halved."""
    random = np.random.default_rng(2)
    for size in (2, 3, 4, 5):
        values = [float(value) for value in random.standard_normal(size)]
        slopes = [
            (values[later] - values[earlier]) / (later - earlier)
            for later in range(size)
            for earlier in range(later)
        ]
        assert growth_slope(values) == pytest.approx(statistics.median(slopes))
    with pytest.raises(UsageError, match="at least two"):
        growth_slope([500.0])


def test_a_single_step_wherever_it_falls_is_no_growth() -> None:
    """An arena that is taken once, in every process at the same call, however large."""
    for calls in (6, 7, 12, 40, 300):
        for place in range(1, calls):
            steps = [500.0 + 64 * (i >= place) for i in range(calls)]
            assert growth_slope(steps) == 0, (calls, place)
    check = growth_check([[500.0] * 10 + [564.0] * 10] * 6, 0.25)
    assert check is not None
    assert check.exit_code == 0


def test_steps_that_come_again_are_growth_in_a_long_soak() -> None:
    """Eight MiB every 50 calls are 0.16 a call, which no short series can see and a soak must."""
    soak = [500.0 + 8 * (i // 50) for i in range(400)]
    check = growth_check([soak, soak, soak], 0.25)
    assert check is not None
    assert (check.exit_code, check.estimate) == (1, pytest.approx(0.16, abs=0.04))
    short = growth_check([soak[:20]] * 6, 0.25)
    assert short is not None
    assert short.exit_code == 0


def test_growth_fails_where_it_is_sure_and_noise_does_not() -> None:
    """A quarter of a MiB a call fails for ever; 0.01, as measured on steady code, practically never does."""
    false = 0
    for seed in range(300):
        grown, steady = (
            growth_check(memory(0.24, 8, 6, seed), 0.25),
            growth_check(memory(0.01, 8, 6, seed), 0.25),
        )
        assert grown is not None
        assert steady is not None
        assert grown.exit_code == 1
        false += steady.exit_code != 0
    assert false <= 3


def test_the_absolute_limit_fails_whatever_the_base_does() -> None:
    """What both arms leak is no regression of the change, until it is over the limit."""
    shared = growth_check(memory(0.1, 8, 6, 1), 0.25, memory(0.1, 8, 6, 2))
    own = growth_check(memory(0.1, 8, 6, 1), 0.25, memory(0.01, 8, 6, 2))
    much = growth_check(memory(0.3, 8, 6, 1), 0.25, memory(0.3, 8, 6, 2))
    assert [check and check.exit_code for check in (shared, own, much)] == [0, 1, 1]


def test_processes_without_calls_enough_are_counted_and_prove_nothing() -> None:
    """Two calls have no slope; four cannot tell a step from growth; one process has no spread."""
    assert growth_check([[500.0, 510.0]] * 6, 0.25) is None
    assert growth_check([], 0.25) is None
    mixed = growth_check([*memory(0.01, 8, 4), [500.0, 501.0]], 0.25)
    assert mixed is not None
    assert (mixed.judged, mixed.processes, mixed.exit_code) == (4, 5, 0)
    for few in (memory(1.0, 4, 6), memory(1.0, 12, 1)):
        check = growth_check(few, 0.25)
        assert check is not None
        assert check.exit_code == 3


def test_more_growth_is_never_judged_better() -> None:
    """The code rises with the slope, at the same noise."""
    codes = [growth_check(memory(slope, 8, 6, 3), 0.25) for slope in np.linspace(0, 1, 21)]
    values = [check.exit_code for check in codes if check is not None]
    assert len(values) == 21
    assert all(before <= after for before, after in pairwise(values))
