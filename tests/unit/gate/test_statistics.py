"""The verdict: properties any judge must have, slow oracles for its numbers, every branch by example."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics as plain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from engine.errors import UsageError
from engine.gate.stats import looks
from engine.gate.stats.ratio_test import (
    NOISE_LIMIT,
    Control,
    Decision,
    Interval,
    Plan,
    Verdict,
    _serial_p,
    cv,
    decide,
    exit_code,
    finished,
    limit_check,
    tail_plan,
    verdicts,
)

PLAN = Plan(10, family=4)
seeds = st.integers(0, 2**32 - 1)


def measured(seed: int, change: float = 0.0, noise: float = 0.05, blocks: int = 10, drift: float = 0.0):
    """Process medians [blocks, 4] and orders [blocks] of a candidate that is `change` slower."""
    generator = np.random.default_rng(seed)
    base_first = looks.draw_orders(blocks, generator)
    logs = noise * generator.standard_normal((blocks, 4)) + np.linspace(0, drift, 4 * blocks).reshape(
        blocks, 4
    )
    return np.exp(logs + candidates(base_first) * math.log1p(change)), base_first


def candidates(base_first):
    """Which processes [blocks, 4] ran the candidate."""
    return np.array([[not first, first, first, not first] for first in base_first])


def log_ratios(times, base_first):
    """One per block: mean log of the candidate's two processes minus the base's."""
    candidate, logs = candidates(base_first), np.log(times)
    return np.array([row[own].mean() - row[~own].mean() for row, own in zip(logs, candidate, strict=True)])


def residual_design(times, base_first):
    """Slow oracle: least squares on block means and the arm -> effect, its standard error, freedom."""
    blocks = len(base_first)
    arm = candidates(base_first).astype(float).ravel()
    design = np.column_stack([np.repeat(np.eye(blocks), 4, axis=0), arm])
    logs = np.log(times).ravel()
    solution, *_ = np.linalg.lstsq(design, logs, rcond=None)
    freedom = logs.size - blocks - 1
    rest = logs - design @ solution
    covariance = rest @ rest / freedom * np.linalg.inv(design.T @ design)
    return solution[-1], math.sqrt(covariance[-1, -1]), freedom


def wider_between_blocks(blocks: int = 10):
    """Times whose log-ratios differ from block to block while the twins agree to a part in a thousand."""
    base_first = np.arange(blocks) % 2 == 0
    effect = np.where(np.arange(blocks) % 4 < 2, 0.10, -0.06)[:, None]
    wobble = 0.001 * np.random.default_rng(3).standard_normal((blocks, 4))
    return np.exp(candidates(base_first) * effect + wobble), base_first


class TestCv:
    @given(st.lists(st.floats(0.01, 100), min_size=2, max_size=30))
    def test_is_sample_deviation_over_mean(self, samples):
        """The definition is the sample standard deviation (ddof 1) over the mean."""
        assert cv(samples) == pytest.approx(plain.stdev(samples) / plain.fmean(samples), abs=1e-9)

    @pytest.mark.parametrize(
        "samples", [[], [1.0], [1.0, 0.0], [1.0, -1.0], [1.0, math.nan], [1.0, math.inf]]
    )
    def test_refuses_what_has_no_cv(self, samples):
        """Too few, zero, negative and non-finite samples are errors, never a number."""
        with pytest.raises(UsageError, match="at least"):
            cv(samples)

    def test_says_what_is_missing(self):
        """The error names what was given, what is needed, and the cure."""
        with pytest.raises(UsageError) as caught:
            cv([1.0])
        assert str(caught.value) == "1 sample(s): expected at least two to have a spread. Measure more."


class TestIntervals:
    @pytest.mark.parametrize("seed", range(8))
    @pytest.mark.parametrize("blocks", [1, 2, 7, 10])
    def test_agree_with_a_randomised_block_design(self, seed, blocks):
        """Centre and half widths are those of a linear model with block means and an arm effect."""
        times, base_first = measured(seed, 0.03, blocks=blocks)
        effect, error, freedom = residual_design(times, base_first)
        decision = decide(times, base_first, PLAN)
        if blocks > 1 and _block_spread_dominates(times, base_first):
            error, freedom = stats.sem(log_ratios(times, base_first)), blocks - 1
        spent = PLAN.share(blocks)
        wide = stats.t.isf(0.005 / 4 / 2 * spent, freedom) * error
        narrow = stats.t.isf(0.05 * spent, freedom) * error
        assert math.log(decision.ratio) == pytest.approx(effect, abs=1e-12)
        assert decision.wide == approx_interval(effect, wide, 0.995)
        assert decision.narrow == approx_interval(effect, narrow, 0.90)
        assert decision.upper_95 == decision.narrow.high

    def test_rest_on_the_log_ratios_alone_where_they_spread_wider(self):
        """When blocks disagree far more than twins do, it is the one-sample t interval over blocks."""
        times, base_first = wider_between_blocks()
        assert _block_spread_dominates(times, base_first)
        decision = decide(times, base_first, PLAN)
        test = stats.ttest_1samp(log_ratios(times, base_first), 0.0)
        expected = test.confidence_interval(1 - 0.005 / 4 * PLAN.share(10))
        assert math.log(decision.wide.low) == pytest.approx(expected.low, abs=1e-12)
        assert math.log(decision.wide.high) == pytest.approx(expected.high, abs=1e-12)

    @pytest.mark.parametrize(("scale", "alone"), [(0.99, False), (1.01, True)])
    @pytest.mark.parametrize("blocks", [4, 10])
    def test_turn_to_the_log_ratios_alone_at_five_percent_of_f(self, blocks, scale, alone):
        """Just below the F-test's critical ratio of variances both count, just above only the blocks."""
        base_first = np.arange(blocks) % 2 == 0
        shape = np.where(np.arange(blocks) % 4 < 2, 1.0, -1.0)
        ratios = 0.02 + shape * 0.01 / shape.std(ddof=1)
        critical = stats.f.isf(0.05, blocks - 1, 2 * blocks)
        twin = 0.01 / math.sqrt(scale * critical)
        halves = np.where(base_first[:, None], [0, 1, 1, 0], [1, 0, 0, 1]) * ratios[:, None]
        times = np.exp(halves + twin * np.array([1, 1, -1, -1]) / math.sqrt(2))
        squares = (blocks - 1) * 0.01**2 + (0 if alone else 2 * blocks * twin**2)
        freedom = blocks - 1 if alone else 3 * blocks - 1
        error = math.sqrt(squares / freedom / blocks)
        decision = decide(times, base_first, Plan(blocks, swing=9.0))
        spent = Plan(blocks).share(blocks)
        half = stats.t.isf(0.05 * spent, freedom) * error
        assert math.log(decision.upper_95) == pytest.approx(ratios.mean() + half, rel=1e-9)

    def test_upper_bound_is_rarely_below_the_truth(self):
        """At most one run in twenty claims an upper bound below the true ratio."""
        below = 0
        for seed in range(400):
            decision = decide(*measured(seed, 0.1, noise=0.1), PLAN)
            below += decision.upper_95 < 1.1
        assert stats.binomtest(below, 400, 0.05, alternative="greater").pvalue > 0.001
        assert below > 0

    def test_report_their_levels(self):
        """The levels follow from the plan's error rates."""
        decision = decide(*measured(1), Plan(10, alpha=0.02, alpha_same=0.1))
        assert (decision.wide.level, decision.narrow.level) == (0.98, 0.8)


def bounded_exp(value):
    """exp, infinite where it overflows."""
    return math.inf if value > 700 else math.exp(value)


def approx_interval(mean, half, level):
    """The interval of a ratio, compared loosely."""
    return Interval(
        pytest.approx(bounded_exp(mean - half)), pytest.approx(bounded_exp(mean + half)), pytest.approx(level)
    )


def _block_spread_dominates(times, base_first) -> bool:
    """Slow oracle of the F-test at 5 %."""
    logs, blocks = np.log(times), len(base_first)
    twins = [(row[3] - row[0]) ** 2 / 4 + (row[2] - row[1]) ** 2 / 4 for row in logs]
    variance = np.var(log_ratios(times, base_first), ddof=1)
    return bool(variance / np.mean(twins) > stats.f.isf(0.05, blocks - 1, 2 * blocks))


class TestVerdict:
    @given(seeds, st.floats(-0.3, 0.3), st.floats(0.001, 0.2))
    def test_swapping_the_arms_flips_it(self, seed, change, noise):
        """Candidate and base exchanged: the reciprocal ratio and the opposite verdict."""
        times, base_first = measured(seed, change, noise)
        one, other = decide(times, base_first, PLAN), decide(times, ~base_first, PLAN)
        flipped = {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}
        assert other.verdict == flipped.get(one.verdict, one.verdict)
        assert other.ratio == pytest.approx(1 / one.ratio)
        assert other.wide.low == pytest.approx(1 / one.wide.high)
        assert other.control.quiet == one.control.quiet

    @given(seeds, st.floats(-0.3, 0.3), st.floats(1e-6, 1e6))
    def test_rescaling_changes_nothing(self, seed, change, scale):
        """Seconds or milliseconds: the same decision."""
        times, base_first = measured(seed, change)
        one, other = decide(times, base_first, PLAN), decide(times * scale, base_first, PLAN)
        assert (one.verdict, one.ratio, one.upper_95) == (
            other.verdict,
            pytest.approx(other.ratio),
            pytest.approx(other.upper_95),
        )

    @given(seeds, st.floats(-0.3, 0.3), st.permutations(range(10)))
    def test_the_order_of_blocks_changes_nothing(self, seed, change, order):
        """Blocks are exchangeable on a steady machine."""
        times, base_first = measured(seed, change, noise=0.01)
        one = decide(times, base_first, PLAN)
        other = decide(times[list(order)], base_first[list(order)], PLAN)
        assert one.verdict == other.verdict
        assert one.wide.high == pytest.approx(other.wide.high)

    @given(seeds, st.floats(-0.3, 0.3))
    def test_a_block_read_backwards_is_the_same_block(self, seed, change):
        """ABBA and BAAB are palindromes, so time may run backwards."""
        times, base_first = measured(seed, change)
        one, other = decide(times, base_first, PLAN), decide(times[::-1, ::-1], base_first[::-1], PLAN)
        assert (one.verdict, one.ratio) == (other.verdict, pytest.approx(other.ratio))

    @pytest.mark.parametrize(
        ("change", "noise", "verdict"),
        [
            (0.2, 0.05, Verdict.SLOWER),
            (-0.2, 0.05, Verdict.FASTER),
            (0.0, 0.01, Verdict.SAME),
            (0.03, 0.005, Verdict.SAME),  # surely slower, and surely not by much
            (0.07, 0.005, Verdict.SLOWER),
            (-0.07, 0.005, Verdict.FASTER),
            (0.05, 0.1, Verdict.UNDECIDED),
            (0.0, 0.15, Verdict.UNDECIDED),
        ],
    )
    def test_follows_interval_and_margin(self, change, noise, verdict):
        """SAME inside the margin comes first, then SLOWER and FASTER, else UNDECIDED."""
        assert decide(*measured(5, change, noise), PLAN).verdict is verdict

    @given(seeds, st.floats(-0.3, 0.3), st.floats(0.001, 0.2))
    def test_never_contradicts_its_intervals(self, seed, change, noise):
        """Each verdict says what its interval says, recomputed from the decision itself."""
        decision = decide(*measured(seed, change, noise), PLAN)
        wide, narrow = decision.wide, decision.narrow
        same = narrow.low > 1 / 1.05 and narrow.high < 1.05
        expected = {
            Verdict.SAME: same,
            Verdict.SLOWER: not same and wide.low > 1,
            Verdict.FASTER: not same and wide.high < 1,
            Verdict.UNDECIDED: not decision.control.quiet or not (same or wide.low > 1 or wide.high < 1),
        }
        assert expected[decision.verdict]

    @pytest.mark.parametrize(("effect", "verdict"), [(0.0487, Verdict.SAME), (0.0489, Verdict.SLOWER)])
    def test_margin_is_five_percent_up_in_logs(self, effect, verdict):
        """Without noise the border of SAME lies at log 1.05 on either side."""
        base_first = np.arange(10) % 2 == 0
        times = np.exp(candidates(base_first) * effect)
        assert decide(times, base_first, PLAN).verdict is verdict
        assert (decide(times, ~base_first, PLAN).verdict is Verdict.SAME) == (verdict is Verdict.SAME)

    @pytest.mark.parametrize("seed", range(40))
    def test_agrees_with_exact_sign_flips(self, seed):
        """All 2^10 flips of the block signs call no alarm ordinary, and no sameness extreme."""
        times, base_first = measured(seed, 0.1 * (seed % 2), noise=0.03)
        ratios = log_ratios(times, base_first)
        sums = [abs(sum(s * r for s, r in zip(signs, ratios, strict=True))) for signs in FLIPS]
        p = np.mean(np.array(sums) >= abs(ratios.sum()) - 1e-12)
        verdict = decide(times, base_first, Plan(10)).verdict
        if verdict in (Verdict.SLOWER, Verdict.FASTER):
            assert p < 0.05
        if verdict is Verdict.SAME:
            assert p > 0.001
        if seed % 2:
            assert verdict is Verdict.SLOWER
            assert p == pytest.approx(2 / 1024)

    def test_many_runs_at_once_agree_with_one_at_a_time(self):
        """The vectorised form that the calibration uses is the same judge."""
        runs = [
            measured(seed, change, noise, drift=drift)
            for seed in range(12)
            for change in (0.0, 0.06, -0.2)
            for noise in (0.01, 0.05, 0.25)
            for drift in (0.0, 0.4)
        ]
        times, orders = (np.stack(part) for part in zip(*runs, strict=True))
        one_by_one = [decide(*run, PLAN).verdict.value for run in runs]
        assert verdicts(times, orders, PLAN).tolist() == one_by_one
        assert set(one_by_one) == {"FASTER", "SAME", "SLOWER", "UNDECIDED"}
        shaped = verdicts(times.reshape(4, -1, 10, 4), orders.reshape(4, -1, 10), PLAN)
        assert shaped.ravel().tolist() == one_by_one

    @pytest.mark.parametrize(
        ("times", "base_first"),
        [
            (np.ones((11, 4)), [True] * 11),
            (np.ones((3, 4)), [True] * 4),
            (np.ones((3, 3)), [True] * 3),
            (np.ones((2, 3, 4)), [True] * 3),
            (np.ones((0, 4)), []),
            (np.zeros((3, 4)), [True] * 3),
            (np.full((3, 4), math.nan), [True] * 3),
            (np.full((3, 4), math.inf), [True] * 3),
        ],
    )
    def test_refuses_what_is_not_whole_blocks_of_times(self, times, base_first):
        """Wrong shapes, more blocks than planned, placeholders and non-numbers are errors."""
        with pytest.raises(UsageError, match="expected"):
            decide(times, base_first, PLAN)

    def test_says_which_shapes_do_not_fit(self):
        """The error names both shapes, the shapes that fit, and the cure."""
        with pytest.raises(UsageError) as caught:
            decide(np.ones((11, 4)), [True] * 11, PLAN)
        assert str(caught.value) == (
            "times (11, 4), base_first (11,): expected [n, 4] and [n] with n <= 10. Pass whole blocks."
        )

    def test_orders_may_be_a_plain_list(self):
        """Booleans from JSON, or zeros and ones, are as good as an array."""
        times, base_first = measured(3, 0.2)
        assert decide(times, [int(first) for first in base_first], PLAN) == decide(times, base_first, PLAN)
        assert decide(times.tolist(), base_first.tolist(), PLAN) == decide(times, base_first, PLAN)

    def test_the_budget_itself_may_be_used_up(self):
        """As many blocks as planned are not too many."""
        assert decide(*measured(1, blocks=10), PLAN).blocks == 10


FLIPS = list(itertools.product([1, -1], repeat=10))


class TestControl:
    def test_noise_is_the_cv_of_processes(self):
        """The twins' spread estimates the CV of process medians, whatever the change."""
        found = [decide(*measured(seed, 0.5, noise=0.05), PLAN).control.noise for seed in range(50)]
        assert np.sqrt(np.mean(np.square(found))) == pytest.approx(0.05, rel=0.05)

    def test_noise_matches_its_definition(self):
        """Outer and inner twins of each block, halved squares of log differences averaged."""
        times, base_first = measured(2)
        squares = [math.log(r[3] / r[0]) ** 2 + math.log(r[2] / r[1]) ** 2 for r in times]
        assert decide(times, base_first, PLAN).control.noise == pytest.approx(math.sqrt(np.mean(squares) / 4))

    def test_swing_is_slowest_over_fastest_block(self):
        """The swing compares blocks by their mean log time."""
        times, base_first = measured(2)
        means = np.exp(np.log(times).mean(axis=1))
        swing = decide(times, base_first, PLAN).control.swing
        assert swing == pytest.approx(means.max() / means.min() - 1)

    @pytest.mark.parametrize("change", [0.0, 0.2, -0.2, 1.0, -0.5])
    def test_throttling_half_way_decides_nothing(self, change):
        """From the middle on everything is 28 % slower: UNDECIDED, exit 3, and the sentence says why."""
        times, base_first = measured(4, change, noise=0.01)
        times[5:] *= 1.28
        decision = decide(times, base_first, PLAN)
        assert decision.verdict is Verdict.UNDECIDED
        assert not decision.control.quiet
        assert decision.blocks_needed is None
        assert exit_code(decision) == 3
        assert decision.reason == f"UNDECIDED: {decision.control.reason}"
        assert decision.control.reason == (
            f"The machine changed its pace by {decision.control.swing:.0%} during the run "
            "(drift or throttling)."
        )

    def test_a_steady_change_of_pace_below_the_limit_is_no_matter(self):
        """A 10 % drift over the run cancels inside the blocks."""
        decision = decide(*measured(4, noise=0.005, drift=0.10), PLAN)
        assert decision.control.quiet
        assert decision.verdict is Verdict.SAME

    @pytest.mark.parametrize(("drift", "quiet"), [(0.13, True), (0.17, False)])
    def test_the_limit_of_the_swing_is_the_plans(self, drift, quiet):
        """A drift counts from 15 % between blocks on, or from what the plan says."""
        base_first = np.arange(10) % 2 == 0
        times = np.exp(np.repeat(np.linspace(0, drift, 10)[:, None], 4, axis=1))
        assert decide(times, base_first, PLAN).control.quiet is quiet
        assert decide(times, base_first, Plan(10, swing=0.05)).control.quiet is False

    def test_a_large_change_is_no_change_of_pace(self):
        """The arms' own difference is taken out before neighbours are compared."""
        quiet = [
            decide(*measured(seed, 1.0, noise=0.16, blocks=10), PLAN).control.quiet for seed in range(60)
        ]
        assert all(quiet)

    def test_restless_but_patternless_noise_is_quiet(self):
        """Wide swings without resemblance of neighbours are noise, which the interval covers."""
        decision = decide(*measured(1, noise=0.15), PLAN)
        assert decision.control.swing > PLAN.swing
        assert decision.control.quiet
        assert decision.control.reason == (
            "The machine was steady; processes that ran the same code differ by "
            f"{decision.control.noise:.1%} (CV)."
        )

    def test_identical_processes_that_differ_too_much_decide_nothing(self):
        """A CV surely above 20 % is too noisy to measure on, even for a tenfold slow-down."""
        decision = decide(*measured(1, 9.0, noise=0.4), PLAN)
        assert decision.verdict is Verdict.UNDECIDED
        assert exit_code(decision) == 3
        assert decision.control.reason == (
            f"Processes that ran the same code differ by {decision.control.noise:.0%} (CV), "
            "too much to measure on."
        )

    def test_too_noisy_needs_to_be_sure(self):
        """The lower 95 % bound of the twins' CV must exceed the limit, not the estimate."""
        base_first = np.arange(10) % 2 == 0
        surely = NOISE_LIMIT * math.sqrt(stats.chi2.isf(0.05, 20) / 20)
        for scale, quiet in ((0.99, True), (1.01, False)):
            twins = scale * surely * math.sqrt(2) * np.array([-0.5, -0.5, 0.5, 0.5])
            alternating = np.where(np.arange(10) % 2, 1, -1)[:, None]
            times = np.exp(twins * alternating)
            decision = decide(times, base_first, PLAN)
            assert decision.control.noise == pytest.approx(scale * surely)
            assert decision.control.quiet is quiet

    def test_throttled_processes_lined_up_with_one_arm_are_no_change(self):
        """Quiet clock, four blocks, one throttled candidate process in each: the twins give it away."""
        base_first = np.array([True, False, True, False])
        times = np.ones((4, 4)) * np.exp(0.001 * np.random.default_rng(0).standard_normal((4, 4)))
        for block, slot in enumerate((1, 0, 2, 3)):
            times[block, slot] *= 1.28
        assert np.all(log_ratios(times, base_first) > 0.1)
        assert decide(times, base_first, Plan(4, family=4)).verdict is Verdict.UNDECIDED

    @pytest.mark.parametrize("count", [12, 40])
    def test_rank_test_agrees_with_shuffling(self, count):
        """Bartels' p-value is near the share of 20,000 shuffles whose neighbours resemble each other more."""
        generator = np.random.default_rng(7)
        series = np.cumsum(generator.standard_normal(count)) * 0.5 + generator.standard_normal(count)
        ranks = stats.rankdata(series)
        shuffles = generator.permuted(np.tile(ranks, (20_000, 1)), axis=1)
        steps = (np.diff(shuffles, axis=1) ** 2).sum(axis=1)
        share = np.mean(steps <= (np.diff(ranks) ** 2).sum())
        assert _serial_p(series[None])[0] == pytest.approx(share, abs=0.02)

    def test_rank_test_formula(self):
        """The p-value of a short series, worked out by hand from Bartels (1982)."""
        ranks = np.array([1.0, 2, 3, 4, 6, 5, 8, 7])
        ratio = (1 + 1 + 1 + 4 + 1 + 9 + 1) / 42
        variance = 4 * 6 * (5 * 64 - 16 - 9) / (5 * 8 * 9 * 49)
        assert _serial_p(ranks[None])[0] == pytest.approx(stats.norm.cdf((ratio - 2) / math.sqrt(variance)))


class TestReason:
    def test_of_a_decided_run_gives_change_and_interval(self):
        """Direction, size, blocks and the interval that decided."""
        decision = decide(*measured(5, 0.2), PLAN)
        wide = decision.wide
        assert decision.reason == (
            f"SLOWER: {decision.ratio - 1:.1%} slower over 10 blocks "
            f"(99.5% interval {wide.low - 1:+.1%} to {wide.high - 1:+.1%})."
        )
        assert decision.blocks_needed is None

    def test_of_sameness_shows_the_90_percent_interval(self):
        """SAME rests on the narrower interval; a faster candidate is called faster."""
        decision = decide(*measured(3, -0.01, noise=0.01), PLAN)
        narrow = decision.narrow
        assert decision.verdict is Verdict.SAME
        assert decision.reason == (
            f"SAME: {1 - decision.ratio:.1%} faster over 10 blocks "
            f"(90% interval {narrow.low - 1:+.1%} to {narrow.high - 1:+.1%})."
        )

    def test_of_an_undecided_run_says_what_more_time_would_buy(self):
        """The number of blocks that would decide at this ratio and noise is larger than what was spent."""
        times, base_first = measured(4, 0.05, 0.1)
        assert not _block_spread_dominates(times, base_first)
        decision = decide(times, base_first, PLAN)
        effect, error, _ = residual_design(times, base_first)
        assert decision.blocks_needed == looks.blocks_needed(error * math.sqrt(10), effect, PLAN, 11)
        assert decision.blocks_needed > 10
        assert decision.reason.endswith(
            f"may be chance; at this noise about {decision.blocks_needed} blocks in all would decide."
        )
        assert decision.reason.startswith("UNDECIDED: ")

    def test_advice_is_always_more_than_what_was_spent(self):
        """One more block is the least, whether or not fewer would do under a fresh plan."""
        advice = {
            decide(*measured(seed, 0.1, noise=0.03, blocks=4), PLAN).blocks_needed for seed in range(20)
        }
        assert min(needed for needed in advice if needed) == 5

    def test_says_when_no_time_would_do(self):
        """At the border of the margin nothing decides, and the sentence admits it."""
        base_first = np.arange(10) % 2 == 0
        wild = 0.3 * np.array([[1, 1, -1, -1], [-1, -1, 1, 1]] * 5) / 2
        times = np.exp(candidates(base_first) * 1e-3 + wild)
        decision = decide(times, base_first, Plan(10, margin=1e-3))
        assert decision.verdict is Verdict.UNDECIDED
        assert decision.blocks_needed is None
        assert decision.reason.endswith("at this noise not even 1000 blocks would decide.")


def decision_of(verdict: Verdict, upper: float = 1.0, quiet: bool = True) -> Decision:
    """A decision with nothing but what the exit code looks at."""
    control = Control(0.01, 0.01, quiet, "")
    return Decision(verdict, 1.0, Interval(0.0, 9.0, 0.99), Interval(0.9, upper, 0.9), 10, None, control, "")


class TestExitCode:
    @pytest.mark.parametrize(
        ("verdict", "upper", "quiet", "code"),
        [
            (Verdict.SLOWER, 1.0, True, 1),
            (Verdict.FASTER, 2.0, True, 0),
            (Verdict.SAME, 2.0, True, 0),
            (Verdict.UNDECIDED, 1.19, True, 0),
            (Verdict.UNDECIDED, 1.2, True, 3),
            (Verdict.UNDECIDED, 1.21, True, 3),
            (Verdict.UNDECIDED, 1.19, False, 3),
        ],
    )
    def test_of_each_verdict(self, verdict, upper, quiet, code):
        """UNDECIDED passes only on a quiet machine with its upper bound below 20 %."""
        assert exit_code(decision_of(verdict, upper, quiet)) == code

    def test_threshold_is_an_argument(self):
        """A stricter threshold turns the same upper bound into exit 3."""
        assert exit_code(decision_of(Verdict.UNDECIDED, 1.08), threshold=0.1) == 0
        assert exit_code(decision_of(Verdict.UNDECIDED, 1.08), threshold=0.05) == 3

    def test_measuring_stops_when_nothing_is_undecided(self):
        """One undecided workload keeps the run going."""
        done, open_ = decision_of(Verdict.SAME), decision_of(Verdict.UNDECIDED)
        assert finished([done, decision_of(Verdict.SLOWER), decision_of(Verdict.FASTER)])
        assert not finished([done, open_])


class TestLimit:
    @pytest.mark.parametrize(
        ("values", "limit", "code"),
        [
            ([0.30, 0.31, 0.29], 0.36, 0),
            ([0.36, 0.36, 0.36], 0.36, 0),
            ([0.40, 0.41, 0.39], 0.36, 1),
            ([0.10, 0.70, 0.31], 0.36, 3),
            ([0.40], 0.36, 3),
            ([0.30], 0.36, 0),
            ([-0.1, 0.1, 0.2], 0.25, 0),
        ],
    )
    def test_point_estimate_over_never_passes(self, values, limit, code):
        """Within: 0. Over with its bound: 1. Over, but perhaps by chance: 3."""
        assert limit_check(values, limit).exit_code == code

    @given(st.lists(st.floats(-5, 5), min_size=2, max_size=20), st.floats(-5, 5))
    def test_bound_of_a_mean_is_the_one_sided_t_bound(self, values, limit):
        """Estimate and bound agree with scipy's one-sample t-test."""
        check = limit_check(values, limit)
        assert check.limit == limit
        assert check.estimate == pytest.approx(np.mean(values))
        if np.std(values) > 1e-9:
            expected = stats.ttest_1samp(values, 0.0, alternative="greater").confidence_interval(0.95).low
            assert check.lower_95 == pytest.approx(expected)

    def test_one_process_is_never_sure(self):
        """A single value has no bound."""
        assert limit_check([0.5], 0.36).lower_95 == -math.inf

    def test_worst_is_the_maximum_bounded_by_the_typical_worst(self):
        """One outlier over the limit is unsure; all processes over it is a regression."""
        outlier = limit_check([0.30, 0.31, 0.29, 0.50], 0.45, "worst")
        assert (outlier.estimate, outlier.exit_code) == (0.50, 3)
        assert limit_check([0.48, 0.50, 0.49, 0.52], 0.45, "worst").exit_code == 1
        assert limit_check([0.30, 0.31], 0.45, "worst").exit_code == 0

    def test_cv_is_bounded_by_chi_square(self):
        """The bound's coverage on normal samples is 95 %."""
        generator = np.random.default_rng(0)
        samples = generator.normal(1.0, 0.2, (2000, 12))
        checks = [limit_check(row, 0.2, "cv") for row in samples]
        assert checks[0].estimate == cv(samples[0])
        assert np.mean([check.lower_95 > 0.2 for check in checks]) == pytest.approx(0.05, abs=0.02)
        assert {check.exit_code for check in checks} == {0, 1, 3}

    @pytest.mark.parametrize(
        ("values", "limit"), [([], 1.0), ([math.nan], 1.0), ([math.inf], 1.0), ([1.0], math.nan)]
    )
    def test_refuses_what_is_no_number(self, values, limit):
        """Nothing measured, or nothing to hold it against, is an error."""
        with pytest.raises(UsageError, match="finite numbers"):
            limit_check(values, limit)

    def test_says_what_it_was_given(self):
        """The error shows the first values and the limit, and the cure."""
        with pytest.raises(UsageError) as caught:
            limit_check([1.0, 2.0, 3.0, 4.0, math.nan], 0.5)
        assert str(caught.value) == (
            "values [1. 2. 3. 4.], limit 0.5: expected finite numbers, at least one. Measure again."
        )


def test_tail_plan_keeps_everything_but_the_margin():
    """Tails are compared at the same error rates within 1 %."""
    assert tail_plan(PLAN) == dataclasses.replace(PLAN, margin=0.01)
