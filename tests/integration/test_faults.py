"""The gate as a detector: seeded faults, each of which must be caught with its own exit code.

What was caught and what was missed is written to `build/faults.json` and `build/faults.md`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engine.errors import BaselineError, UsageError
from engine.gate import baseline, instrument, record, recording
from engine.gate.instrument import Material, Target
from engine.gate.record import EditedError, Observed, Run
from engine.gate.storage import write_atomically
from engine.options import Options
from tests.unit.gate import builders, simulated
from tests.unit.gate.simulated import Fault, assembled, judged, measured, settings

if TYPE_CHECKING:
    from engine.reference import Voice

REPORT = Path("build/faults")
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def table() -> Iterator[Rows]:
    """Rows of what was caught; written when the last fault has been tried."""
    rows: Rows = []
    yield rows
    write_atomically(REPORT.with_suffix(".json"), json.dumps({"faults": rows}, indent=2) + "\n")
    lines = ["| fault | must exit | exits | result | what said so |", "| --- | ---: | ---: | --- | --- |"]
    lines += [
        f"| {row['fault']} | {row['expected']} | {row['exit']} | {row['result']} | {row['by']} |"
        for row in rows
    ]
    write_atomically(REPORT.with_suffix(".md"), "\n".join(lines) + "\n")


def enter(table: Rows, fault: str, expected: int, code: int, by: str) -> None:
    """Keep a row, then hold the exit code."""
    harmless = "passed, as it must" if code == 0 else "false alarm"
    result = harmless if expected == 0 else "caught" if code == expected else "missed"
    table.append({"fault": fault, "expected": expected, "exit": code, "result": result, "by": by})
    assert code == expected, f"{fault}: {by}"


def said_by(run: Run) -> str:
    """The questions that did not pass, each with its answer; or the notes about stages."""
    assert run.verdict is not None
    asked = [(row.workload, judgement) for row in run.verdict.rows for judgement in row.judgements]
    asked += [("run", judgement) for judgement in (*run.verdict.whole, *run.verdict.trust)]
    found = [
        f"{place} {one.question}: {one.outcome}" for place, one in asked if one.code == run.verdict.code != 0
    ]
    return "; ".join(found[:3] or [note for note in run.verdict.notes if "stage" in note] or ["nothing"])


TIMED = [
    ("none", Fault(), 0),
    ("+20 % in total", Fault(stages={"sampling": 1.2, "vocoder": 1.2}), 1),
    ("+20 % of sampling, 90 % of the time", Fault(stages={"sampling": 1.2}), 1),
    ("+20 % of the vocoder, 10 % of the time: only told", Fault(stages={"vocoder": 1.2}), 0),
    ("+150 % of the vocoder, 10 % of the time", Fault(stages={"vocoder": 2.5}), 1),
    ("every 20th call 50 % slower", Fault(every=20), 1),
    ("a leak of 1 MB a call", Fault(leak=1.0), 1),
    ("a toggle that does nothing", Fault(proof=(False, "32 evaluations a piece")), 1),
    ("dropped words", Fault(audio=0.8), 1),
    ("throttling half-way", Fault(throttled_from=0.5), 3),
]


@pytest.mark.parametrize(("name", "fault", "code"), TIMED, ids=[name for name, _, _ in TIMED])
def test_a_fault_in_the_candidate_is_caught(
    name: str, fault: Fault, code: int, table: Rows, tmp_path: Path
) -> None:
    """Measured, recorded and judged as the gate does it, on a made-up machine with a CV of 2 %."""
    plan = settings(calls=24 if fault.every else 12)
    run = judged(assembled(measured(fault, plan), tmp_path, plan))
    assert run.verdict is not None
    enter(table, name, code, run.verdict.code, said_by(run))


def test_a_slower_stage_is_named_even_where_the_whole_does_not_show_it(tmp_path: Path) -> None:
    """The notes say which stage, by how much, and what share of the time it has."""
    run = judged(assembled(measured(Fault(stages={"vocoder": 1.2})), tmp_path))
    assert run.verdict is not None
    assert any("stage vocoder is SLOWER" in note and "10.0%" in note for note in run.verdict.notes)


def test_warm_up_that_is_counted_as_steady_state_is_caught(table: Rows, tmp_path: Path) -> None:
    """The instrument finds warm-up; put back among the calls, it makes the run undecided."""
    run = assembled(measured(Fault(cold=3.0, cold_calls=1)), tmp_path)
    assert any(series.warmup for _, series in run.series("candidate", "short"))
    counted = tuple(
        process.model_copy(
            update={
                "series": tuple(
                    one.model_copy(update={"calls": (*one.warmup, *one.calls), "warmup": ()})
                    for one in process.series
                )
            }
        )
        for process in run.processes
    )
    found = judged(run.model_copy(update={"processes": counted}))
    assert found.verdict is not None
    assert "warm-up" in [judgement.question for judgement in found.verdict.trust if judgement.code]
    enter(table, "warm-up counted as steady state", 3, found.verdict.code, said_by(found))


@pytest.fixture
def trusted(tmp_path: Path) -> Run:
    """A run without faults."""
    return judged(assembled(measured(), tmp_path))


def test_a_changed_workload_is_caught(table: Rows, tmp_path: Path) -> None:
    """Other weights in one arm are another workload: never compared."""
    run = assembled(measured(Fault(weights="12" * 32)), tmp_path)
    with pytest.raises(BaselineError) as caught:
        judged(run)
    enter(table, "a changed workload", 2, code_of(caught.value), str(caught.value))


def test_a_sample_edited_by_hand_is_caught(table: Rows, trusted: Run, tmp_path: Path) -> None:
    """In a record, and in a baseline."""
    path = record.write(trusted, tmp_path / "records")
    content = json.loads(path.read_text())
    content["run"]["processes"][0]["series"][0]["calls"][0]["seconds"] *= 0.9
    path.write_text(json.dumps(content))
    with pytest.raises(EditedError) as caught:
        record.read(path)
    enter(table, "a recorded sample edited by hand", 2, code_of(caught.value), "the record's checksum")

    (tmp_path / "portable.json").write_text(recording.dump(builders.portable()))
    own, _ = recording.record_entry(trusted, tmp_path)
    entries = json.loads(own.read_text())
    entries["entries"][0]["rtf"][0][0] *= 0.9
    own.write_text(json.dumps(entries))
    with pytest.raises(EditedError) as caught:
        baseline.load(own)
    enter(table, "a baseline's sample edited by hand", 2, code_of(caught.value), "the entry's checksum")


def test_a_loosened_limit_is_caught(table: Rows, trusted: Run) -> None:
    """A limit above the base revision's fails, unless that is accepted."""
    old, new = builders.baseline(), builders.baseline()
    assert new.product is not None
    raised = new.product.model_copy(update={"mean_rtf": builders.limit(0.5)})
    new = new.model_copy(update={"product": raised})
    found = judged(trusted, builders.selection(new), loosened=recording.loosened(old, new))
    assert found.verdict is not None
    enter(table, "a limit loosened", 1, found.verdict.code, said_by(found))
    accepted = judged(
        trusted, builders.selection(new), loosened=recording.loosened(old, new), accept_looser=True
    )
    assert accepted.verdict is not None
    assert accepted.verdict.code == 0


def test_a_lowered_limit_fails(table: Rows, trusted: Run) -> None:
    """A limit below what was measured is a regression."""
    new = builders.baseline()
    assert new.product is not None
    lowered = new.product.model_copy(update={"mean_rtf": builders.limit(0.1)})
    found = judged(trusted, builders.selection(new.model_copy(update={"product": lowered})))
    assert found.verdict is not None
    enter(table, "a limit lowered below the figures", 1, found.verdict.code, said_by(found))


def test_a_placeholder_in_a_baseline_is_caught(table: Rows) -> None:
    """0.0 is no limit."""
    text = recording.dump(builders.baseline()).replace("0.36", "0.0")
    with pytest.raises(BaselineError) as caught:
        baseline.parse(text, "baselines/test.json")
    enter(table, "a placeholder 0.0", 2, code_of(caught.value), str(caught.value))


def test_a_broken_base_revision_is_caught(table: Rows, tmp_path: Path) -> None:
    """A base that cannot be imported is one clear error with its last words."""
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "__init__.py").write_text("raise RuntimeError('half a merge')\n")
    (tmp_path / "clip.wav").write_bytes(b"")
    material = Material("made-up", "made-up", tmp_path / "clip.wav", "Words.")
    target = Target(tmp_path, "ba5e" * 10, False, "reference")
    with (
        pytest.raises(UsageError, match=r"base .*(.|\n)*half a merge") as caught,
        instrument.opener({"base": target, "candidate": target}, material) as open_worker,
        open_worker("base"),
    ):
        pass
    enter(table, "a broken base revision", 2, code_of(caught.value), "the base's last words")


def code_of(error: Exception) -> int:
    """The exit code that the command line gives to an error of ours."""
    assert isinstance(error, (BaselineError, UsageError))
    return 2


TOGGLES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "precision": ("engine.loading.precision", "apply", {"precision": "bf16"}),
    "vocoder_precision": ("engine.loading.vocoder_precision", "apply", {"vocoder_precision": "bf16"}),
    "compile": ("engine.loading.compile", "apply", {"compile": "default"}),
    "reference_cache": ("engine.loading.reference_cache", "apply", {"reference_cache": True}),
    "nfe": ("engine.synthesis.sampler", "time_grid", {"nfe": 3}),
    "schedule": ("engine.synthesis.sampler", "time_grid", {"schedule": "uniform"}),
}
"""Each toggle with where it takes effect, and a setting that is not upstream's."""


def without(function: Callable[..., Any], options: Options) -> Callable[..., Any]:
    """The same function, given upstream's options whatever was asked for."""

    def ignoring(first: Any, *others: Any) -> Any:
        if isinstance(first, Options):
            return function(options, *others)
        return function(first, *(options if isinstance(one, Options) else one for one in others))

    return ignoring


@pytest.mark.parametrize("toggle", list(TOGGLES))
def test_a_toggle_made_a_no_op_is_caught(
    toggle: str,
    table: Rows,
    trusted: Run,
    tiny: Callable[..., Any],
    voice: Voice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A real engine in which one toggle does nothing: its own evidence says so, and the gate fails."""
    where, name, setting = TOGGLES[toggle]
    module = import_path(where)
    monkeypatch.setattr(module, name, without(getattr(module, name), dataclasses.replace(Options(), nfe=2)))
    tts = tiny(**setting)
    for _ in range(2):
        tts.synthesize("Hello there.", voice)
    proof = tts.evidence()[toggle]
    seen = {toggle: Observed(proven=proof.proven, observed=proof.observed)}
    processes = tuple(
        one.model_copy(update={"evidence": seen}) if one.arm == "candidate" else one
        for one in trusted.processes
    )
    found = judged(trusted.model_copy(update={"processes": processes}))
    assert found.verdict is not None
    enter(table, f"{toggle} made a no-op", 1, found.verdict.code, f"{said_by(found)} ({proof.observed})")


def import_path(where: str) -> Any:
    """The module that another module knows under a name: `engine.loading.precision`."""
    import importlib

    owner, _, name = where.rpartition(".")
    return getattr(importlib.import_module(owner), name)


def test_git_is_left_as_it_was_after_a_failed_base(tmp_path: Path) -> None:
    """The worktree of the base is removed although the run failed."""
    from engine.gate import revision

    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    with contextlib.suppress(RuntimeError), revision.worktree(tmp_path, "HEAD") as path:
        assert path.is_dir()
        raise RuntimeError("the measurement failed")
    assert not path.exists()
    listed = subprocess.run([*git, "worktree", "list"], capture_output=True, text=True, check=True).stdout
    assert len(listed.splitlines()) == 1


def test_the_made_up_machine_has_no_fault_by_itself(tmp_path: Path) -> None:
    """Without a fault, unchanged code passes: the catches above are no false alarms."""
    run = judged(assembled(measured(simulated.NONE), tmp_path))
    assert run.verdict is not None
    assert {judgement.code for row in run.verdict.rows for judgement in row.judgements} == {0}
