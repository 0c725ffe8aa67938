"""Ratios of paired times, with their intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from engine.errors import UsageError
from engine.gate.stats.intervals import mean_interval

LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Time after / time before, with its 95 % interval over rounds (Student-t on logarithms)."""

    ratio: float
    low: float
    high: float


def ratio_of(after: Sequence[float], before: Sequence[float]) -> Ratio:
    """The ratio of paired times, one pair a round.

    Raises:
        UsageError: fewer than two rounds, which have no interval.
    """
    if len(after) < 2 or len(after) != len(before):
        raise UsageError(f"{len(after)} and {len(before)} rounds", "two or more, in pairs", "Measure more")
    logs = np.log(np.asarray(after) / np.asarray(before))
    interval = mean_interval(logs, LEVEL)
    return Ratio(*(float(np.exp(value)) for value in (interval.mean, interval.low, interval.high)))
