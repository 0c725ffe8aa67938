"""What can be trusted in a run: evidence, control, warm-up, lengths; and what the outputs say."""

from __future__ import annotations

from engine.gate.data.samples import Observed, Process, Run
from engine.gate.data.verdict import Judgement
from engine.gate.measure.compare import conclude
from engine.gate.verdict import trust
from tests.unit.gate import builders


def judged(run: Run) -> list[Judgement]:
    """What trust says of a run that compared something."""
    decisions = conclude(run.processes, run.plan) if run.base else None
    return trust.judge(run, decisions, (), accept_looser=False, compared=True)


def asked(run: Run, question: str) -> list[Judgement]:
    """The judgements of one question."""
    return [judgement for judgement in judged(run) if judgement.question == question]


def with_evidence(candidate: bool | None, base: bool | None) -> Run:
    """A run whose arms' one toggle was proven, refuted or not observed."""
    proofs = {"candidate": candidate, "base": base}
    return builders.run(
        tuple(
            process.model_copy(
                update={"evidence": {"nfe": Observed(proven=proofs[process.arm], observed="seen")}}
            )
            for process in builders.processes(blocks=2)
        )
    )


def scaled(process: Process, factor: float) -> Process:
    """The same process with audio of another length."""
    series = tuple(
        each.model_copy(
            update={
                "calls": tuple(
                    call.model_copy(update={"audio_seconds": call.audio_seconds * factor})
                    for call in each.calls
                )
            }
        )
        for each in process.series
    )
    return process.model_copy(update={"series": series})


def test_evidence_is_judged_by_arm() -> None:
    """Refuted in the candidate fails, in the base it makes the comparison moot; unproven is no pass."""
    cases = {
        (True, True): ("toggles", "ENGAGED", 0),
        (False, True): ("toggle nfe", "NOT ENGAGED", 1),
        (True, False): ("toggle nfe", "NOT ENGAGED", 3),
        (None, True): ("toggle nfe", "UNPROVEN", 3),
        (True, None): ("toggle nfe", "UNPROVEN", 0),
    }
    for (candidate, base), expected in cases.items():
        (first,) = (each for each in judged(with_evidence(candidate, base)) if "toggle" in each.question)
        assert (first.question, first.outcome, first.code) == expected


def test_one_refuted_process_is_enough() -> None:
    """A toggle that works in some processes only does not work."""
    run = with_evidence(True, True)
    bad = run.processes[-1].model_copy(update={"evidence": {"nfe": Observed(proven=False, observed="9")}})
    run = run.model_copy(update={"processes": (*run.processes[:-1], bad)})
    assert [each.outcome for each in asked(run, "toggle nfe")] == ["NOT ENGAGED"]


def test_a_toggle_without_any_evidence_is_not_believed() -> None:
    """Of the candidate and of the base alike; what another one's evidence sees needs none of its own."""
    on = builders.side(options={"nfe": 7, "compile": "default"})
    for run in (builders.run(candidate=on), builders.run(base=on)):
        silent = [each for each in judged(run) if each.outcome == "NO EVIDENCE"]
        assert [(each.question, each.code) for each in silent] == [("toggle nfe", 3), ("toggle compile", 3)]
    seen = {"guidance": Observed(proven=True, observed="packed")}
    side = builders.side(options={"cfg_strength": 1.5, "guidance_until": 0.3})
    run = builders.run(builders.processes(evidence=seen), candidate=side)
    assert [each.outcome for each in asked(run, "toggles")] == ["ENGAGED"]


def test_a_loud_control_decides_nothing_and_a_quiet_one_says_what_it_can_see() -> None:
    """When identical code differs wildly the run is undecided."""
    (loud,) = asked(builders.run(builders.processes(noise=0.6)), "A/A control")
    assert (loud.outcome, loud.code) == ("LOUD", 3)
    (quiet,) = asked(builders.run(), "A/A control")
    assert (quiet.outcome, quiet.code) == ("QUIET", 0)
    assert "sees a change of" in quiet.sentence
    assert asked(builders.alone(), "A/A control") == []
    (single,) = asked(builders.run(builders.processes(twins=1)), "A/A control")
    assert "no twin" in single.sentence


def test_a_slow_first_call_in_all_processes_is_warm_up() -> None:
    """In one process it may be chance."""
    cold = builders.processes(blocks=3, slow=lambda arm, block, index: 2.0 if index == 0 else 1.0)
    once = builders.processes(
        blocks=3, slow=lambda arm, block, index: 1.2 if (arm, block, index) == ("base", 1, 0) else 1.0
    )
    fast = builders.processes(blocks=3, slow=lambda arm, block, index: 0.8 if index == 0 else 1.0)
    assert [each.code for each in asked(builders.run(cold), "warm-up")] == [3]
    assert asked(builders.run(once), "warm-up") == []
    assert asked(builders.run(fast), "warm-up") == []


def test_audio_of_another_length_fails() -> None:
    """Less audio in less time is no speed-up, and more audio lowers the RTF for nothing."""
    for factor, fails in ((1.0, False), (1.01, False), (0.9, True), (1.1, True)):
        processes = tuple(
            scaled(process, factor) if process.arm == "candidate" else process
            for process in builders.processes(blocks=2)
        )
        assert [each.code for each in asked(builders.run(processes), "duration")] == [1, 1] * fails


def test_equal_outputs_are_told_and_different_ones_of_one_seed_too() -> None:
    """Bit for bit the same, or a seed that does not reproduce; other seeds may give other outputs."""
    run = builders.run()
    assert trust.notes(run)[0] == "short: both arms gave the same samples, bit for bit"
    process = run.processes[0]
    other = process.series[0].calls[0].model_copy(update={"output": "ef" * 32})
    series = process.series[0].model_copy(update={"calls": (other, *process.series[0].calls[1:])})
    changed = process.model_copy(update={"series": (series, *process.series[1:])})
    notes = trust.notes(run.model_copy(update={"processes": (changed, *run.processes[1:])}))
    assert f"short: the {process.arm} gave 2 different outputs for seed 0; expected one" in notes
    assert "short: both arms gave the same samples, bit for bit" not in notes
