"""How long to measure: looks, the error spent at each, and how many blocks an answer takes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from engine.gate.data.plan import Plan as Plan

THRESHOLD = 0.20
"""The slow-down that must not slip through: an undecided result passes only with its upper bound below."""

HOPELESS = 1000
"""Blocks beyond which more time is no advice."""


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
