"""The verdict: properties any judge must have, slow oracles for its numbers, every branch by example."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from engine.errors import UsageError
from engine.gate.stats import looks
from engine.gate.stats.ratio_test import (
    ALONE,
    NOISE_LIMIT,
    Control,
    Decision,
    Interval,
    Plan,
    Verdict,
    decide,
    exit_code,
    finished,
    start_plan,
    tail_plan,
    verdicts,
)
from tests.unit.gate import simulated

PLAN = Plan(10, family=4)
seeds = st.integers(0, 2**32 - 1)


def logs_of(seed, change=0.0, noise=0.05, blocks=10):
    """Log times [blocks, 4] of two base processes and two of a candidate that is `change` slower."""
    logs = noise * np.random.default_rng(seed).standard_normal((blocks, 4))
    return logs + np.array([0, 0, 1, 1]) * math.log1p(change)


def reduced(logs):
    """Ratios [n] and twins [n, 2] of log times [n, 4]."""
    ratios = logs[:, 2:].mean(axis=1) - logs[:, :2].mean(axis=1)
    return ratios, np.stack([logs[:, 0] - logs[:, 1], logs[:, 2] - logs[:, 3]], axis=1)


def measured(seed, change=0.0, noise=0.05, blocks=10):
    """Ratios and twins of such blocks."""
    return reduced(logs_of(seed, change, noise, blocks))


def residual_design(logs):
    """Slow oracle: least squares on block means and the arm -> effect, its standard error, freedom."""
    blocks = len(logs)
    arm = np.tile([0.0, 0.0, 1.0, 1.0], blocks)
    design = np.column_stack([np.repeat(np.eye(blocks), 4, axis=0), arm])
    solution, *_ = np.linalg.lstsq(design, logs.ravel(), rcond=None)
    freedom = logs.size - blocks - 1
    rest = logs.ravel() - design @ solution
    covariance = rest @ rest / freedom * np.linalg.inv(design.T @ design)
    return solution[-1], math.sqrt(covariance[-1, -1]), freedom


def wider_between_blocks(blocks=10):
    """Blocks whose log-ratios differ while their twins agree to a part in a thousand."""
    ratios = np.where(np.arange(blocks) % 4 < 2, 0.10, -0.06)
    return ratios, 0.001 * np.random.default_rng(3).standard_normal((blocks, 2))


def block_spread_dominates(ratios, twins) -> bool:
    """Slow oracle of the F-test at 5 %."""
    blocks = len(ratios)
    variance = np.var(ratios, ddof=1)
    return bool(variance / (np.mean(twins**2) / 2) > stats.f.isf(0.05, blocks - 1, 2 * blocks))


def bounded_exp(value):
    """exp, infinite where it overflows."""
    return math.inf if value > 700 else math.exp(value)


def approx_interval(mean, half, level):
    """The interval of a ratio, compared loosely."""
    return Interval(
        pytest.approx(bounded_exp(mean - half)), pytest.approx(bounded_exp(mean + half)), pytest.approx(level)
    )


class TestIntervals:
    @pytest.mark.parametrize("blocks", [1, 2, 7, 10])
    def test_agree_with_a_randomised_block_design(self, blocks):
        """Centre and half widths are those of a linear model with block means and an arm effect."""
        for seed in range(8):
            logs = logs_of(seed, 0.03, blocks=blocks)
            effect, error, freedom = residual_design(logs)
            decision = decide(*reduced(logs), PLAN)
            if blocks > 1 and block_spread_dominates(*reduced(logs)):
                error, freedom = stats.sem(reduced(logs)[0]), blocks - 1
            spent = PLAN.share(blocks)
            wide = stats.t.isf(0.005 / 4 / 2 * spent, freedom) * error
            narrow = stats.t.isf(0.05 * spent, freedom) * error
            assert math.log(decision.ratio) == pytest.approx(effect, abs=1e-12)
            assert decision.wide == approx_interval(effect, wide, 0.995)
            assert decision.narrow == approx_interval(effect, narrow, 0.90)
            assert decision.upper_95 == decision.narrow.high

    def test_rest_on_the_log_ratios_alone_where_they_spread_wider(self):
        """When blocks disagree far more than twins do, it is the one-sample t interval over blocks."""
        ratios, twins = wider_between_blocks()
        assert block_spread_dominates(ratios, twins)
        decision = decide(ratios, twins, PLAN)
        expected = stats.ttest_1samp(ratios, 0.0).confidence_interval(1 - 0.005 / 4 * PLAN.share(10))
        assert math.log(decision.wide.low) == pytest.approx(expected.low, abs=1e-12)
        assert math.log(decision.wide.high) == pytest.approx(expected.high, abs=1e-12)

    def test_rest_on_the_log_ratios_alone_without_twins(self):
        """One process an arm: the one-sample t interval over blocks, whatever their spread."""
        for seed in range(5):
            ratios, _ = measured(seed, 0.02)
            decision = decide(ratios, np.empty((10, 0)), PLAN)
            expected = stats.ttest_1samp(ratios, 0.0).confidence_interval(1 - 0.005 / 4 * PLAN.share(10))
            assert math.log(decision.wide.low) == pytest.approx(expected.low, abs=1e-12)
            assert decision.control == Control(
                None, True, "Each arm had one process, so identical processes were not compared."
            )

    def test_take_one_difference_of_identical_code_as_one_degree_of_freedom(self):
        """A block may know one difference only: pooled by hand."""
        ratios, twins = measured(3, 0.02)
        one = twins[:, :1]
        assert not (ratios.var(ddof=1) / (np.mean(one**2) / 2) > stats.f.isf(0.05, 9, 10))
        squares = ((ratios - ratios.mean()) ** 2).sum() + (one**2).sum() / 2
        half = stats.t.isf(0.05 * Plan(10).share(10), 19) * math.sqrt(squares / 19 / 10)
        assert math.log(decide(ratios, one, Plan(10)).upper_95) == pytest.approx(ratios.mean() + half)

    @pytest.mark.parametrize(("scale", "alone"), [(0.99, False), (1.01, True)])
    @pytest.mark.parametrize("blocks", [4, 10])
    def test_turn_to_the_log_ratios_alone_at_five_percent_of_f(self, blocks, scale, alone):
        """Just below the F-test's critical ratio of variances both count, just above only the blocks."""
        shape = np.where(np.arange(blocks) % 4 < 2, 1.0, -1.0)
        ratios = 0.02 + shape * 0.01 / shape.std(ddof=1)
        critical = stats.f.isf(0.05, blocks - 1, 2 * blocks)
        twin = 0.01 / math.sqrt(scale * critical)
        twins = np.full((blocks, 2), twin * math.sqrt(2))
        squares = (blocks - 1) * 0.01**2 + (0 if alone else 2 * blocks * twin**2)
        freedom = blocks - 1 if alone else 3 * blocks - 1
        error = math.sqrt(squares / freedom / blocks)
        decision = decide(ratios, twins, Plan(blocks))
        half = stats.t.isf(0.05 * Plan(blocks).share(blocks), freedom) * error
        assert math.log(decision.upper_95) == pytest.approx(ratios.mean() + half, rel=1e-9)

    def test_upper_bound_is_rarely_below_the_truth(self):
        """At most one run in twenty claims an upper bound below the true ratio."""
        below = sum(decide(*measured(seed, 0.1, noise=0.1), PLAN).upper_95 < 1.1 for seed in range(400))
        assert stats.binomtest(below, 400, 0.05, alternative="greater").pvalue > 0.001
        assert below > 0

    def test_report_their_levels(self):
        """The levels follow from the plan's error rates."""
        decision = decide(*measured(1), Plan(10, alpha=0.02, alpha_same=0.1))
        assert (decision.wide.level, decision.narrow.level) == (0.98, 0.8)


class TestLast:
    @given(seeds, st.integers(1, 30), st.data())
    def test_a_run_ended_by_the_clock_has_the_interval_of_a_plan_that_ends_there(self, seed, planned, data):
        """It spends all that the looks before have left, as a plan of as many blocks would have."""
        plan = Plan(planned, family=4)
        blocks = data.draw(st.integers(1, planned))
        ratios, twins = measured(seed, 0.1, blocks=blocks)
        decision = decide(ratios, twins, plan, last=True)
        left = 1 - sum(plan.share(look) for look in plan.looks if look < blocks)
        _, error, freedom = residual_design(logs_of(seed, 0.1, blocks=blocks))
        if blocks > 1 and block_spread_dominates(ratios, twins):
            error, freedom = stats.sem(ratios), blocks - 1
        half = stats.t.isf(0.005 / 4 / 2 * left, freedom) * error
        assert math.log(decision.wide.high / decision.wide.low) == pytest.approx(2 * half)
        if not [look for look in plan.looks if look < blocks]:
            assert decision.wide == decide(ratios, twins, Plan(blocks, family=4), last=True).wide

    @given(seeds, st.integers(1, 12))
    def test_at_the_end_of_the_plan_nothing_else_can_follow(self, seed, blocks):
        """The last look of the plan is the last one, said or not."""
        pairs = measured(seed, 0.1, blocks=blocks)
        assert decide(*pairs, Plan(blocks)) == decide(*pairs, Plan(blocks), last=True)

    def test_one_block_of_twins_sees_what_is_gross(self):
        """At a noise of 1 %, ten times faster and twice as slow are no open questions, however long the
        plan was."""
        for planned in (1, 3, 10, 30):
            for ratio, verdict in ((0.1, Verdict.FASTER), (2.0, Verdict.SLOWER)):
                plan = Plan(planned, family=6)
                decision = decide([math.log(ratio)], [[0.01, -0.01]], plan, last=True)
                assert decision.verdict is verdict

    def test_one_block_without_twins_decides_nothing_and_says_so(self):
        """Two processes have a difference and no spread."""
        for planned in (1, 10):
            decision = decide([math.log(2.0)], [[]], Plan(planned), last=True)
            assert decision.verdict is Verdict.UNDECIDED
            assert (decision.wide.low, decision.wide.high) == (0.0, math.inf)
            assert decision.reason == f"UNDECIDED: {ALONE}"
            assert exit_code(decision) == 3
            assert decision.blocks_needed is None


class TestVerdict:
    @given(seeds, st.floats(-0.3, 0.3), st.floats(0.001, 0.2))
    def test_swapping_the_arms_flips_it(self, seed, change, noise):
        """Candidate and base exchanged: the reciprocal ratio and the opposite verdict."""
        ratios, twins = measured(seed, change, noise)
        decision, other = decide(ratios, twins, PLAN), decide(-ratios, twins[:, ::-1], PLAN)
        flipped = {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}
        assert other.verdict == flipped.get(decision.verdict, decision.verdict)
        assert other.ratio == pytest.approx(1 / decision.ratio)
        assert other.wide.low == pytest.approx(1 / decision.wide.high)
        assert other.control.quiet == decision.control.quiet

    @given(seeds, st.floats(-0.3, 0.3))
    def test_which_twin_comes_first_changes_nothing(self, seed, change):
        """Twins ran the same code."""
        ratios, twins = measured(seed, change)
        signs = np.where(np.random.default_rng(seed).random(twins.shape) < 0.5, -1.0, 1.0)
        assert decide(ratios, twins, PLAN).wide == decide(ratios, twins * signs, PLAN).wide

    @given(seeds, st.floats(-0.3, 0.3), st.permutations(range(10)))
    def test_the_order_of_blocks_changes_nothing(self, seed, change, order):
        """Blocks are exchangeable."""
        ratios, twins = measured(seed, change)
        decision = decide(ratios, twins, PLAN)
        other = decide(ratios[list(order)], twins[list(order)], PLAN)
        assert decision.verdict == other.verdict
        assert decision.wide.high == pytest.approx(other.wide.high)

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

    @given(seeds, st.floats(-0.3, 0.3), st.floats(0.001, 0.2), st.booleans())
    def test_never_contradicts_its_intervals(self, seed, change, noise, last):
        """Each verdict says what its interval says, recomputed from the decision itself."""
        decision = decide(*measured(seed, change, noise, blocks=7), PLAN, last)
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
        ratios, twins = np.full(10, effect), np.zeros((10, 2))
        assert decide(ratios, twins, PLAN).verdict is verdict
        assert (decide(-ratios, twins, PLAN).verdict is Verdict.SAME) == (verdict is Verdict.SAME)

    def test_agrees_with_exact_sign_flips(self):
        """All 2^10 flips of the block signs call no alarm ordinary, and no sameness extreme."""
        flips = np.array(list(itertools.product([1, -1], repeat=10)))
        for seed in range(40):
            ratios, twins = measured(seed, 0.1 * (seed % 2), noise=0.03)
            p = np.mean(np.abs(flips @ ratios) >= abs(ratios.sum()) - 1e-12)
            verdict = decide(ratios, twins, Plan(10)).verdict
            if verdict in (Verdict.SLOWER, Verdict.FASTER):
                assert p < 0.05
            if verdict is Verdict.SAME:
                assert p > 0.001
            if seed % 2:
                assert verdict is Verdict.SLOWER
                assert p == pytest.approx(2 / 1024)

    def test_many_runs_at_once_agree_with_one_at_a_time(self):
        """The vectorised form that the calibration uses is the same judge, with twins and without."""
        runs = [
            measured(seed, change, noise)
            for seed in range(12)
            for change in (0.0, 0.06, -0.2)
            for noise in (0.01, 0.05, 0.35)
        ]
        ratios, twins = (np.stack(part) for part in zip(*runs, strict=True))
        for kept in (2, 0):
            one_by_one = [decide(run[0], run[1][:, :kept], PLAN).verdict.value for run in runs]
            assert verdicts(ratios, twins[..., :kept], PLAN).tolist() == one_by_one
            assert set(one_by_one) == {"FASTER", "SAME", "SLOWER", "UNDECIDED"}
        shaped = verdicts(ratios.reshape(4, -1, 10), twins.reshape(4, -1, 10, 2), PLAN)
        assert shaped.ravel().tolist() == verdicts(ratios, twins, PLAN).tolist()
        early = verdicts(ratios[:, :6], twins[:, :6], PLAN, last=True).tolist()
        assert early == [decide(run[0][:6], run[1][:6], PLAN, last=True).verdict.value for run in runs]

    @pytest.mark.parametrize(
        ("ratios", "twins"),
        [
            (np.zeros(11), np.zeros((11, 2))),
            (np.zeros(3), np.zeros((4, 2))),
            (np.zeros(3), np.zeros(3)),
            (np.zeros(3), np.zeros((3, 3))),
            (np.zeros((3, 1)), np.zeros((3, 2))),
            (np.zeros(0), np.zeros((0, 2))),
            (np.full(3, math.nan), np.zeros((3, 2))),
            (np.zeros(3), np.full((3, 2), math.inf)),
        ],
    )
    def test_refuses_what_is_not_whole_blocks(self, ratios, twins):
        """Wrong shapes, more blocks than planned and non-numbers are errors."""
        with pytest.raises(UsageError, match="expected finite"):
            decide(ratios, twins, PLAN)

    def test_says_which_shapes_do_not_fit(self):
        """The error names both shapes, the shapes that fit, and the cure."""
        with pytest.raises(UsageError) as caught:
            decide(np.zeros(11), np.zeros((11, 2)), PLAN)
        assert str(caught.value) == (
            "ratios (11,), twins (11, 2): expected finite [n] and [n, k] with 1 <= n <= 10 and k <= 2. "
            "Pass whole blocks."
        )

    def test_the_budget_itself_may_be_used_up(self):
        """As many blocks as planned are not too many, and lists are as good as arrays."""
        ratios, twins = measured(1)
        assert decide(ratios.tolist(), twins.tolist(), PLAN) == decide(ratios, twins, PLAN)
        assert decide(ratios, twins, PLAN).blocks == 10


class TestControl:
    def test_noise_is_the_cv_of_processes(self):
        """The twins' spread estimates the CV of processes, whatever the change."""
        noises = [decide(*measured(seed, 0.5, noise=0.05), PLAN).control.noise for seed in range(50)]
        assert np.sqrt(np.mean(np.square(noises))) == pytest.approx(0.05, rel=0.05)

    def test_noise_matches_its_definition(self):
        """Halved squares of the twins' log differences, averaged."""
        ratios, twins = measured(2)
        decision = decide(ratios, twins, PLAN)
        assert decision.control.noise == pytest.approx(math.sqrt(np.mean(twins**2) / 2))
        assert decision.control.reason == (
            f"Processes that ran the same code differ by {decision.control.noise:.1%} (CV)."
        )

    def test_identical_processes_that_differ_too_much_decide_nothing(self):
        """A CV surely above 20 % is too noisy to measure on, even for a tenfold slow-down."""
        decision = decide(*measured(1, 9.0, noise=0.4), PLAN)
        assert decision.verdict is Verdict.UNDECIDED
        assert exit_code(decision) == 3
        assert decision.blocks_needed is None
        assert decision.reason == f"UNDECIDED: {decision.control.reason}"
        assert decision.control.reason == (
            f"Processes that ran the same code differ by {decision.control.noise:.1%} (CV), "
            "too much to measure on."
        )

    def test_too_noisy_needs_to_be_sure(self):
        """The lower 95 % bound of the twins' CV must exceed the limit, not the estimate."""
        surely = NOISE_LIMIT * math.sqrt(stats.chi2.isf(0.05, 20) / 20)
        for scale, quiet in ((0.99, True), (1.01, False)):
            twins = np.full((10, 2), scale * surely * math.sqrt(2))
            decision = decide(np.zeros(10), twins, PLAN)
            assert decision.control.noise == pytest.approx(scale * surely)
            assert decision.control.quiet is quiet

    def test_one_slow_process_in_each_block_is_no_change(self):
        """Four blocks, one throttled candidate process in each: the twins give it away."""
        logs = 0.001 * np.random.default_rng(0).standard_normal((4, 4))
        logs[:, 2] += math.log(1.28)
        ratios, twins = reduced(logs)
        assert np.all(ratios > 0.1)
        assert decide(ratios, twins, Plan(4, family=4)).verdict is Verdict.UNDECIDED


def paces(kind, generator, runs, calls):
    """Log of the machine's slowness at each call, [runs, calls]."""
    if kind == "drift":
        return generator.uniform(-0.4, 0.4, (runs, 1)) * np.linspace(0, 1, calls)
    if kind == "walk":
        return np.cumsum(0.02 * generator.standard_normal((runs, calls)), axis=-1)
    if kind == "steps":
        return 0.25 * (generator.random((runs, calls)).cumsum(axis=-1) % 40 < 12)
    if kind == "throttled":
        return 0.25 * (np.arange(calls) > generator.integers(calls, size=(runs, 1)))
    sawtooth = (np.arange(calls) + generator.integers(40, size=(runs, 1))) % 40
    return 0.25 * sawtooth / 40


class TestPace:
    @pytest.mark.parametrize("kind", ["steady", "drift", "walk", "steps", "throttled", "sawtooth"])
    def test_whatever_the_machine_does_to_all_of_them_is_no_change(self, kind):
        """Of 2,000 runs of unchanged code at most 1 % see one, looks included, while the pace drifts,
        wanders, jumps, falls for good or swings; and most see that nothing changed."""
        generator = np.random.default_rng(20_260_101)
        runs, blocks, rounds, plan = 2000, 10, 8, Plan(10)
        pace = None if kind == "steady" else paces(kind, generator, runs, blocks * rounds * 4)
        ratios, twins = simulated.live_pairs(generator, runs, blocks, rounds=rounds, pace=pace)
        alarms = np.zeros(runs, dtype=bool)
        going = np.ones(runs, dtype=bool)
        for look in plan.looks:
            names = verdicts(ratios[:, :look], twins[:, :look], plan)
            alarms |= going & np.isin(names, ["FASTER", "SLOWER"])
            going &= names == "UNDECIDED"
        assert stats.binomtest(int(alarms.sum()), runs, 0.01, alternative="greater").pvalue > 0.001
        assert going.mean() < 0.2

    @pytest.mark.parametrize("kind", ["drift", "throttled", "sawtooth"])
    def test_a_change_is_seen_while_the_pace_moves(self, kind):
        """Nothing is vetoed for drift or throttling: 20 % slower is seen nearly always."""
        generator = np.random.default_rng(1)
        pace = paces(kind, generator, 400, 320)
        pairs = simulated.live_pairs(generator, 400, 10, change=0.2, pace=pace)
        assert np.mean(verdicts(*pairs, PLAN) == "SLOWER") > 0.99


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
        single = decide([math.log(2)], [[0.001, 0.001]], Plan(1))
        assert "slower over 1 block (" in single.reason

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
        logs = logs_of(4, 0.05, 0.1)
        assert not block_spread_dominates(*reduced(logs))
        decision = decide(*reduced(logs), PLAN)
        effect, error, _ = residual_design(logs)
        assert decision.blocks_needed == looks.blocks_needed(error * math.sqrt(10), effect, PLAN, 11)
        assert decision.blocks_needed > 10
        assert decision.reason.endswith(
            f"may be chance; at this noise about {decision.blocks_needed} blocks in all would decide."
        )
        assert decision.reason.startswith("UNDECIDED: ")

    def test_without_twins_the_advice_counts_on_none(self):
        """More blocks are needed where nothing but their own spread tells the noise."""
        ratios, _ = measured(4, 0.05, 0.1)
        decision = decide(ratios, np.empty((10, 0)), PLAN)
        noise = float(np.std(ratios, ddof=1))
        expected = looks.blocks_needed(noise, float(ratios.mean()), PLAN, 11, controls=0)
        assert decision.blocks_needed == expected
        assert expected > looks.blocks_needed(noise, float(ratios.mean()), PLAN, 11, controls=2)

    def test_advice_is_always_more_than_what_was_spent(self):
        """One more block is the least, whether or not fewer would do under a fresh plan."""
        advice = {
            decide(*measured(seed, 0.1, noise=0.03, blocks=4), PLAN).blocks_needed for seed in range(20)
        }
        assert min(needed for needed in advice if needed) == 5

    def test_says_when_no_time_would_do(self):
        """At the border of the margin nothing decides, and the sentence admits it."""
        decision = decide(np.full(10, 1e-3), np.full((10, 2), 0.3), Plan(10, margin=1e-3))
        assert decision.verdict is Verdict.UNDECIDED
        assert decision.blocks_needed is None
        assert decision.reason.endswith("at this noise not even 1000 blocks would decide.")


def decision_of(verdict: Verdict, upper: float = 1.0, quiet: bool = True) -> Decision:
    """A decision with nothing but what the exit code looks at."""
    control = Control(0.01, quiet, "")
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
        done, still_open = decision_of(Verdict.SAME), decision_of(Verdict.UNDECIDED)
        assert finished([done, decision_of(Verdict.SLOWER), decision_of(Verdict.FASTER)])
        assert not finished([done, still_open])


def test_plans_of_tails_and_of_the_start_keep_everything_but_the_margin():
    """Tails are compared at the same error rates within 1 %, first calls and loading within 10 %."""
    assert tail_plan(PLAN) == dataclasses.replace(PLAN, margin=0.01)
    assert start_plan(PLAN) == dataclasses.replace(PLAN, margin=0.10)
