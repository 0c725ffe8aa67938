"""How many cases fit into the time left, by the pace of the timed calls; never fewer than the least."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.gate.data import texts
from engine.gate.data.workloads import SENTENCES
from engine.gate.quality import line_budget, script
from engine.gate.quality.line_budget import Fitting, Pace
from tests.unit.gate import builders

CASES = texts.choose(()).cases
SECOND_A_BYTE = Pace(speaking=1.0, judging=0.5, once=20.0)


def fitting(seconds: float, price: Pace = SECOND_A_BYTE, probes: int = 2) -> Fitting:
    """What fits of all cases beside the quick set, with two judged sentences."""
    return line_budget.fitting(CASES, texts.QUICK, SENTENCES[:2], probes, price, seconds)


def test_the_pace_is_that_of_the_slowest_workload_of_both_arms() -> None:
    """Made-up calls of four seconds, at RTF 0.2 and 0.1: a short text is dearer by the byte."""
    processes = builders.processes(0.5, blocks=2, noise=0.0)
    size = len(SENTENCES[0].text.encode())
    assert line_budget.pace(SENTENCES, processes, 0) == pytest.approx(((0.8 + 0.4) / size, 0.0, 6.0))
    judged = line_budget.pace(SENTENCES, processes, 2)
    assert judged.judging == pytest.approx(line_budget.HEARING * 8 / size / 2)
    assert judged.once == pytest.approx(6.0 + line_budget.OPENING)
    assert line_budget.pace(SENTENCES, (), 1) == (0.0, 0.0, line_budget.OPENING)


@given(st.floats(0, 20_000))
def test_what_fits_takes_no_longer_than_there_is_time_and_the_least_is_always_there(seconds: float) -> None:
    """Cases keep their order, and each is either spoken or named."""
    chosen = fitting(seconds)
    names = [case.name for case in chosen.cases]
    assert set(texts.QUICK) <= set(names)
    assert names == [case.name for case in CASES if case.name in names]
    assert len(names) + len(chosen.left_out) == len(CASES)
    assert chosen.seconds <= seconds or set(names) == set(texts.QUICK)
    assert len(fitting(seconds + 500).cases) >= len(names)


def test_without_a_limit_everything_is_spoken_and_its_price_is_what_it_takes() -> None:
    """Opening once; cases and timed waves are judged; cases, and all that is asked again, are spoken."""
    chosen = fitting(math.inf)
    sizes = [len(case.text.encode()) for case in CASES]
    timed = [len(sentence.text.encode()) for sentence in SENTENCES[:2]]
    again = 3 * 2 * sum(sizes) / len(sizes) + sum(timed) + 2 * script.MEMORY_PAIRS * min(timed)
    assert (chosen.cases, chosen.left_out) == (CASES, ())
    assert chosen.seconds == pytest.approx(20 + 1.5 * sum(sizes) + again + 0.5 * sum(timed))


def test_it_is_said_what_was_left_out_and_why() -> None:
    """With the time that there was."""
    (sentence,) = {line.partition(": ")[2] for line in fitting(0.0).left_out}
    assert (
        sentence
        == f"left out, {len(texts.QUICK)} of {len(CASES)} cases fit into the 0.0 minutes that are left"
    )
