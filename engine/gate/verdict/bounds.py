"""Figures held to a limit, in words: one judgement with digits enough to tell the two apart."""

from __future__ import annotations

import math
from typing import cast

from engine.gate.data.limits import Limit
from engine.gate.data.verdict import Band, ExitCode, Judgement, Topic
from engine.gate.stats.limits import LimitCheck

OUTCOMES = {0: "WITHIN", 1: "OVER LIMIT", 3: "UNDECIDED"}
MOST_DIGITS = 12


def held(topic: Topic, question: str, check: LimitCheck, limit: Limit, workload: str = "") -> Judgement:
    """A figure held to an upper limit, and to a lower one where given: what is too good is not believed."""
    code, band = code_of(check.exit_code), band_of(check.estimate, limit)
    outcome = OUTCOMES[code]
    value, upper = apart(check.estimate, check.limit)
    figure = f"{value} {limit.unit} against a limit of {upper}"
    if code == 1:
        sentence = f"{figure}: over."
    elif code == 3:
        sentence = f"{figure}: over, but so few samples may be that far off; more must tell."
    elif limit.lower is not None and check.estimate < limit.lower:
        outcome, code = "UNDECIDED", code_of(3)
        sentence = f"{figure}: under {limit.lower:g}, too good to be believed. Check the outputs first."
    else:
        sentence = f"{figure}: within" + (f", {band}." if band else ".")
    return Judgement(
        topic=topic,
        question=question,
        workload=workload,
        outcome=outcome,
        code=code,
        sentence=sentence,
        value=check.estimate,
        low=check.lower_95 if math.isfinite(check.lower_95) else None,
        limit=check.limit,
        unit=limit.unit,
        band=band,
    )


def band_of(value: float, limit: Limit) -> Band | None:
    """Where a figure lies in the limit's bands, or None where it has none."""
    if limit.warning is None or limit.critical is None:
        return None
    return "good" if value < limit.warning else "warning" if value < limit.critical else "critical"


def apart(value: float, other: float) -> tuple[str, str]:
    """Both numbers with three digits, or as many more as it takes that different numbers look different."""
    for digits in range(3, MOST_DIGITS):
        texts = figure(value, digits), figure(other, digits)
        if texts[0] != texts[1] or value == other:
            return texts
    return repr(value), repr(other)


def figure(value: float, digits: int = 3) -> str:
    """A number with so many digits that count; whole numbers below ten millions in full."""
    whole = float(value).is_integer() and 1000 <= abs(value) < 1e7
    return f"{value:,.0f}" if whole else f"{value:.{digits}g}"


def code_of(value: int) -> ExitCode:
    """The same number as an exit code."""
    return cast(ExitCode, value)


def percent(ratio: float) -> str:
    """A ratio as its signed change in percent."""
    return f"{ratio - 1:+.1%}"
