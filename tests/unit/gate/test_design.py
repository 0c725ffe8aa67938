"""The plan cut to the budget: properties over any price, and what is said before anybody waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.gate.measure.design import MARGIN, MAX_ROUNDS, MIN_ROUNDS, Price, Settings, design
from engine.gate.stats.looks import Plan
from tests.unit.gate import simulated

seconds = st.floats(0.01, 300)


@given(seconds, seconds, st.floats(1, 7200), st.integers(1, 20), st.sampled_from([1, 2]))
def test_what_is_planned_fits_or_is_one_block(
    load: float, round_seconds: float, budget: float, blocks: int, twins: int
) -> None:
    """Never more than the budget, unless that does not hold a single block of the fewest rounds; rounds are
    given up before blocks; and one round more would not fit."""
    settings = simulated.settings(blocks, None, budget=budget, twins=1 if twins == 1 else 2)
    price = Price(load, round_seconds)
    layout = design(settings, price, None, spent=10.0)
    whole = price.block(twins, settings.warmup_calls + layout.rounds) * layout.plan.blocks_max
    left = MARGIN * budget - 10.0
    assert whole <= left + 1e-6 or (layout.plan.blocks_max, layout.rounds) == (1, MIN_ROUNDS)
    assert MIN_ROUNDS <= layout.rounds <= MAX_ROUNDS
    assert 1 <= layout.plan.blocks_max <= blocks
    if layout.plan.blocks_max < blocks:
        assert layout.rounds == MIN_ROUNDS
        more = price.block(twins, settings.warmup_calls + MIN_ROUNDS) * (layout.plan.blocks_max + 1)
        assert more > left - 1e-6
    elif layout.rounds < MAX_ROUNDS:
        assert price.block(twins, settings.warmup_calls + layout.rounds + 1) * blocks > left - 1e-6


def test_rounds_that_were_asked_for_are_kept_and_blocks_give_way() -> None:
    """Twelve rounds at 10 s: two of ten blocks fit into ten minutes."""
    layout = design(simulated.settings(10, 12, budget=600.0), Price(10.0, 5.0), None, spent=20.0)
    assert (layout.rounds, layout.plan.blocks_max) == (12, 3)
    assert layout.plan.family == simulated.settings().plan.family


def test_a_cut_plan_that_can_hardly_decide_says_so_with_the_cure() -> None:
    """How many blocks the budget holds, how many are needed, and the minutes that they would take."""
    layout = design(simulated.settings(10, 12, budget=180.0), Price(10.0, 5.0), None, spent=20.0)
    cut, hardly = layout.notes
    assert cut == "The budget of 3 minutes holds 1 block of 10, at 160 s each."
    assert hardly.startswith("This plan can hardly decide. At a noise of 5.0% a block, 20% slower takes 3 ")
    assert hardly.endswith("Use --minutes 10.")
    assert design(simulated.settings(10, 12, budget=600.0), Price(10.0, 5.0), None, spent=20.0).notes == (
        "The budget of 10 minutes holds 3 blocks of 10, at 160 s each.",
    )
    assert design(simulated.settings(10, 12), Price(10.0, 5.0), None, spent=20.0).notes == ()


def test_twins_are_two_where_memory_holds_four_processes() -> None:
    """Host and device are looked at; what was asked for by number is not questioned."""
    settings = simulated.settings(twins=None)
    small = Price(1.0, 1.0, (600.0, 800.0), (None, None))
    assert design(settings, small, 2 * 1.1 * 1400.0, 0.0).twins == 2
    tight = design(settings, small, 2 * 1.1 * 1400.0 - 1, 0.0)
    assert tight.twins == 1
    assert tight.notes[-1] == "Memory holds one process of each arm, not two: there is no A/A control."
    assert design(settings, small, None, 0.0).twins == 2
    for device_mb, twins in ((20_000.0, 2), (15_000.0, 1)):
        device = Price(1.0, 1.0, (600.0, 800.0), (3000.0, 3000.0), device_mb)
        assert design(settings, device, 60_000.0, 0.0).twins == twins
    assert design(simulated.settings(twins=2), small, 1.0, 0.0).twins == 2


@pytest.mark.parametrize("changes", [{"rounds": 0}, {"warmup": -1}])
def test_impossible_settings_are_refused(changes: dict[str, int]) -> None:
    """No round that counts, or a negative number of calls that do not."""
    with pytest.raises(UsageError, match=r"at least one round"):
        Settings(Plan(), ("short",), 60.0, **changes)
