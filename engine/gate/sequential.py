"""How long to measure: looks, the error spent at each, and how many blocks an answer takes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from engine.errors import UsageError

THRESHOLD = 0.20
"""The slow-down that must not slip through: an undecided result passes only with its upper bound below."""

FIRST_LOOK = 4
"""No look before this many blocks, unless the budget itself is smaller."""

SPENDING = 4
"""Exponent of the budget used so far: early looks spend little and see only gross changes."""

HOPELESS = 1000
"""Blocks beyond which more time is no advice."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long to measure and how often to be wrong. Fixed before the first block is run.

    Attributes:
        blocks_max: the budget, in blocks of four processes.
        family: how many verdicts the run gives: one per workload, and one for the tails.
        alpha: chance of a false FASTER or SLOWER anywhere in the family, at any look. Half of the 1 % that
            false alarms may take, so that on the noisiest machines too a candidate that is 5 % slower is
            called FASTER in fewer than 1 of 10,000 runs.
        margin: ratios within 1/(1 + margin) .. 1 + margin are practically the same.
        alpha_same: chance of a false SAME on either side of the margin, at any look (0.05: a 90 % interval).
            It needs no share for the family: all workloads must be SAME for the run to be.
        swing: relative change of pace during the run from which an unsteady machine decides nothing.

    Raises:
        UsageError: a number is out of its range.
    """

    blocks_max: int = 10
    family: int = 1
    alpha: float = 0.005
    margin: float = 0.05
    alpha_same: float = 0.05
    swing: float = 0.15

    def __post_init__(self) -> None:
        if self.blocks_max < 1 or self.family < 1:
            raise UsageError(str(self), "at least one block and one verdict", "Raise the number")
        if not (0 < self.alpha < 1 and 0 < self.alpha_same < 0.5 and self.margin > 0 and self.swing > 0):
            raise UsageError(str(self), "error rates from 0 to 1, a positive margin and swing", "Correct it")

    @property
    def looks(self) -> tuple[int, ...]:
        """The block counts at which the run may stop: the budget, two thirds of it, and so on down."""
        looks = [self.blocks_max]
        while (earlier := round(looks[-1] / 1.5)) >= FIRST_LOOK:
            looks.append(earlier)
        return tuple(reversed(looks))

    def share(self, blocks: int) -> float:
        """The part of each error rate that may be spent when looking after `blocks` blocks."""
        before = max((look for look in self.looks if look < blocks), default=0)
        return float((blocks / self.blocks_max) ** SPENDING - (before / self.blocks_max) ** SPENDING)


def draw_orders(blocks: int, generator: np.random.Generator, *runs: int) -> NDArray[np.bool_]:
    """Which blocks run ABBA (True) and which BAAB, [*runs, blocks]: one each of every two, at random.

    Free coin flips would often give five blocks one order; then whatever slows the ends of every block (a
    pause before it, say) would look like a change.
    """
    pairs = np.tile([True, False], (*runs, (blocks + 1) // 2, 1))
    return generator.permuted(pairs, axis=-1).reshape(*runs, -1)[..., :blocks]


def half_widths(noise: Any, freedom: Any, blocks: int, plan: Plan) -> tuple[Any, Any]:
    """Half the widths of the wide (99.5 %) and the narrow (90 %) interval for a log-ratio, after `blocks`.

    Args:
        noise: standard deviation of one block's log-ratio, any shape.
        freedom: degrees of freedom of `noise`, same shape.
    """
    share, error = plan.share(blocks), noise / math.sqrt(blocks)
    wide = -special.stdtrit(freedom, plan.alpha / plan.family / 2 * share) * error
    return wide, -special.stdtrit(freedom, plan.alpha_same * share) * error


def blocks_needed(noise: float, log_ratio: float, plan: Plan, start: int = 1) -> int | None:
    """How many blocks would decide if this noise (CV of process medians) and this log-ratio persist.

    Returns:
        The smallest budget from `start` up to 1000 blocks at whose end a verdict would fall, or None.
    """
    size, margin = abs(log_ratio), math.log1p(plan.margin)
    ends = _ends(noise, plan, start)
    return next((blocks for blocks, wide, narrow in ends if size > wide or size + narrow < margin), None)


def _ends(noise: float, plan: Plan, start: int = 1) -> Iterator[tuple[int, float, float]]:
    """Budgets of so many blocks, with the half widths that each would end with."""
    for blocks in range(start, HOPELESS + 1):
        budget = dataclasses.replace(plan, blocks_max=blocks)
        yield blocks, *half_widths(noise, 3 * blocks - 1, blocks, budget)


@dataclasses.dataclass(frozen=True)
class Reach:
    """What a plan can see at a given noise: blocks needed for each verdict (None: not even 1000 would do)."""

    slower: int | None
    same: int | None
    can_fire: bool
    reason: str


def can_fire(plan: Plan, noise: float = 0.05, slowdown: float = THRESHOLD) -> Reach:
    """Guard against a plan that could never answer: at this noise, can it see this slow-down, or sameness?

    Args:
        noise: CV of process medians to expect.
        slowdown: relative slow-down that the plan must be able to see.
    """
    effect = math.log1p(slowdown)
    slower = next((blocks for blocks, wide, _ in _ends(noise, plan) if wide < effect), None)
    same = blocks_needed(noise, 0.0, plan)
    fires = slower is not None and slower <= plan.blocks_max
    reason = (
        f"At a CV of {noise:.1%}, {slowdown:.0%} slower takes {_blocks(slower)} to see and sameness takes "
        f"{_blocks(same)}; the plan has {_blocks(plan.blocks_max)}."
    )
    return Reach(slower, same, fires, reason)


def _blocks(count: int | None) -> str:
    """`7 blocks`, in words."""
    return f"over {HOPELESS} blocks" if count is None else f"{count} block{'s' * (count != 1)}"
