"""How much a toggle speeds up the whole: intervals, halving, and what several bring together. Pure.

A stage that vanished altogether would save its share of the time and no more (Amdahl 1967,
doi:10.1145/1465482.1465560).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from engine.advisor.recommendation import Trial, stages
from engine.gate.stats.intervals import Spread, mean_interval, pooled

FEWEST = 3
"""Candidates that successive halving keeps at least."""
PER_OPTION = 2
"""Values of one option that it keeps while others wait; they exclude each other in the end."""


class Gain(NamedTuple):
    """A speed-up and its 95 % interval: from 0 to infinity where there are too few runs for one."""

    mean: float
    low: float
    high: float


def noise(trials: Iterable[Trial]) -> Spread:
    """How much log speed-ups scatter from run to run. It is the machine's, so all trials know it together:
    two runs of each of ten toggles say more about it than the two runs of one."""
    return pooled(trial.log_speed_ups for trial in trials)


def measured_gain(trial: Trial, spread: Spread) -> Gain:
    """The speed-up that a trial showed, over its runs."""
    interval = mean_interval(trial.log_speed_ups, spread=spread)
    return Gain(*(float(np.exp(value)) for value in (interval.mean, interval.low, interval.high)))


def better_half(gains: Mapping[str, Gain], options: Mapping[str, frozenset[str]]) -> list[str]:
    """The names that deserve another run, best first.

    Half of them, by gain, without those that are surely slower; of each option two values at first, so that
    seven step counts do not crowd out everything else.

    Args:
        gains: name -> what the runs so far showed.
        options: name -> the options that it changes.
    """
    order = sorted((name for name in gains if gains[name].high > 1), key=lambda name: -gains[name].mean)
    first, later = list[str](), list[str]()
    for name in order:
        rivals = sum(bool(options[name] & options[other]) for other in first)
        (first if rivals < PER_OPTION else later).append(name)
    return [*first, *later][: max(FEWEST, math.ceil(len(gains) / 2))]


def stage_factors(trial: Trial) -> dict[str, float]:
    """Stage -> time after / time before, for what the trial touches; the rest is noise, and left out."""
    pairs = [(stages(run.candidate), stages(run.base)) for run in trial.runs]
    return {stage: _factor(stage, pairs, trial.floor) for stage in trial.touches}


def _factor(
    stage: str, pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]], floor: float
) -> float:
    """Of (after, before) of each run the geometric mean, never below `floor`; 1 where nothing is known."""
    times = [(after.get(stage, 0.0), before.get(stage, 0.0)) for after, before in pairs]
    if any(after == 0 < before for after, before in times):
        return floor  # it vanished
    logs = [math.log(after / before) for after, before in times if after > 0 and before > 0]
    return max(floor, math.exp(float(np.mean(logs)))) if logs else 1.0


def predict(present: Mapping[str, float], trials: Iterable[Trial]) -> float:
    """The speed-up of several toggles together: in every stage, the product of what each did to it.

    Args:
        present: stage -> seconds of the present configuration.
        trials: of the toggles.
    """
    left = dict(present)
    for trial in trials:
        for stage, factor in stage_factors(trial).items():
            left[stage] = left.get(stage, 0.0) * factor
    return sum(present.values()) / sum(left.values())
