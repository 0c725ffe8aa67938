"""The search for plans, on problems whose best plan is known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.options import Plan
from tests.studies import plansearch
from tests.studies.plansearch import STRENGTH, masks, neighbours, polish

START = Plan((0.0, 0.05, 0.2, 1.0), (STRENGTH, 0.0, STRENGTH))


def bowl(plan: Plan) -> float:
    """Nearest at times 0, 0.1, 0.35, 1 and strengths 1, -, 3."""
    times = sum((a - b) ** 2 for a, b in zip(plan.times, (0.0, 0.1, 0.35, 1.0), strict=True))
    return times + sum((a - b) ** 2 for a, b in zip(plan.strengths, (1.0, 0.0, 3.0), strict=True))


@given(st.integers(1, 6), st.data())
def test_masks_are_all_choices_of_so_many_steps(steps: int, data: st.DataObject) -> None:
    """Each once, guided as strongly as ever."""
    guided = data.draw(st.integers(0, steps))
    found = masks(steps, guided)
    assert len(set(found)) == len(found) == math.comb(steps, guided)
    assert all(sum(strength == STRENGTH for strength in one) == guided for one in found)


def test_a_neighbour_has_one_time_or_one_strength_moved() -> None:
    """Times keep their order, the ends stay, and a step without guidance stays without."""
    for other in neighbours(START, 0):
        moved = [
            a != b for a, b in zip(START.times + START.strengths, other.times + other.strengths, strict=True)
        ]
        assert sum(moved) == 1
        assert list(other.times) == sorted(other.times)
        assert (other.times[0], other.times[-1], other.strengths[1]) == (0.0, 1.0, 0.0)


def test_polishing_finds_the_bottom_of_a_bowl() -> None:
    """And never leaves a plan for a worse one."""
    found = polish(START, bowl, 6)
    assert found.times == pytest.approx((0.0, 0.1, 0.35, 1.0), abs=0.02)
    assert found.strengths == pytest.approx((1.0, 0.0, 3.0), abs=0.1)
    assert polish(found, bowl, 6) == found


def test_the_cheapest_plan_that_is_near_enough_is_kept_else_the_nearest() -> None:
    """By the number of its guided steps."""
    plans = {guided: Plan((0.0, 1.0), (float(guided),)) for guided in (1, 2, 3)}
    errors = {1.0: 0.3, 2.0: 0.2, 3.0: 0.1}
    for limit, kept in ((0.5, 1), (0.2, 2), (0.15, 3), (0.05, 3)):
        assert plansearch.cheapest(plans, lambda plan: errors[plan.strengths[0]], limit) == plans[kept]
