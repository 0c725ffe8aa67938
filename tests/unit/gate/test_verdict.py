"""The verdict: every question has its answer, the worst code wins, an unfit machine decides nothing."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BaselineError, UsageError
from engine.gate.baselines.select import Baseline
from engine.gate.data.samples import Judgement, Observed, Run, Verdict
from engine.gate.measure import compare
from engine.gate.stats.looks import Plan
from engine.gate.verdict.judge import judge, worst
from tests.unit.gate import builders
from tests.unit.gate.test_baseline import entry


def verdict(run: Run, baseline: Baseline | None = None, **changes: Any) -> Verdict:
    """The verdict by the portable baseline, or another."""
    return judge(run, builders.selection(baseline), **changes)


def answer(found: Verdict, question: str) -> Judgement:
    """The first judgement on a question, wherever it stands."""
    everything = [*(j for row in found.rows for j in row.judgements), *found.whole, *found.trust]
    return next(judgement for judgement in everything if judgement.question == question)


def with_limit(group: str, field: str, **changes: Any) -> Baseline:
    """The test baseline with one limit changed."""
    old = builders.baseline()
    limits = getattr(old, group)
    limit = getattr(limits, field).model_copy(update=changes)
    return old.model_copy(update={group: limits.model_copy(update={field: limit})})


# Exit codes


@pytest.mark.parametrize("codes", list(permutations([0, 1, 2, 3])))
def test_the_worst_code_wins_in_any_order(codes: Any) -> None:
    """2 wins over 1, 1 over 3, 3 over 0."""
    assert worst(codes) == 2
    assert worst(code for code in codes if code != 2) == 1
    assert worst(code for code in codes if code in (0, 3)) == 3
    assert worst([]) == 0


def test_equal_arms_pass() -> None:
    """A quiet A/A run is SAME everywhere and exits 0."""
    found = verdict(builders.run())
    assert found.code == 0
    assert {row.judgements[0].outcome for row in found.rows} == {"SAME"}
    assert answer(found, "tails").outcome == "SAME"
    assert "said aloud" in found.notes


@pytest.mark.parametrize(("ratio", "outcome", "code"), [(1.3, "SLOWER", 1), (0.7, "FASTER", 0)])
def test_a_clear_change_is_decided(ratio: float, outcome: str, code: int) -> None:
    """Slower fails and faster passes, with the ratio as the value."""
    found = verdict(builders.run(builders.processes(ratio)))
    centre = answer(found, "centre")
    assert (centre.outcome, found.code) == (outcome, code)
    assert centre.value == pytest.approx(ratio, rel=0.05)


def test_one_slow_workload_fails_the_run() -> None:
    """Rows are judged one by one, and the worst decides."""
    healthy, slow = builders.processes(), builders.processes(1.5)
    mixed = tuple(
        one.model_copy(update={"series": (one.series[0], other.series[1])})
        for one, other in zip(healthy, slow, strict=True)
    )
    found = verdict(builders.run(mixed))
    assert [row.code for row in found.rows] == [0, 1]
    assert found.code == 1


def test_undecided_below_the_threshold_passes_aloud() -> None:
    """It exits 0, is not called SAME, and the sentence says which bound let it pass."""
    centre = answer(verdict(builders.run(builders.processes(1.03, noise=0.06))), "centre")
    assert (centre.outcome, centre.code) == ("UNDECIDED", 0)
    assert "95 % upper bound" in centre.sentence
    assert "passes" in centre.sentence


def test_undecided_above_the_threshold_is_exit_3() -> None:
    """The same run with a stricter threshold is no pass."""
    run = builders.run(builders.processes(1.03, noise=0.06), threshold=0.04)
    found = verdict(run)
    centre = answer(found, "centre")
    assert (centre.outcome, centre.code, found.code) == ("UNDECIDED", 3, 3)
    assert centre.limit == pytest.approx(1.04)
    assert "no pass" in centre.sentence


def test_a_ratio_limit_that_is_lowered_fails_equal_arms() -> None:
    """A limit of 0.9 demands a speed-up: SAME is then over the limit, surely."""
    found = verdict(builders.run(), with_limit("relative", "time_ratio", upper=0.9, reference=None))
    assert (answer(found, "centre").outcome, found.code) == ("OVER LIMIT", 1)


def test_a_ratio_over_the_limit_within_noise_is_exit_3() -> None:
    """The point estimate is over, its bound is not: neither pass nor fail."""
    run = builders.run(builders.processes(1.01, noise=0.05))
    found = verdict(run, with_limit("relative", "time_ratio", upper=0.99, reference=None))
    assert (answer(found, "centre").outcome, found.code) == ("UNDECIDED", 3)


# Tails and memory


def test_slow_calls_fail_by_the_tails_alone() -> None:
    """Every fifth call twice as slow leaves the median alone, and the tails say so."""
    slow = builders.processes(
        calls=10, slow=lambda arm, block, i: 2.0 if arm == "candidate" and i == 7 else 1.0
    )
    found = verdict(builders.run(slow))
    assert (answer(found, "centre").code, answer(found, "tails").outcome, found.code) == (0, "SLOWER", 1)


@pytest.mark.parametrize(
    ("growth", "outcome", "code"), [(0.0, "WITHIN", 0), (0.2, "WITHIN", 0), (1.0, "OVER LIMIT", 1)]
)
def test_a_leak_fails_by_the_memory_alone(growth: float, outcome: str, code: int) -> None:
    """The slope over the calls of each process is held to 0.25 MiB a call."""
    found = verdict(builders.run(builders.processes(growth=growth)))
    assert (answer(found, "memory").outcome, found.code) == (outcome, code)
    assert found.rows[0].growth == pytest.approx(growth, abs=1e-6)
    assert answer(found, "centre").code == 0


def test_a_leak_on_the_device_is_seen_too() -> None:
    """The steeper of host and device is held to the limit."""
    leaking = tuple(
        one.model_copy(
            update={
                "series": tuple(
                    series.model_copy(
                        update={
                            "calls": tuple(
                                call.model_copy(update={"device_mb": 100.0 + 2 * index})
                                for index, call in enumerate(series.calls)
                            )
                        }
                    )
                    for series in one.series
                )
            }
        )
        for one in builders.processes()
    )
    found = verdict(builders.run(leaking))
    assert (found.rows[0].growth, found.code) == (pytest.approx(2.0), 1)


def test_too_few_calls_leave_the_memory_undecided() -> None:
    """Two calls show no growth; that is no pass."""
    found = verdict(builders.run(builders.processes(calls=2)))
    assert (answer(found, "memory").code, found.rows[0].growth) == (3, None)


# Product limits


@pytest.mark.parametrize(
    ("rtf", "question", "code"), [(0.2, "mean RTF", 0), (0.4, "mean RTF", 1), (0.5, "worst RTF", 1)]
)
def test_product_limits_hold_on_the_named_machine(rtf: float, question: str, code: int) -> None:
    """A mean over 0.36 and a worst over 0.45 fail where the baseline has product limits."""
    found = verdict(builders.alone(rtf), builders.baseline())
    assert (answer(found, question).code, found.code) == (code, code)


def test_product_limits_do_not_hold_elsewhere() -> None:
    """The portable baseline has none: a slow machine is no regression."""
    found = verdict(builders.run(builders.processes(rtf=3.0)))
    assert found.code == 0
    assert [judgement.question for judgement in found.rows[0].judgements] == ["centre", "memory"]


def test_one_call_over_the_worst_limit_never_passes() -> None:
    """A single outlier in one process is over the limit, though the typical worst call is not: exit 3."""
    paces = [[0.2] * 5, [0.2] * 5, [0.2] * 4 + [0.6], [0.2] * 5]
    run = builders.run(tuple(builders.process("candidate", 0, i, pace) for i, pace in enumerate(paces)))
    found = verdict(run, builders.baseline())
    assert (answer(found, "worst RTF").value, answer(found, "worst RTF").code, found.code) == (0.6, 3, 3)
    assert answer(found, "mean RTF").code == 0


def test_a_sure_slow_down_below_the_threshold_fails_and_says_why() -> None:
    """The threshold excuses what is undecided, not what is sure."""
    found = verdict(builders.run(builders.processes(1.1)))
    assert (answer(found, "centre").outcome, found.code) == ("SLOWER", 1)
    assert "below the threshold too" in answer(found, "centre").sentence


def test_a_mean_over_the_limit_within_noise_is_exit_3() -> None:
    """Over by the estimate, not by its bound: never 0, not yet 1."""
    found = verdict(builders.run(builders.processes(rtf=0.365, noise=0.1)), builders.baseline())
    assert answer(found, "mean RTF").code == 3
    assert "bound is not" in answer(found, "mean RTF").sentence


def test_a_cv_over_the_limit_fails() -> None:
    """The CV is that of the medians of processes."""
    paces = (0.05, 0.3, 0.06, 0.28, 0.05, 0.3, 0.05, 0.29)
    found = builders.run(
        tuple(builders.process("candidate", 0, index, [pace] * 4) for index, pace in enumerate(paces))
    )
    judged = verdict(found, builders.baseline())
    assert answer(judged, "CV").outcome == "OVER LIMIT"
    assert judged.rows[0].cv == answer(judged, "CV").value


def test_one_process_has_the_cv_of_its_calls_and_one_call_has_none() -> None:
    """With a single call nothing can be said about the spread, so the limit is undecided."""
    several = builders.run((builders.process("candidate", 0, 0, [0.2, 0.2, 0.21]),))
    assert verdict(several, builders.baseline()).rows[0].cv == pytest.approx(0.0284, rel=0.01)
    found = verdict(builders.run((builders.process("candidate", 0, 0, [0.2]),)), builders.baseline())
    assert (answer(found, "CV").code, found.rows[0].cv) == (3, None)


def test_a_figure_too_good_to_be_believed_is_exit_3() -> None:
    """Below the lower bound a figure is looked at, not passed."""
    found = verdict(builders.alone(0.2), with_limit("product", "mean_rtf", lower=0.25))
    assert (answer(found, "mean RTF").outcome, found.code) == ("UNDECIDED", 3)


# Without a base


def test_without_base_samples_and_product_limits_nothing_passes() -> None:
    """A run that was compared with nothing is undecided."""
    found = verdict(builders.alone())
    assert (answer(found, "centre").outcome, found.code) == ("UNDECIDED", 3)
    assert any("no A/A control" in note for note in found.notes)


def test_reported_figures_leave_the_product_limits_in_force() -> None:
    """Nothing was recorded, so nothing is compared; the limits decide."""
    found = verdict(builders.alone(), builders.baseline())
    assert (answer(found, "centre").outcome, found.code) == ("NOT COMPARED", 0)


@pytest.mark.parametrize(("rtf", "code"), [(0.2, 0), (0.3, 1)])
def test_recorded_samples_are_compared_with_the_threshold(rtf: float, code: int) -> None:
    """Medians of processes against the recorded ones: +50 % is over 20 %."""
    entries = tuple(
        entry(workload=workload.name, workload_sha256=workload.sha256) for workload in builders.WORKLOADS
    )
    found = verdict(builders.alone(rtf), builders.baseline(entries=entries))
    assert (answer(found, "centre").code, found.code) == (code, code)
    assert answer(found, "centre").value == pytest.approx(rtf / 0.2, rel=0.02)


# Trust


@given(st.sampled_from([0.7, 1.0, 1.3]), st.sampled_from([0.0, 1.0]), st.booleans())
@settings(max_examples=12)
def test_an_unfit_machine_neither_passes_nor_fails(ratio: float, growth: float, product: bool) -> None:
    """Whatever was measured, the exit code is 3, and the cure is told."""
    run = builders.run(builders.processes(ratio, growth=growth), preflight=builders.UNFIT)
    found = verdict(run, builders.baseline() if product else None)
    assert found.code == 3
    assert {row.code for row in found.rows} == {3}
    assert "Let it cool down" in answer(found, "preflight").sentence


@pytest.mark.parametrize(("ratio", "code"), [(1.0, 0), (1.3, 1)])
def test_forced_an_unfit_machine_is_judged_aloud(ratio: float, code: int) -> None:
    """The verdict stands, and the record says that it was forced."""
    found = verdict(builders.run(builders.processes(ratio), preflight=builders.UNFIT, forced=True))
    assert (answer(found, "preflight").outcome, found.code) == ("FORCED", code)


@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.3])
def test_a_machine_that_became_unfit_half_way_decides_nothing_and_the_blocks_are_named(ratio: float) -> None:
    """What was measured before may be good, but nobody knows how much of it."""
    run = builders.run(builders.processes(ratio), after_blocks=builders.HALF_WAY)
    found = verdict(run)
    assert (answer(found, "preflight").outcome, found.code) == ("UNFIT", 3)
    assert {row.code for row in found.rows} == {3}
    said = answer(found, "preflight").sentence
    assert "After block 6, 7, 8, 9, 10: CPU temperature: 91 C, expected below 85 C. Cure: Let it" in said
    assert said.count("CPU temperature") == 1
    forced = verdict(run.model_copy(update={"forced": True}))
    assert answer(forced, "preflight").outcome == "FORCED"
    assert "After block 6" in answer(forced, "preflight").sentence
    assert forced.code == {0.7: 0, 1.0: 0, 1.3: 1}[ratio]


def test_a_loud_control_decides_nothing() -> None:
    """When identical code differs wildly the run is undecided."""
    found = verdict(builders.run(builders.processes(noise=0.6)))
    assert (answer(found, "A/A control").outcome, found.code) == ("LOUD", 3)


@pytest.mark.parametrize(("arm", "code"), [("candidate", 1), ("base", 3)])
def test_a_toggle_that_does_nothing_is_named(arm: str, code: int) -> None:
    """In the candidate it fails; in the base it makes the comparison moot."""
    idle = {"compile": Observed(proven=False, observed="0 graphs ran")}
    found = verdict(
        builders.run(
            tuple(
                one.model_copy(update={"evidence": idle}) if one.arm == arm else one
                for one in builders.processes()
            )
        )
    )
    judgement = answer(found, "toggle compile")
    assert (judgement.code, found.code) == (code, code)
    assert "0 graphs ran" in judgement.sentence


def test_a_toggle_that_does_nothing_fails_on_an_unfit_machine_too() -> None:
    """Heat changes times, not whether a toggle engaged."""
    idle = {"compile": Observed(proven=False, observed="0 graphs ran")}
    run = builders.run(builders.processes(evidence=idle), preflight=builders.UNFIT)
    assert verdict(run).code == 1


def test_loosened_limits_fail_unless_accepted() -> None:
    """Each loosening is told; accepted ones are told too."""
    said = ["product.cv upper was raised from 0.2 to 0.5 ratio"]
    found = verdict(builders.run(), loosened=said)
    assert (answer(found, "limits").outcome, found.code) == ("LOOSENED", 1)
    found = verdict(builders.run(), loosened=said, accept_looser=True)
    assert (answer(found, "limits").outcome, found.code) == ("ACCEPTED", 0)
    assert said[0] in answer(found, "limits").sentence


def test_different_workloads_are_never_compared() -> None:
    """A base that spoke in another voice is an error that names the workload."""
    other = builders.pinned(
        builders.Clip.of("other", b"other", "Other."), builders.WEIGHTS, ["short", "medium"]
    )
    with pytest.raises(BaselineError, match="'short' changed between the base"):
        verdict(builders.run(base=builders.side(other)))


# Comparison in blocks


@given(st.permutations(range(40)), st.floats(0.5, 2.0))
@settings(max_examples=10)
def test_a_decision_does_not_depend_on_the_order_in_the_record(order: list[int], ratio: float) -> None:
    """Processes are laid out by block and position, however they are stored."""
    found = builders.processes(ratio, blocks=10, calls=3)
    shuffled = [found[index] for index in order]
    assert compare.decide(shuffled, Plan(family=3)) == compare.decide(found, Plan(family=3))


def test_measuring_may_stop_when_all_is_decided() -> None:
    """`finished` needs every workload and the tails."""
    plan = Plan(family=3)
    assert compare.decide(builders.processes(), plan).finished
    assert not compare.decide(builders.processes(1.03, noise=0.06), plan).finished


def test_more_blocks_than_planned_are_refused() -> None:
    """The plan is fixed before the first block."""
    with pytest.raises(UsageError, match="blocks"):
        compare.decide(builders.processes(blocks=11), Plan(blocks_max=10, family=3))
