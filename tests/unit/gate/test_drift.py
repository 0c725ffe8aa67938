"""Drift: this run against recorded sessions, sure from three on, and nothing skipped in silence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BaselineError
from engine.gate.data.limits import RecordedWorkload, Session
from engine.gate.data.samples import Run
from engine.gate.data.verdict import Judgement
from engine.gate.verdict import drift
from tests.unit.gate import builders

LIMIT = builders.limit(1.2, unit="candidate/base")


def sessions(count: int, rtf: float = 0.2, **changes: Any) -> tuple[Session, ...]:
    """Sessions of as many days."""
    return tuple(builders.session(rtf, day, **changes) for day in range(count))


def judged(
    run: Run, recorded: tuple[Session, ...], *, compared: bool = True, asked: bool = True
) -> list[Judgement]:
    """What drift says of a run."""
    questions = ("limits", "drift") if asked else ("limits",)
    run = run.model_copy(update={"questions": questions})
    return drift.judge(run, builders.baseline(sessions=recorded), LIMIT, compared=compared)


def test_four_times_slower_than_three_sessions_is_a_regression_for_sure() -> None:
    """Both arms of a comparison would be slow alike; other days are not."""
    judgements = judged(builders.alone(0.8), sessions(3))
    assert {(each.outcome, each.code, each.workload) for each in judgements} == {
        ("DRIFTED", 1, "short"),
        ("DRIFTED", 1, "medium"),
    }
    assert all(each.value == pytest.approx(4.0, rel=0.05) for each in judgements)
    assert all(each.low is not None and each.low > 1.2 for each in judgements)


def test_fewer_than_three_sessions_are_never_sure() -> None:
    """Over the limit is undecided, within it passes, and both say what is missing."""
    for count in (1, 2):
        for rtf, code in ((0.2, 0), (0.8, 3)):
            judgements = judged(builders.alone(rtf), sessions(count))
            assert {each.code for each in judgements} == {code}
            assert all("from 3 on their spread" in each.sentence for each in judgements)
            assert {each.low for each in judgements} == {None}


def test_days_that_differ_much_leave_a_slow_run_undecided() -> None:
    """Sessions of 0.15, 0.2 and 0.27 do not tell 0.28 from another such day."""
    loud = tuple(builders.session(rtf, day) for day, rtf in enumerate((0.15, 0.2, 0.27)))
    judgements = judged(builders.alone(0.28), loud)
    assert {(each.outcome, each.code) for each in judgements} == {("UNDECIDED", 3)}
    assert all(each.value is not None and each.value > 1.2 for each in judgements)


def test_unchanged_code_is_called_slower_for_sure_as_rarely_as_promised() -> None:
    """Simulated days of 5 % and processes of 3 %: half a percent of runs at the ratio of the limit."""
    random = np.random.default_rng(0)

    def day(shift: float = 0.0) -> list[list[float]]:
        pace = 0.2 * np.exp(0.05 * random.standard_normal() + shift)
        return [[float(pace * np.exp(0.03 * random.standard_normal()))] * 3 for _ in range(4)]

    for count in (3, 6):
        at_limit, missed = 0, 0
        for _ in range(2000):
            before = [day() for _ in range(count)]
            low = drift.measure(day(), before, 1).low
            assert low is not None
            at_limit += low > 1.0  # the same test, at the ratio where its error is largest
            high = drift.measure(day(np.log(4.0)), before, 1).low
            assert high is not None
            missed += high <= 1.2
        assert at_limit / 2000 <= 0.01
        assert missed / 2000 <= (0.05 if count == 3 else 0.0)


@given(st.floats(0.5, 4.0), st.integers(3, 10))
def test_the_ratio_scales_with_the_run_and_lies_in_its_interval(factor: float, count: int) -> None:
    """Twice the time is twice the ratio, whatever was recorded."""
    before = [[list(process) for process in each.workloads["short"].rtf] for each in sessions(count)]
    now = [[0.2, 0.21], [0.19, 0.2]]
    plain = drift.measure(now, before, 2)
    scaled = drift.measure([[factor * rtf for rtf in process] for process in now], before, 2)
    assert scaled.ratio == pytest.approx(factor * plain.ratio)
    assert plain.low is not None
    assert plain.high is not None
    assert plain.low < plain.ratio < plain.high
    wider = drift.measure(now, before, 20)
    assert wider.low is not None
    assert wider.low < plain.low


def test_a_short_run_is_less_sure_than_a_long_one() -> None:
    """One process of a session whose processes differ by 10 % may be the slow one."""
    before = [[[0.18], [0.2], [0.22]] for _ in range(5)]
    short, long = drift.measure([[0.2]], before, 1), drift.measure([[0.2]] * 9, before, 1)
    assert short.low is not None
    assert long.low is not None
    assert short.low < long.low


def test_other_versions_or_threads_are_compared_and_said() -> None:
    """Slower under another torch is undecided; as fast is so where nothing else was asked."""
    changes = ({"versions": {"torch": "2.14.0"}}, {"threads": 2})
    words = ("torch 2.13.0 -> 2.14.0", "threads 4 -> 2")
    for change, word in zip(changes, words, strict=True):
        for rtf, compared, code in ((0.8, True, 3), (0.2, True, 0), (0.2, False, 3)):
            run = builders.alone(rtf, candidate=builders.side(**change))
            judgements = judged(run, sessions(4), compared=compared)
            assert {(each.outcome, each.code) for each in judgements} == {("VERSIONS DIFFER", code)}
            assert all("versions differ" in each.sentence and word in each.sentence for each in judgements)


def test_sessions_of_the_same_versions_are_preferred() -> None:
    """Those of another torch are left out where there are others."""
    old = tuple(builders.session(0.05, day + 5, versions={"torch": "2.0.0"}) for day in range(3))
    judgements = judged(builders.alone(0.2), (*sessions(3), *old))
    assert {each.outcome for each in judgements} == {"WITHIN"}
    assert all("3 recorded sessions" in each.sentence for each in judgements)


def test_what_was_never_recorded_is_said_and_is_no_pass_alone() -> None:
    """Another checkpoint, other options, or no sessions at all."""
    others = (
        sessions(3, checkpoint="another"),
        sessions(3, options={"nfe": 7}),
        (),
    )
    for recorded in others:
        for compared, code in ((True, 0), (False, 3)):
            (judgement,) = judged(builders.alone(), recorded, compared=compared)
            assert (judgement.outcome, judgement.code) == ("NOT RECORDED", code)
            assert "nox -s record" in judgement.sentence
    assert judged(builders.alone(), (), asked=False) == []
    assert len(judged(builders.alone(), sessions(3), asked=False)) == 2


def test_a_workload_that_no_session_holds_is_said() -> None:
    """The others are compared."""
    short = RecordedWorkload(sha256=builders.WORKLOADS[0].sha256, rtf=((0.2,),))
    judgements = judged(builders.alone(), sessions(3, workloads={"short": short}))
    assert [(each.workload, each.outcome) for each in judgements] == [
        ("short", "WITHIN"),
        ("medium", "NOT RECORDED"),
    ]


def test_a_recorded_workload_that_changed_is_an_error() -> None:
    """The same name with other content is never compared and never ignored."""
    other = {name: RecordedWorkload(sha256="ab" * 32, rtf=((0.2,),)) for name in ("short", "medium")}
    with pytest.raises(BaselineError, match="'short' was abababababab when recorded"):
        judged(builders.alone(), sessions(3, workloads=other))
    mixed = (*sessions(3, workloads=other), builders.session(0.2, 9))
    assert {each.code for each in judged(builders.alone(), mixed)} == {0}
