"""Paired differences held to a limit: how much worse, how surely, and how many pairs would tell.

One difference per case, candidate against base, positive where the candidate is worse. A one-sided Student-t
bound on each side of their mean decides: the lower one over the limit is a fault, the upper one under it is a
pass, and anything between is undecided. As in the speed verdict, alarms are held to 1 % over the family of
questions (Bonferroni), and a pass to 5 % for each.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from scipy import special

from engine.gate.stats.intervals import mean_interval

ALPHA = 0.01
"""Chance that any question of the family finds a candidate worse which is just at its limit."""
ALPHA_PASS = 0.05
"""Chance that a question passes a candidate which is just at its limit."""
POWER = 0.9
"""Chance that the pairs called needed decide, where nothing has changed."""
HOPELESS = 10_000
"""Pairs beyond which more is no advice."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Mean of paired differences, its one-sided bounds, their standard deviation and number.

    With one pair alone the bounds are infinite; with differences all equal they are the mean.
    """

    mean: float
    low: float
    high: float
    sd: float
    pairs: int


def estimate(differences: Sequence[float], family: int = 1) -> Estimate:
    """Bounds of the mean of `differences`, one per case: the lower for an alarm, the upper for a pass.

    Args:
        family: how many questions share `ALPHA`.

    Raises:
        UsageError: none, or one that is not finite.
    """
    alarm = mean_interval(differences, 1 - ALPHA / family, "low")
    accept = mean_interval(differences, 1 - ALPHA_PASS, "high")
    return Estimate(alarm.mean, alarm.low, accept.high, alarm.sd, alarm.n)


def needed(sd: float, limit: float) -> int | None:
    """Fewest pairs that would pass an unchanged candidate with a chance of 90 %; None if 10,000 would not.

    Args:
        sd: standard deviation of the paired differences.
        limit: the rise that must be ruled out, same unit.
    """
    if sd == 0:
        return 2
    if not math.isfinite(sd) or limit <= 0:
        return None
    z = special.ndtri(POWER)
    start = max(2, int(((z + special.ndtri(1 - ALPHA_PASS)) * sd / limit) ** 2))  # no t needs fewer
    for pairs in range(start, HOPELESS + 1):
        if (z - special.stdtrit(pairs - 1, ALPHA_PASS)) * sd / math.sqrt(pairs) <= limit:
            return pairs
    return None
