"""How long a run measures and how often it may be wrong: fixed before its first block."""

from __future__ import annotations

import dataclasses

from engine.errors import UsageError

FIRST_LOOK = 4
"""No look before this many blocks, unless the budget itself is smaller."""

SPENDING = 4
"""Exponent of the budget used so far: early looks spend little and see only gross changes."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long to measure and how often to be wrong. Fixed before the first block is run.

    Attributes:
        blocks_max: the budget, in blocks of live pairs.
        family: how many verdicts the run gives: one per workload, and one each for tails, first call and
            load.
        alpha: chance of a false FASTER or SLOWER anywhere in the family, at any look. Half of the 1 % that
            false alarms may take, so that on the noisiest machines too a candidate that is 5 % slower is
            called FASTER in fewer than 1 of 10,000 runs.
        margin: ratios within 1/(1 + margin) .. 1 + margin are practically the same.
        alpha_same: chance of a false SAME on either side of the margin, at any look (0.05: a 90 % interval).
            It needs no share for the family: all workloads must be SAME for the run to be.

    Raises:
        UsageError: a number is out of its range.
    """

    blocks_max: int = 10
    family: int = 1
    alpha: float = 0.005
    margin: float = 0.05
    alpha_same: float = 0.05

    def __post_init__(self) -> None:
        if self.blocks_max < 1 or self.family < 1:
            raise UsageError(str(self), "at least one block and one verdict", "Raise the number")
        if not (0 < self.alpha < 1 and 0 < self.alpha_same < 0.5 and self.margin > 0):
            raise UsageError(str(self), "error rates from 0 to 1 and a positive margin", "Correct it")

    @property
    def looks(self) -> tuple[int, ...]:
        """The block counts at which the run may stop: the budget, two thirds of it, and so on down."""
        looks = [self.blocks_max]
        while (earlier := round(looks[-1] / 1.5)) >= FIRST_LOOK:
            looks.append(earlier)
        return tuple(reversed(looks))

    def share(self, blocks: int, last: bool = False) -> float:
        """The part of each error rate that may be spent when looking after `blocks` blocks.

        What the looks before have spent is gone. Of the rest, a look in the middle of the run spends a
        little, and the last one everything: when the clock ends a run, that says nothing about its samples.
        """
        before = max((look for look in self.looks if look < blocks), default=0)
        until = 1.0 if last else (blocks / self.blocks_max) ** SPENDING
        return float(until - (before / self.blocks_max) ** SPENDING)
