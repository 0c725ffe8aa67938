"""How much a toggle speeds up the whole: intervals, Amdahl's bound, halving, and several together. Pure.

Trials are paired: each gives the logarithms of (present time / its time). A stage that vanished altogether
would save its share of the time and no more (Amdahl 1967, doi:10.1145/1465482.1465560).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from engine.advisor.recommend_record import Sitting, Trial

LEVEL = 0.95
FEWEST = 3
"""Candidates that successive halving keeps at least."""
PER_OPTION = 2
"""Values of one option that it keeps while others wait; they exclude each other in the end."""


class Gain(NamedTuple):
    """A speed-up and its interval (NaN where there are too few pairs for one)."""

    mean: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Noise:
    """How much log speed-ups scatter: between processes, and between the pairs of calls in one.

    All trials share it, since it is the machine's: two pairs of each of twenty toggles say more about it than
    the two pairs of one.
    """

    between: float
    between_df: int
    within: float
    within_df: int

    @classmethod
    def of(cls, trials: Iterable[Sequence[Sitting]]) -> Noise:
        """The pooled standard deviations of what was tried."""
        known = [[sitting.logs for sitting in sittings] for sittings in trials]
        between = _pooled([[float(np.mean(logs)) for logs in one] for one in known])
        return cls(*between, *_pooled([logs for one in known for logs in one]))

    def half(self, sittings: Sequence[Sitting]) -> float:
        """Half the width of the interval of a trial's mean, in logarithms; NaN where nothing is known."""
        pairs = sum(len(sitting.logs) for sitting in sittings)
        found = [
            float(special.stdtrit(df, (1 + LEVEL) / 2)) * sd / math.sqrt(count)
            for sd, df, count in (
                (self.between, self.between_df, len(sittings)),
                (self.within, self.within_df, pairs),
            )
            if df
        ]
        return max(found, default=math.nan)


def _pooled(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Standard deviation around each group's own mean, and its degrees of freedom."""
    df = sum(len(group) - 1 for group in groups)
    squares = sum(float(np.sum((np.asarray(group) - np.mean(group)) ** 2)) for group in groups if group)
    return (math.sqrt(squares / df), df) if df else (0.0, 0)


def measured_gain(sittings: Sequence[Sitting], noise: Noise) -> Gain:
    """The speed-up that a trial showed: the mean of its processes' logarithms."""
    mean = float(np.mean([np.mean(sitting.logs) for sitting in sittings]))
    half = noise.half(sittings)
    return Gain(*(math.exp(value) for value in (mean, mean - half, mean + half)))


def better_half(gains: Mapping[str, Gain], options: Mapping[str, frozenset[str]]) -> list[str]:
    """The names that deserve a longer trial, best first.

    Half of them, by gain, without those that are surely slower; of each option two values at first, so that
    seven step counts do not crowd out everything else.

    Args:
        gains: name -> what the trials so far showed.
        options: name -> the options that it changes.
    """
    order = sorted((name for name in gains if not gains[name].high <= 1), key=lambda name: -gains[name].mean)
    first, later = list[str](), list[str]()
    for name in order:
        rivals = sum(bool(options[name] & options[other]) for other in first)
        (first if rivals < PER_OPTION else later).append(name)
    return [*first, *later][: max(FEWEST, math.ceil(len(gains) / 2))]


def stage_factors(trial: Trial) -> dict[str, float]:
    """Stage -> time after / time before, for what the trial touches; the rest is noise, and left out."""
    factors = {}
    for stage in trial.touches:
        pairs = [(one.stages.get(stage, 0.0), one.current_stages.get(stage, 0.0)) for one in trial.sittings]
        if any(after == 0 < before for after, before in pairs):
            factors[stage] = trial.floor  # it vanished
            continue
        logs = [math.log(after / before) for after, before in pairs if after > 0 and before > 0]
        factors[stage] = max(trial.floor, math.exp(float(np.mean(logs)))) if logs else 1.0
    return factors


def predict(stages: Mapping[str, float], trials: Iterable[Trial]) -> float:
    """The speed-up of several toggles together: in every stage, the product of what each did to it."""
    left = dict(stages)
    for trial in trials:
        for stage, factor in stage_factors(trial).items():
            left[stage] = left.get(stage, 0.0) * factor
    return sum(stages.values()) / sum(left.values())
