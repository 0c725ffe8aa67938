"""The verdict: every question has its answer, the worst code wins, an unfit machine decides nothing."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BaselineError
from engine.gate.data.limits import Baseline
from engine.gate.data.samples import Observed, Run
from engine.gate.data.verdict import Judgement, Verdict
from engine.gate.verdict.judge import Accepted, judge, worst
from tests.unit.gate import builders

ALL: Any = ("change", "limits", "drift")


def verdict(run: Run, baseline: Baseline | None = None, **changes: Any) -> Verdict:
    """The verdict by the portable baseline, or another."""
    return judge(run, builders.selection(baseline), **changes)


def answer(verdict: Verdict, question: str) -> Judgement:
    """The first judgement on a question, wherever it stands."""
    return next(judgement for judgement in verdict.judgements if judgement.question == question)


def test_the_worst_code_wins_in_any_order() -> None:
    """2 wins over 1, 1 over 3, 3 over 0."""
    codes: Any
    for codes in permutations([0, 1, 2, 3]):
        assert worst(codes) == 2
        assert worst(code for code in codes if code != 2) == 1
        assert worst(code for code in codes if code in (0, 3)) == 3
    assert worst([]) == 0


def test_equal_arms_pass_and_the_first_line_says_against_what() -> None:
    """A quiet A/A run is the same on every workload and exits 0."""
    found = verdict(builders.run())
    assert found.code == 0
    assert found.first_line.startswith("SAME: short ")
    assert found.first_line.endswith("against babababababa, merge base of main")
    assert "said aloud" in found.notes


def test_the_first_line_tells_what_decided() -> None:
    """The change where it is slower, limits that are broken, and the drift, each with its figures."""
    sessions = tuple(builders.session(0.2, day) for day in range(3))
    slower = verdict(builders.run(builders.processes(1.3)))
    assert slower.first_line.startswith("SLOWER: short +2")
    over = verdict(builders.run(builders.processes(rtf=0.4)), builders.baseline())
    assert over.first_line.startswith("OVER LIMIT: mean 0.3")
    assert "> 0.36 (critical)" in over.first_line
    drifted = verdict(
        builders.run(builders.processes(rtf=0.3)), builders.baseline(products=(), sessions=sessions)
    )
    assert drifted.first_line.startswith("DRIFTED: short +")


def test_each_topic_has_one_line_and_the_worst_code_of_its_judgements() -> None:
    """In the order of the questions; the exit code is the worst of all."""
    sessions = tuple(builders.session(0.2, day) for day in range(4))
    run = builders.run(builders.processes(1.3, rtf=0.3), questions=ALL)
    found = verdict(run, builders.baseline(sessions=sessions))
    assert [each.topic for each in found.answers] == ["change", "limits", "drift", "sound", "trust"]
    for each in found.answers:
        assert each.code == worst(judgement.code for judgement in found.about(each.topic))
    assert found.code == worst(each.code for each in found.answers)


def test_what_spoils_a_topic_besides_its_figures_is_in_its_line() -> None:
    """More work beside a time that is the same, and a leak beside limits that hold."""
    more = builders.WORK.model_copy(update={"flops": 2 * 10**9})
    work = {"base": {"short": builders.WORK}, "candidate": {"short": more}}
    change = verdict(builders.run(work=work)).answers[0]
    assert (change.outcome, change.code) == ("MORE WORK", 3)
    assert "flops" in change.sentence
    leak = verdict(builders.run(builders.processes(growth=1.0)), builders.baseline())
    limits = next(each for each in leak.answers if each.topic == "limits")
    assert (limits.outcome, limits.code) == ("GROWS", 1)
    assert "+1.000 MiB/call" in limits.sentence


# Nothing older


def test_a_run_that_looked_at_nothing_older_and_held_no_limit_is_no_pass() -> None:
    """Toggles of one checkout, however much faster, and limits of a machine that has none."""
    toggles = builders.run(builders.processes(0.2), base=builders.side(), questions=("toggles",))
    for run in (toggles, builders.alone()):
        found = verdict(run)
        assert found.code == 3
        older = answer(found, "older revision")
        assert older.sentence == (
            "Nothing older than this checkout was looked at, and no limits were held: "
            "this run cannot see a regression."
        )


def test_an_older_base_or_limits_or_sessions_are_something_older() -> None:
    """Each of them alone is enough; a changed tree against its own commit is a comparison."""
    sessions = tuple(builders.session(0.2, day) for day in range(3))
    changed = builders.run(base=builders.side(), candidate=builders.side(dirty=True))
    runs = (
        (builders.run(), None),
        (changed, None),
        (builders.alone(), builders.baseline()),
        (builders.alone(), builders.baseline(products=(), sessions=sessions)),
    )
    for run, baseline in runs:
        found = verdict(run, baseline)
        assert found.code == 0, found.first_line
        assert "older revision" not in [each.question for each in found.judgements]
    other = builders.alone(candidate=builders.side(versions={"torch": "2.14.0"}))
    assert verdict(other, builders.baseline(products=(), sessions=sessions)).code == 3


# Unfit machines


@given(st.sampled_from([0.7, 1.0, 1.3]), st.sampled_from([0.0, 1.0]), st.booleans())
@settings(max_examples=12)
def test_an_unfit_machine_neither_passes_nor_fails(ratio: float, growth: float, product: bool) -> None:
    """Whatever was measured, the exit code is 3, and the cure is told."""
    run = builders.run(builders.processes(ratio, growth=growth), preflight=builders.UNFIT)
    found = verdict(run, builders.baseline() if product else None)
    assert found.code == 3
    assert "Let it cool down" in answer(found, "preflight").sentence


def test_a_broken_limit_is_shown_on_an_unfit_machine_too() -> None:
    """It decides nothing there, and nobody has to measure again to see it."""
    run = builders.run(builders.processes(rtf=0.5), preflight=builders.UNFIT)
    mean = answer(verdict(run, builders.baseline()), "mean RTF")
    assert (mean.outcome, mean.code, mean.value) == ("OVER LIMIT", 3, pytest.approx(0.5, rel=0.05))


def test_forced_an_unfit_machine_is_judged_aloud() -> None:
    """The verdict stands, and the record says that it was forced; half-way unfit names the blocks once."""
    for ratio, code in ((1.0, 0), (1.3, 1)):
        found = verdict(builders.run(builders.processes(ratio), preflight=builders.UNFIT, forced=True))
        assert (answer(found, "preflight").outcome, found.code) == ("FORCED", code)
    half = verdict(builders.run(after_blocks=builders.HALF_WAY))
    sentence = answer(half, "preflight").sentence
    assert half.code == 3
    assert "After block 6, 7, 8, 9, 10: CPU temperature: 91 C, expected below 85 C. Cure: Let it" in sentence
    assert sentence.count("CPU temperature") == 1


def test_a_toggle_that_does_nothing_fails_on_an_unfit_machine_too() -> None:
    """Heat changes times, not whether a toggle engaged."""
    idle = {"compile": Observed(proven=False, observed="0 graphs ran")}
    assert verdict(builders.run(builders.processes(evidence=idle), preflight=builders.UNFIT)).code == 1


# Accepted


def test_looser_limits_fail_unless_accepted_aloud() -> None:
    """Each loosening is told; accepted ones are told too."""
    said = ["jetson-agx-orin.json: cv upper was raised from 0.2 to 0.5 ratio"]
    found = verdict(builders.run(), loosened=said)
    assert (answer(found, "looser limits").outcome, found.code) == ("LOOSENED", 1)
    found = verdict(builders.run(), loosened=said, accepted=Accepted(looser=True))
    assert (answer(found, "looser limits").outcome, found.code) == ("ACCEPTED", 0)
    assert said[0] in answer(found, "looser limits").sentence
    assert any("--accept-looser" in note for note in found.notes)


def test_every_accepted_flag_is_said_aloud_and_none_that_was_not_given() -> None:
    """A reader of the record sees what was let through."""
    flags = {
        "looser": "--accept-looser",
        "changed_output": "--accept-changed-output",
        "more_work": "--accept-more-work",
    }
    plain = verdict(builders.run()).notes
    for name, flag in flags.items():
        assert any(flag in note for note in verdict(builders.run(), accepted=Accepted(**{name: True})).notes)
        assert not any(flag in note for note in plain)


def test_a_raised_threshold_is_said_aloud() -> None:
    """It is the caller's own word, so it fails nothing."""
    assert "raised the limit from 1.2 to 10.9" in " ".join(verdict(builders.run(threshold=9.9)).notes)
    assert not any("raised" in note for note in verdict(builders.run(threshold=0.1)).notes)


def test_a_machines_own_file_that_was_passed_over_is_looser() -> None:
    """`--baseline portable.json` on a machine that has a file of its own."""
    selection = builders.selection()._replace(passed_over=builders.selection().path)
    found = judge(builders.run(), selection)
    assert (answer(found, "looser limits").code, found.code) == (1, 1)
    assert judge(builders.run(), selection, accepted=Accepted(looser=True)).code == 0


def test_different_workloads_are_never_compared() -> None:
    """A base that spoke in another voice is an error that names the workload."""
    clip = builders.Clip.of("other", b"other", "Other.")
    other = builders.pinned(clip, builders.WEIGHTS, ["short", "medium"])
    with pytest.raises(BaselineError, match="'short' changed between the base"):
        verdict(builders.run(base=builders.side(other)))


def test_the_figures_are_those_that_the_limits_hold() -> None:
    """The mean, the worst and the CV that are shown are judged, base above candidate."""
    found = verdict(builders.run(builders.processes(1.1, rtf=0.3)), builders.baseline())
    assert [(each.workload, each.arm) for each in found.figures[:2]] == [
        ("short", "base"),
        ("short", "candidate"),
    ]
    base, candidate = found.figures[:2]
    for question, field in (("mean RTF", "mean_rtf"), ("worst RTF", "worst_rtf"), ("CV", "cv_calls")):
        judgement = answer(found, question)
        assert judgement.value == pytest.approx(getattr(candidate, field))
        assert judgement.base == pytest.approx(getattr(base, field))
    assert base.best_rtf < base.mean_rtf < base.worst_rtf
