"""What can be trusted in a run: evidence, warm-up, lengths; and what the outputs say."""

from __future__ import annotations

import pytest

from engine.gate.data.samples import Judgement, Observed, Process, Run
from engine.gate.verdict import stages, trust
from tests.unit.gate import builders


def with_evidence(candidate: bool | None, base: bool | None) -> Run:
    """A run whose arms' one toggle was proven, refuted or not observed."""
    proofs = {"candidate": candidate, "base": base}
    return builders.run(
        tuple(
            one.model_copy(update={"evidence": {"nfe": Observed(proven=proofs[one.arm], observed="seen")}})
            for one in builders.processes(blocks=2)
        )
    )


@pytest.mark.parametrize(
    ("candidate", "base", "outcome", "code"),
    [
        (True, True, "ENGAGED", 0),
        (False, True, "NOT ENGAGED", 1),
        (True, False, "NOT ENGAGED", 3),
        (None, True, "UNPROVEN", 0),
    ],
)
def test_evidence_is_judged_by_arm(
    candidate: bool | None, base: bool | None, outcome: str, code: int
) -> None:
    """Refuted in the candidate fails, in the base makes it moot; not observed is said aloud."""
    first = trust.judge(with_evidence(candidate, base))[0]
    assert (first.outcome, first.code) == (outcome, code)


def test_one_refuted_process_is_enough() -> None:
    """A toggle that works in some processes only does not work."""
    run = with_evidence(True, True)
    bad = run.processes[-1].model_copy(update={"evidence": {"nfe": Observed(proven=False, observed="9")}})
    found = trust.judge(run.model_copy(update={"processes": (*run.processes[:-1], bad)}))
    assert found[0].outcome == "NOT ENGAGED"


def asked(run: Run, question: str) -> list[Judgement]:
    """The judgements of one question."""
    return [judgement for judgement in trust.judge(run) if judgement.question == question]


def test_a_slow_first_call_in_most_processes_is_warm_up() -> None:
    """In one process it may be chance."""
    cold = builders.processes(blocks=3, slow=lambda arm, block, index: 2.0 if index == 0 else 1.0)
    once = builders.processes(
        blocks=3, slow=lambda arm, block, index: 2.0 if (arm, block, index) == ("base", 1, 0) else 1.0
    )
    assert asked(builders.run(cold), trust.WARM_UP)[0].code == 3
    assert not asked(builders.run(once), trust.WARM_UP)


def scaled(process: Process, factor: float) -> Process:
    """The same process with audio of another length."""
    series = tuple(
        one.model_copy(
            update={
                "calls": tuple(
                    call.model_copy(update={"audio_seconds": call.audio_seconds * factor})
                    for call in one.calls
                )
            }
        )
        for one in process.series
    )
    return process.model_copy(update={"series": series})


@pytest.mark.parametrize(("factor", "fails"), [(1.0, False), (1.01, False), (0.9, True), (1.1, True)])
def test_audio_of_another_length_fails(factor: float, fails: bool) -> None:
    """Less audio in less time is no speed-up, and more audio lowers the RTF for nothing."""
    found = [scaled(one, factor) if one.arm == "candidate" else one for one in builders.processes(blocks=2)]
    judged = asked(builders.run(tuple(found)), trust.DURATION)
    assert [judgement.code for judgement in judged] == [1, 1] * fails


def test_equal_outputs_are_told_and_different_ones_of_one_seed_too() -> None:
    """Bit for bit the same, or a seed that does not reproduce."""
    run = builders.run()
    assert trust.notes(run)[0] == "short: both arms gave the same samples, bit for bit"
    one = run.processes[0]
    other = one.series[0].calls[0].model_copy(update={"output": "ef" * 32})
    series = one.series[0].model_copy(update={"calls": (other, *one.series[0].calls[1:])})
    changed = one.model_copy(update={"series": (series, *one.series[1:])})
    said = trust.notes(run.model_copy(update={"processes": (changed, *run.processes[1:])}))
    assert f"short: the {one.arm} gave 2 different outputs for one seed; expected one" in said


def test_stages_are_not_compared_without_a_base_or_where_they_take_no_time() -> None:
    """They explain a comparison; a stage of microseconds explains nothing."""
    assert stages.notes(builders.alone()) == []
    assert stages.notes(builders.run()) == []
