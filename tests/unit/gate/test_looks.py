"""Looks, spending, orders, and the guard against plans that cannot fire."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from engine.errors import UsageError
from engine.gate.stats.looks import Plan, blocks_needed, can_fire, freedom, half_widths


@pytest.mark.parametrize(
    ("blocks", "looks"),
    [(1, (1,)), (3, (3,)), (5, (5,)), (6, (4, 6)), (10, (5, 7, 10)), (30, (4, 6, 9, 13, 20, 30))],
)
def test_looks_end_at_the_budget(blocks, looks):
    """Two thirds back from each look, none before four blocks."""
    assert Plan(blocks).looks == looks


@given(st.integers(1, 200))
def test_the_looks_spend_the_whole_error_and_no_more(blocks):
    """The shares add up to one, and the last look has the largest."""
    plan = Plan(blocks)
    shares = [plan.share(look) for look in plan.looks]
    assert sum(shares) == pytest.approx(1)
    assert max(shares) == shares[-1]
    assert min(shares) > 0


@given(st.integers(1, 60), st.data())
def test_the_last_look_spends_what_the_looks_before_have_left(blocks, data):
    """Ended by the clock anywhere, a run spends its whole error, no more; at the end of the plan as well."""
    plan = Plan(blocks)
    end = data.draw(st.integers(1, blocks))
    before = [look for look in plan.looks if look < end]
    assert sum(plan.share(look) for look in before) + plan.share(end, last=True) == pytest.approx(1)
    assert plan.share(end, last=True) >= plan.share(end) > 0
    assert plan.share(blocks, last=True) == plan.share(blocks)


@pytest.mark.parametrize(
    "values",
    [
        {"blocks_max": 0},
        {"family": 0},
        {"alpha": 0},
        {"alpha": 1},
        {"alpha_same": 0},
        {"alpha_same": 0.5},
        {"margin": 0},
        {"margin": math.nan},
    ],
)
def test_impossible_plans_are_refused(values):
    """Numbers out of range are errors when the plan is made."""
    with pytest.raises(UsageError, match="expected"):
        Plan(**values)


def test_refusals_name_the_plan_and_the_cure():
    """Each error shows the whole plan, what would be right, and what to do."""
    with pytest.raises(UsageError) as caught:
        Plan(0)
    assert str(caught.value).startswith("Plan(blocks_max=0, family=1,")
    assert str(caught.value).endswith(": expected at least one block and one verdict. Raise the number.")
    with pytest.raises(UsageError) as caught:
        Plan(alpha=2)
    assert str(caught.value).startswith("Plan(blocks_max=10, family=1, alpha=2,")
    assert str(caught.value).endswith(": expected error rates from 0 to 1 and a positive margin. Correct it.")


@pytest.mark.parametrize("blocks", [5, 7, 10])
def test_half_widths_are_students(blocks):
    """Both intervals are t intervals at their share of the error."""
    plan = Plan(10, family=3)
    wide, narrow = half_widths(0.05, 3 * blocks - 1, blocks, plan)
    error = 0.05 / math.sqrt(blocks)
    assert wide == pytest.approx(stats.t.isf(0.005 / 3 / 2 * plan.share(blocks), 3 * blocks - 1) * error)
    assert narrow == pytest.approx(stats.t.isf(0.05 * plan.share(blocks), 3 * blocks - 1) * error)
    left = 1 - sum(plan.share(look) for look in plan.looks if look < blocks)
    wide, narrow = half_widths(0.05, blocks - 1, blocks, plan, last=True)
    assert wide == pytest.approx(stats.t.isf(0.005 / 3 / 2 * left, blocks - 1) * error)
    assert narrow == pytest.approx(stats.t.isf(0.05 * left, blocks - 1) * error)


def test_what_has_no_freedom_has_no_bounds():
    """One block of one process an arm: the intervals are infinite, and no number of warnings says so."""
    assert half_widths(0.0, 0, 1, Plan(1)) == (math.inf, math.inf)


def test_freedom_is_that_of_blocks_and_twins():
    """n - 1 of the log-ratios, and one more for each pair of identical processes."""
    assert [freedom(blocks, 2) for blocks in (1, 4, 10)] == [2, 11, 29]
    assert [freedom(blocks, 0) for blocks in (1, 4, 10)] == [0, 3, 9]


@given(st.floats(0.005, 0.2), st.floats(0, 0.3), st.integers(1, 4))
def test_blocks_needed_is_the_first_budget_that_decides(noise, effect, family):
    """One block fewer decides neither way, this many do."""

    def decides(blocks: int) -> bool:
        at_end = [*half_widths(noise, 3 * blocks - 1, blocks, Plan(blocks, family))]
        return effect > at_end[0] or effect + at_end[1] < math.log1p(0.05)

    needed = blocks_needed(noise, effect, Plan(10, family))
    assert needed == blocks_needed(noise, -effect, Plan(10, family))
    if needed is None:
        assert not decides(1000)
    else:
        assert decides(needed)
        assert not any(decides(blocks) for blocks in range(1, needed))


def test_blocks_needed_starts_where_it_is_told():
    """More time is counted from what was already spent."""
    assert blocks_needed(0.05, 0.2, Plan(10), start=40) == 40


@pytest.mark.parametrize(
    ("blocks", "noise", "fires"), [(10, 0.05, True), (3, 0.05, True), (2, 0.05, False), (10, 0.3, False)]
)
def test_a_plan_that_cannot_fire_is_told_so(blocks, noise, fires):
    """The guard compares the budget with what the slow-down takes to see."""
    reach = can_fire(Plan(blocks, family=4), noise)
    assert reach.can_fire is fires
    assert (reach.slower <= blocks) is fires


def test_the_guard_says_how_many_blocks_each_answer_takes():
    """Slower, same and planned are all in the sentence."""
    reach = can_fire(Plan(1, family=4), 0.05)
    assert reach.reason == (
        f"At a noise of 5.0% a block, 20% slower takes {reach.slower} blocks to see "
        f"and sameness takes {reach.same} blocks; the plan has 1 block."
    )


def test_the_guard_asks_for_more_blocks_where_there_are_no_twins():
    """One process an arm: the spread of blocks alone tells the noise, and one block tells none."""
    reach, single = can_fire(Plan(10, family=4)), can_fire(Plan(10, family=4), controls=0)
    assert single.slower > reach.slower
    assert single.same > reach.same
    assert can_fire(Plan(10), noise=1e-6).slower == 1
    assert can_fire(Plan(10), noise=1e-6, controls=0).slower == 2


def test_the_guard_admits_the_hopeless():
    """At an absurd noise neither answer is in reach."""
    reach = can_fire(Plan(10), noise=5.0)
    assert (reach.slower, reach.same, reach.can_fire) == (None, None, False)
    assert "over 1000 blocks to see and sameness takes over 1000 blocks" in reach.reason


def test_the_guard_asks_for_the_slow_down_itself_not_for_sameness():
    """A slow-down inside the margin still has to be seen as one."""
    reach = can_fire(Plan(10), noise=0.01, slowdown=0.005)
    assert reach.same < 5
    assert reach.slower > 10
