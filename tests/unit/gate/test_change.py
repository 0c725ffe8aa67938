"""Base against candidate: time, tails, start, peak memory, work and stages, each judged on its own."""

from __future__ import annotations

from typing import Any

import pytest

from engine.gate.data.limits import Limit
from engine.gate.data.samples import Process, Run, Work
from engine.gate.data.verdict import Judgement
from engine.gate.measure.compare import conclude
from engine.gate.verdict import change
from tests.unit.gate import builders


def judged(
    run: Run, ratio: Limit = builders.RELATIVE.time_ratio, *, more_work: bool = False
) -> list[Judgement]:
    """Everything that the comparison says of a run."""
    decisions = conclude(run.processes, run.plan) if run.base else None
    return change.judge(run, decisions, builders.RELATIVE, ratio, more_work)


def answer(judgements: list[Judgement], question: str) -> Judgement:
    """The first judgement on a question."""
    return next(judgement for judgement in judgements if judgement.question == question)


def replaced(processes: tuple[Process, ...], **values: Any) -> tuple[Process, ...]:
    """The processes with the candidate's fields replaced."""
    return tuple(
        process.model_copy(update=values) if process.arm == "candidate" else process for process in processes
    )


def limit(upper: float) -> Limit:
    """A limit of the ratio."""
    return builders.limit(upper, unit="candidate/base")


def with_work(**changes: int) -> Run:
    """A run whose candidate's counts differ from the base's in some fields."""
    other = builders.WORK.model_copy(update=changes)
    names = [workload.name for workload in builders.WORKLOADS]
    work = {"base": dict.fromkeys(names, builders.WORK), "candidate": dict.fromkeys(names, other)}
    return builders.run(builders.processes(blocks=4), work=work)


def test_a_clear_change_is_decided() -> None:
    """Slower fails, faster passes, equal arms are the same; the ratio is the value."""
    for ratio, outcome, code in ((1.3, "SLOWER", 1), (0.7, "FASTER", 0), (1.0, "SAME", 0)):
        judgement = answer(judged(builders.run(builders.processes(ratio))), "time")
        assert (judgement.outcome, judgement.code) == (outcome, code)
        assert judgement.value == pytest.approx(ratio, rel=0.05)


def test_a_sure_slow_down_below_the_threshold_fails_and_says_why() -> None:
    """The threshold excuses what is undecided, not what is sure."""
    judgement = answer(judged(builders.run(builders.processes(1.1))), "time")
    assert (judgement.outcome, judgement.code) == ("SLOWER", 1)
    assert "below the threshold too" in judgement.sentence


def test_undecided_passes_below_the_threshold_aloud_and_never_above() -> None:
    """The sentence says which bound let it pass, and that the work is unchanged."""
    run = builders.run(builders.processes(1.06, noise=0.08))
    for upper, code, words in ((1.2, 0, "It passes"), (1.04, 3, "It is no pass")):
        judgement = answer(judged(run, limit(upper)), "time")
        assert (judgement.outcome, judgement.code, judgement.limit) == ("UNDECIDED", code, upper)
        assert words in judgement.sentence
        assert "work is unchanged" in judgement.sentence
    uncounted = answer(judged(run.model_copy(update={"work": {}})), "time")
    assert "work is unchanged" not in uncounted.sentence


def test_a_limit_that_asks_for_a_speed_up_fails_equal_arms() -> None:
    """Surely over is a regression, over within noise undecided."""
    assert answer(judged(builders.run(), limit(0.9)), "time").outcome == "OVER LIMIT"
    noisy = builders.run(builders.processes(1.01, noise=0.05))
    judgement = answer(judged(noisy, limit(0.98)), "time")
    assert (judgement.outcome, judgement.code) == ("UNDECIDED", 3)


def test_one_slow_workload_fails_alone() -> None:
    """Workloads are judged one by one."""
    mixed = tuple(
        fast.model_copy(update={"series": (fast.series[0], slow.series[1])})
        for fast, slow in zip(builders.processes(), builders.processes(1.5), strict=True)
    )
    times = [each for each in judged(builders.run(mixed)) if each.question == "time"]
    assert [(each.workload, each.code) for each in times] == [("short", 0), ("medium", 1)]


def test_slow_calls_fail_by_the_tails_alone() -> None:
    """One call in ten twice as slow leaves the median alone; few calls say that they show no rarer one."""
    slow = builders.processes(
        calls=10, slow=lambda arm, block, i: 2.0 if arm == "candidate" and i == 7 else 1.0
    )
    judgements = judged(builders.run(slow))
    assert (answer(judgements, "time").code, answer(judgements, "tails").outcome) == (0, "SLOWER")
    few = answer(judged(builders.run(builders.processes(blocks=3, calls=4))), "tails")
    assert "no slow call that is rarer" in few.sentence


def test_a_slow_start_fails_by_its_own_row() -> None:
    """A live stream restarts: twice the first call or the loading is over the limit, a fifth more is not."""
    for field, question in (("first_call_seconds", "first call"), ("load_seconds", "load")):
        for factor, code in ((1.0, 0), (1.2, 0), (2.0, 1), (50.0, 1)):
            start = {"first_call_seconds": 1.0, "load_seconds": 3.0}
            processes = replaced(builders.processes(), **{field: start[field] * factor})
            judgements = judged(builders.run(processes))
            assert answer(judgements, question).code == code, (field, factor)
            assert answer(judgements, "time").code == 0
    unseen = replaced(builders.processes(), load_seconds=0.0)
    assert "load" not in [each.question for each in judged(builders.run(unseen))]


def test_peak_memory_is_held_to_the_bases_in_mib() -> None:
    """The slope within a process does not see what every process needs."""
    for where in ("host", "device"):
        field = f"peak_{where}_mb"
        for times, code in ((1.0, 0), (1.2, 0), (1.3, 1), (2.0, 1)):
            processes = replaced(builders.processes(**{field: 500.0}), **{field: 500.0 * times})
            judgement = answer(judged(builders.run(processes)), f"peak memory, {where}")
            assert (judgement.value, judgement.base, judgement.code) == (500.0 * times, 500.0, code)


def test_more_work_is_undecided_until_it_is_accepted() -> None:
    """Any count by over 2 %, whatever else became less; times alone would say that nothing changed."""
    for field in Work.model_fields:
        before = getattr(builders.WORK, field)
        judgements = judged(with_work(**{field: before * 2}))
        assert (answer(judgements, "work").outcome, answer(judgements, "work").code) == ("MORE WORK", 3)
        assert "--accept-more-work" in answer(judgements, "work").sentence
        assert answer(judgements, "time").code == 0
    mixed = with_work(operators=1100, flops=10**8)
    assert answer(judged(mixed), "work").code == 3
    assert answer(judged(mixed, more_work=True), "work").outcome == "ACCEPTED"


def test_less_or_nearly_the_same_work_passes() -> None:
    """Under 2 % passes; unchanged is called so; what was not counted is said."""
    cases = {"UNCHANGED": {}, "NEARLY UNCHANGED": {"operators": 1015}, "LESS WORK": {"operators": 900}}
    for outcome, changes in cases.items():
        judgement = answer(judged(with_work(**changes)), "work")
        assert (judgement.outcome, judgement.code) == (outcome, 0)
    uncounted = builders.run(work={})
    assert answer(judged(uncounted), "work").outcome == "NOT COUNTED"


def test_toggles_may_do_other_work() -> None:
    """Another amount of work is what was asked for."""
    run = with_work(operators=2000).model_copy(update={"questions": ("toggles",)})
    judgement = answer(judged(run), "work")
    assert (judgement.topic, judgement.outcome, judgement.code) == ("toggles", "OTHER WORK", 0)


def test_a_stage_that_changed_explains_and_decides_nothing() -> None:
    """A quarter of the time twice as slow is named with its share; stages of no time are not compared."""

    def staged(process: Process) -> Process:
        slow = 2.0 if process.arm == "candidate" else 1.0
        series = tuple(
            each.model_copy(
                update={
                    "calls": tuple(
                        call.model_copy(
                            update={
                                "stages": {
                                    "sampling": 0.75 * call.seconds,
                                    "vocoder": 0.25 * slow * call.seconds,
                                    "idle": 1e-6,
                                }
                            }
                        )
                        for call in each.calls
                    )
                }
            )
            for each in process.series
        )
        return process.model_copy(update={"series": series})

    judgements = judged(builders.run(tuple(staged(process) for process in builders.processes())))
    stages = [each for each in judgements if each.question.startswith("stage")]
    assert {(each.question, each.outcome, each.code) for each in stages} == {("stage vocoder", "SLOWER", 0)}
    assert "25.0% of the base's time" in stages[0].sentence
    assert not [each for each in judged(builders.run()) if each.question.startswith("stage")]


def test_without_a_base_nothing_is_compared() -> None:
    """Limits and drift alone have no rows here."""
    assert judged(builders.alone()) == []
