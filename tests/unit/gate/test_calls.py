"""What the calls inside one process say: warm-up, tails, memory."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from engine.errors import UsageError
from engine.gate.stats.calls import memory_slope, settled, tail, tail_level, tail_log

scales = st.floats(1e-3, 1e3)
seeds = st.integers(0, 2**32 - 1)


class TestSettled:
    def test_a_start_that_stands_out_has_not_settled(self):
        """Slower or faster by more than 5 % and more than the scatter of the later calls explains."""
        cases = [
            ([0.36] * 8, True),
            ([0.51, 0.36, 0.361, 0.359, 0.36, 0.36], False),
            ([0.51, 0.46, 0.36, 0.361, 0.359, 0.36], False),
            ([0.30, 0.36, 0.361, 0.359, 0.36, 0.36], False),  # boost clocks are not steady either
            ([0.37, 0.36, 0.36, 0.36, 0.36, 0.36], True),  # within 5 %
            ([0.379, 0.36, 0.36, 0.36, 0.36, 0.36], False),
            ([0.36, 0.36, 0.9, 0.36, 0.36, 0.36], True),  # a slow call later is tail, not warm-up
            ([0.5, 0.3, 0.6, 0.2, 0.5, 0.4], True),  # noise
            ([0.40, 0.36, 0.42, 0.36, 0.361, 0.359], True),  # the later two thirds count, not the later half
        ]
        for curve, expected in cases:
            assert settled(curve) is expected, curve

    def test_few_calls_cannot_tell(self):
        """Four calls have too little to be compared with, five have enough."""
        assert settled([9.0, 1.0, 1.0, 1.0])
        assert settled([9.0])
        assert not settled([9.0, 1.0, 1.0, 1.0, 1.0])

    @pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
    def test_noise_alone_is_rarely_taken_for_warm_up(self, noise):
        """At most 1 % of steady curves, long or short, single or averaged, are called unsettled."""
        random = np.random.default_rng(0)
        for calls in (5, 6, 8, 12, 20):
            for processes in (1, 8):
                curves = random.lognormal(0, noise, (1000, processes, calls)).mean(axis=1)
                wrong = sum(not settled(curve) for curve in curves)
                assert stats.binomtest(wrong, 1000, 0.01, alternative="greater").pvalue > 0.001

    def test_a_slow_first_call_is_found_in_the_mean_of_many_processes(self):
        """20 % of warm-up left over, under 5 % noise in each of 20 processes."""
        random = np.random.default_rng(1)
        curves = random.lognormal(0, 0.05, (200, 20, 8))
        curves[..., 0] *= 1.2
        assert np.mean([not settled(curve) for curve in curves.mean(axis=1)]) > 0.99

    @given(st.lists(st.floats(0.01, 10), min_size=1, max_size=30), scales)
    def test_is_free_of_scale(self, times, scale):
        """Seconds or milliseconds: the same answer."""
        assert settled(times) == settled(np.array(times) * scale)

    def test_refuses_nothing(self):
        """No calls, no answer; a time of zero is none."""
        for wrong in ([], [1.0, 0.0], [math.nan]):
            with pytest.raises(UsageError):
                settled(wrong)


class TestTail:
    def test_reports_percentile_and_worst(self):
        """p95, the worst call, their number, and whether sixty were seen."""
        found = tail(np.arange(1, 61))
        assert (found.p95, found.worst, found.calls, found.enough) == (pytest.approx(57.05), 60.0, 60, True)
        assert tail(np.arange(1, 60)).enough is False

    def test_level_is_one_without_slow_calls(self):
        """Calls up to 1.1x the median weigh nothing."""
        assert tail_level([[1.0, 1.0, 1.0, 1.09]]) == 1.0

    def test_level_weighs_what_exceeds_the_floor(self):
        """Every 20th call at 1.5x: 0.4 / 1.1 / 20 of the floor."""
        assert tail_level([[1.0] * 19 + [1.5]]) == pytest.approx(1 + 0.4 / 1.1 / 20)

    def test_level_is_the_geometric_mean_over_workloads(self):
        """A heavy workload and a clean one share the weight."""
        heavy, clean = [1.0] * 4 + [2.2], [5.0] * 5
        assert tail_level([heavy, clean]) == pytest.approx(math.sqrt(tail_level([heavy])))
        assert tail_level([heavy]) == pytest.approx(1.2)

    @given(seeds, scales)
    def test_level_is_free_of_scale_and_order(self, seed, scale):
        """Neither the unit nor the order of calls matters."""
        calls = np.random.default_rng(seed).lognormal(0, 0.3, 20)
        assert tail_level([scale * calls[::-1]]) == pytest.approx(tail_level([calls]))

    def test_many_at_once_agree_with_one_at_a_time(self):
        """The vectorised form is the same measure."""
        calls = np.random.default_rng(1).lognormal(0, 0.3, (3, 2, 20))
        expected = [[math.log(tail_level([row])) for row in pair] for pair in calls]
        assert np.allclose(tail_log(calls), expected)

    @pytest.mark.parametrize("calls", [[], [[]], [[1.0, 0.0]], [[math.nan]]])
    def test_refuses_what_is_no_time(self, calls):
        """No workloads, no calls, or no times: an error."""
        with pytest.raises(UsageError):
            tail_level(calls)

    def test_says_that_workloads_are_missing(self):
        """The error names the cure."""
        with pytest.raises(UsageError) as caught:
            tail_level([])
        assert str(caught.value) == "no workloads: expected at least one. Pass the calls of each workload."


class TestMemory:
    @given(st.lists(st.floats(1, 1000), min_size=2, max_size=12))
    def test_slope_is_the_median_of_pairs(self, megabytes):
        """Theil-Sen by brute force over all pairs."""
        pairs = combinations(enumerate(megabytes), 2)
        slopes = [(later - earlier) / (j - i) for (i, earlier), (j, later) in pairs]
        assert memory_slope(megabytes) == pytest.approx(np.median(slopes), abs=1e-9)

    def test_a_leak_is_its_slope(self):
        """1 MB a call is found under noise."""
        noise = np.random.default_rng(0).normal(0, 0.5, 30)
        assert memory_slope(500 + np.arange(30) + noise) == pytest.approx(1.0, abs=0.05)

    def test_one_step_is_no_slope(self):
        """A cache filled early on does not look like a leak."""
        assert memory_slope([500.0] * 3 + [550.0] * 9) == 0.0

    def test_one_call_has_no_slope(self):
        """A single reading grows by nothing."""
        assert memory_slope([500.0]) == 0.0

    def test_refuses_placeholders(self):
        """Zero megabytes were not measured."""
        with pytest.raises(UsageError):
            memory_slope([0.0, 1.0])
