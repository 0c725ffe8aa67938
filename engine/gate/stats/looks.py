"""How long to measure: looks, the error spent at each, and how many blocks an answer takes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import special

from engine.gate.data.plan import Plan as Plan

THRESHOLD = 0.20
"""The slow-down that must not slip through: an undecided result passes only with its upper bound below."""

HOPELESS = 1000
"""Blocks beyond which more time is no advice."""


def half_widths(noise: Any, free: Any, blocks: int, plan: Plan, last: bool = False) -> tuple[Any, Any]:
    """Half the widths of the wide (99.5 %) and the narrow (90 %) interval for a log-ratio, after `blocks`.

    Args:
        noise: standard deviation of one block's log-ratio, any shape.
        free: degrees of freedom of `noise`, same shape; with none the widths are infinite.
        last: nothing will follow, so all error that is left is spent.
    """
    share, free = plan.share(blocks, last), np.asarray(free)
    error = np.where(free > 0, noise / math.sqrt(blocks), np.inf)
    known = np.maximum(free, 1)
    wide = -special.stdtrit(known, plan.alpha / plan.family / 2 * share) * error
    return wide, -special.stdtrit(known, plan.alpha_same * share) * error


def blocks_needed(
    noise: float, log_ratio: float, plan: Plan, start: int = 1, controls: int = 2
) -> int | None:
    """How many blocks would decide if this noise (of one block's log-ratio) and this log-ratio persist.

    Args:
        noise: of one block's log-ratio.
        log_ratio: that persists, either way.
        plan: for its error rates.
        start: the fewest blocks to answer with.
        controls: differences of identical code in a block: two of twins, or none.

    Returns:
        The smallest budget from `start` up to 1000 blocks at whose end a verdict would fall, or None.
    """
    size, margin = abs(log_ratio), math.log1p(plan.margin)
    ends = _ends(noise, plan, start, controls)
    return next((blocks for blocks, wide, narrow in ends if size > wide or size + narrow < margin), None)


def _ends(noise: float, plan: Plan, start: int, controls: int) -> Iterator[tuple[int, float, float]]:
    """Budgets of so many blocks, with the half widths that each would end with."""
    for blocks in range(start, HOPELESS + 1):
        budget = dataclasses.replace(plan, blocks_max=blocks)
        yield blocks, *half_widths(noise, freedom(blocks, controls), blocks, budget)


def freedom(blocks: int, controls: int) -> int:
    """Degrees of freedom of the noise: of the log-ratios, and of the differences of identical code."""
    return blocks - 1 + controls * blocks


@dataclasses.dataclass(frozen=True)
class Reach:
    """What a plan can see at a given noise: blocks needed for each verdict (None: not even 1000 would do)."""

    slower: int | None
    same: int | None
    can_fire: bool
    reason: str


def can_fire(plan: Plan, noise: float = 0.05, slowdown: float = THRESHOLD, controls: int = 2) -> Reach:
    """Guard against a plan that could never answer: at this noise, can it see this slow-down, or sameness?

    Args:
        noise: of one block's log-ratio, to expect.
        slowdown: relative slow-down that the plan must be able to see.
        controls: differences of identical code in a block: two of twins, or none.
    """
    effect = math.log1p(slowdown)
    slower = next((blocks for blocks, wide, _ in _ends(noise, plan, 1, controls) if wide < effect), None)
    same = blocks_needed(noise, 0.0, plan, controls=controls)
    fires = slower is not None and slower <= plan.blocks_max
    reason = (
        f"At a noise of {noise:.1%} a block, {slowdown:.0%} slower takes {_blocks(slower)} to see "
        f"and sameness takes {_blocks(same)}; the plan has {_blocks(plan.blocks_max)}."
    )
    return Reach(slower, same, fires, reason)


def _blocks(count: int | None) -> str:
    """`7 blocks`, in words."""
    return f"over {HOPELESS} blocks" if count is None else f"{count} block{'s' * (count != 1)}"
