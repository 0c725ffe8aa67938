"""The verdict of people: what the gate concludes from the votes on a listening page."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Literal, NamedTuple

from scipy import stats

from engine.gate.data.verdict import ExitCode, Judgement
from engine.gate.listening.ballots import Opinion
from engine.gate.listening.ballots import Votes as Votes
from engine.gate.listening.ballots import VotesError as VotesError
from engine.gate.listening.ballots import read as read
from engine.gate.stats.intervals import mean_interval

MOS_DROP = 0.2
"""Mean opinion score that people may miss in the candidate, on the scale from 1 to 5."""
LEAST_UNITS = 6
"""Fewer pairs, and fewer listeners, decide nothing."""
LEVEL = 0.9
ROUNDING = 1 / 12
"""Variance of rounding an opinion to a whole number. Raters who all agree are no more exact than that."""
SLIP = 0.05
"""Share of answers on words, generously, in which a listener marks the wrong one of two good samples."""
SLIP_ALPHA = 0.01
"""Chance that slips alone are called lost words, over all pairs together."""


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean of votes and its 90 % interval (95 % to each side); None where one unit has no spread."""

    value: float
    low: float | None
    high: float | None
    unit: str
    units: int


def judge(votes: Votes, limit: float = MOS_DROP) -> Judgement:
    """What people say of the candidate: the question "people".

    The interval is Student's t over pairs, each the mean of its listeners, or over listeners, each the mean
    of their pairs: the wider one of those with at least LEAST_UNITS units. Code 0: the drop is surely under
    the limit. 1: surely over it, or words were surely heard from the base alone. 3: these votes cannot tell.
    """
    opinions = votes.opinions
    drop, preference = mean_of(opinions, "drop"), mean_of(opinions, "preference")
    lost = _lost_words(opinions)
    outcome, code = _decided(drop, lost, limit)
    return Judgement(
        topic="sound",
        question="people",
        outcome=outcome,
        code=code,
        sentence=_sentence(votes, drop, preference, lost, outcome),
        value=drop.value,
        low=drop.low,
        high=drop.high,
        limit=limit,
        unit="MOS points lost",
    )


def mean_of(opinions: Sequence[Opinion], field: Literal["drop", "preference"]) -> Mean:
    """Mean and interval of the drop or of the preference (CMOS), over pairs or listeners: see `judge`."""
    roundings = 2 if field == "drop" else 1
    by_unit = [_over(opinions, field, unit, roundings) for unit in ("pair", "listener")]
    enough = [mean for mean in by_unit if mean.units >= LEAST_UNITS]
    return max(enough, key=_width) if enough else max(by_unit, key=lambda mean: mean.units)


def _over(opinions: Sequence[Opinion], field: str, unit: str, roundings: int) -> Mean:
    """Student's t over the means of one unit. Their spread is never taken to be below that of rounding."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for opinion in opinions:
        groups[getattr(opinion, unit)].append(getattr(opinion, field))
    means, count = [fmean(group) for group in groups.values()], len(groups)
    if count < 2:
        return Mean(means[0], None, None, unit, count)
    rounding = fmean(roundings * ROUNDING / len(group) for group in groups.values())
    interval = mean_interval(means, LEVEL, least_sd=math.sqrt(rounding))
    return Mean(interval.mean, interval.low, interval.high, unit, count)


def _width(mean: Mean) -> float:
    return math.inf if mean.low is None or mean.high is None else mean.high - mean.low


def _decided(drop: Mean, lost: Lost, limit: float) -> tuple[str, ExitCode]:
    """Outcome and exit code. What is surely worse fails, whatever is in doubt beside it."""
    if lost.sure:
        return "WORDS LOST", 1
    if drop.units < LEAST_UNITS or drop.low is None or drop.high is None:
        return "UNDECIDED", 3
    if drop.low > limit:
        return "WORSE", 1
    return ("WITHIN", 0) if drop.high < limit and not lost.pairs else ("UNDECIDED", 3)


class Lost(NamedTuple):
    """Pairs whose words most listeners heard from the base alone, and whether slips cannot explain that."""

    pairs: tuple[str, ...]
    sure: bool


def _lost_words(opinions: Sequence[Opinion]) -> Lost:
    """The pairs where most of those who could tell heard the text from the base alone.

    They are sure if several listeners agree on one pair more often than slips explain, or if the base alone
    is named so often over all pairs that neither slips nor guesses explain it (binomial tests).
    """
    heard: defaultdict[str, list[str]] = defaultdict(list)
    for opinion in opinions:
        if opinion.words != "unsure":
            heard[opinion.pair].append(opinion.words)
    lost = {pair: answers for pair, answers in heard.items() if answers.count("base") > len(answers) / 2}
    if not lost:
        return Lost((), False)
    alpha = SLIP_ALPHA / (len(heard) + 1)
    agreed = any(_chance(answers.count("base"), len(answers), SLIP) < alpha for answers in lost.values())
    everywhere = [answer for answers in heard.values() for answer in answers]
    base, candidate = everywhere.count("base"), everywhere.count("candidate")
    often = _chance(base, len(everywhere), SLIP) < alpha and _chance(base, base + candidate, 0.5) < alpha
    return Lost(tuple(lost), agreed or often)


def _chance(events: int, answers: int, share: float) -> float:
    """The chance of so many events or more if each answer is one with the given chance."""
    return float(stats.binomtest(events, answers, share, alternative="greater").pvalue)


def _sentence(votes: Votes, drop: Mean, preference: Mean, lost: Lost, outcome: str) -> str:
    """The judgement for people: figures with their intervals, what the unit is, and what would help."""
    listeners, count = len(votes.ballots), len(votes.opinions)
    named = ", ".join(repr(name) for name in lost.pairs)
    doubt = "" if lost.sure else ", which may be slips"
    words = f" Only the base says the words of {named}{doubt}." if lost.pairs else ""
    cure = " More listeners, or more pairs, would tell." if outcome == "UNDECIDED" else ""
    return (
        f"{_counted(count, 'vote')} of {_counted(listeners, 'listener')}: MOS drop {drop.value:+.2f}"
        f"{_interval(drop)}, CMOS {preference.value:+.2f}{_interval(preference)}.{words}{cure}"
    )


def _interval(mean: Mean) -> str:
    over = f"over {_counted(mean.units, mean.unit)}"
    if mean.low is None or mean.high is None:
        return f" ({over})"
    return f" (90 % interval {mean.low:+.2f} to {mean.high:+.2f}, {over})"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
