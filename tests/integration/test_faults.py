"""The gate as a detector: seeded faults, each of which must be caught with its own exit code.

`--write-faults` writes what was caught and what was missed to `baselines/faults.json` and `.md`; without it
the committed table is held against what happens.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engine.errors import BaselineError, UsageError
from engine.gate.baselines import loosening, record, select
from engine.gate.data import samples
from engine.gate.data.limits import Baseline
from engine.gate.data.machine_state import AfterBlock
from engine.gate.data.samples import EditedError, Observed, Run
from engine.gate.machine import describe
from engine.gate.measure import process as instrument
from engine.gate.measure import revisions
from engine.gate.measure.design import WARMUP
from engine.gate.measure.process import Material, Target
from engine.gate.preflight import check
from engine.gate.verdict.judge import Accepted
from engine.options import Options
from tests.studies import faults
from tests.studies.faults import Trial
from tests.unit import card
from tests.unit.gate import builders, simulated
from tests.unit.gate.simulated import Fault, assembled, judged, measured, settings
from tests.unit.gate.trees import machines

if TYPE_CHECKING:
    from engine.reference import Voice

COMMITTED = Path(__file__).parents[2] / faults.TABLE
Enter = Callable[[str, int, str], None]

NOISE = 0.10
"""Of processes, and so of a block's log-ratio: a loud machine."""
BUDGET = 1_500.0
"""Seconds that hold about half of the plan's blocks on the made-up machine."""

TIMED = {
    "none": (Fault(), 0),
    "+20 % in total": (Fault(stages={"sampling": 1.2, "vocoder": 1.2}), 1),
    "+30 % of a stage with 90 % of the time": (Fault(stages={"sampling": 1.3}), 1),
    "+100 % of a stage with 25 % of the time": (Fault(stages={"sampling": 2.0}, share=0.25), 1),
    "+20 % of a stage with 10 % of the time: only told": (Fault(stages={"vocoder": 1.2}), 0),
    "+300 % of a stage with 10 % of the time": (Fault(stages={"vocoder": 4.0}), 1),
    "+50 % in total, ended by the clock": (Fault(stages={"sampling": 1.5, "vocoder": 1.5}), 1),
    "every 20th call 50 % slower": (Fault(every=20), 1),
    "a leak of 1 MB a call": (Fault(leak=1.0), 1),
    "a leak of 0.1 MB a call": (Fault(leak=0.1), 1),
    "a toggle that does nothing": (Fault(proof=(False, "32 evaluations a piece")), 1),
    "dropped words": (Fault(audio=0.8), 1),
    "twice the work in the same time": (Fault(work=2), 3),
    "a start that takes three times as long": (Fault(start=3.0), 1),
    "throttling half-way, in the times of both arms": (Fault(throttled_from=0.5), 0),
}
"""Faults of a made-up machine whose processes differ by 10 % and whose clock runs, and their exit codes.

Throttling slows both arms alike while they speak in turn: their ratio is judged as ever, and unchanged code
passes.
"""

TOGGLES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "precision": ("engine.loading.precision", "apply", {"precision": "bf16"}),
    "vocoder_precision": ("engine.loading.vocoder_precision", "apply", {"vocoder_precision": "bf16"}),
    "int8": ("engine.loading.int8", "apply", {"int8": "dynamic"}),
    "attention": ("engine.loading.attention", "apply", {"attention": "math"}),
    "linears": ("engine.loading.linears", "apply", {"linears": "onednn"}),
    "vocoder_backend": ("engine.loading.vocoder_backend", "apply", {"vocoder_backend": "onnx"}),
    "compile": ("engine.loading.compile", "apply", {"compile": "default"}),
    "reference_cache": ("engine.loading.reference_cache", "apply", {"reference_cache": True}),
    "reference_seconds": ("engine.loading.reference_seconds", "apply", {"reference_seconds": 1.0}),
    "buckets": ("engine.loading.buckets", "apply", {"buckets": True}),
    "first_piece": ("engine.loading.first_piece", "apply", {"first_piece": 30}),
    "reading": ("engine.loading.reading", "apply", {"reading": "chat"}),
    "hoist": ("engine.loading.hoist", "apply", {"hoist": True}),
    "graphs": ("engine.loading.graphs", "apply", {"graphs": True, "buckets": True, "hoist": True}),
    "guidance": ("engine.sampler", "Guided", {"guidance": "separate"}),
    "cfg_strength": ("engine.sampler", "Guided", {"cfg_strength": 5.0}),
    "solver": ("engine.sampler", "solver", {"solver": "midpoint"}),
    "nfe": ("engine.sampler", "time_grid", {"nfe": 3}),
    "schedule": ("engine.sampler", "time_grid", {"schedule": "uniform"}),
}
"""Each toggle with where it takes effect, and a setting that is not upstream's."""

UNSEEN = {"batch"}
"""Of `synthesize_batch` alone, which the gate does not call: nothing to observe."""

TEXT = "Hello there, all 9 of you. How are you doing today?"

THROTTLING = "throttling half-way, in the sensors alone"
WARM_UP = "a warm-up longer than the calls that do not count"
WORKLOAD = "a changed workload"
RECORD, BASELINE = "a record's sample edited by hand", "a recorded session edited by hand"
LOOSENED, LOWERED = "a limit loosened", "a limit lowered below the figures"
PLACEHOLDER = "a placeholder 0.0"
BROKEN, UNKNOWN = "a broken base revision", "a base revision that does not exist"

FAULTS: dict[str, int] = {
    **{name: code for name, (_, code) in TIMED.items()},
    **dict.fromkeys((THROTTLING, WARM_UP), 3),
    **dict.fromkeys((WORKLOAD, RECORD, BASELINE, PLACEHOLDER, BROKEN, UNKNOWN), 2),
    **dict.fromkeys((LOOSENED, LOWERED), 1),
    **{f"{toggle} made a no-op": 1 for toggle in TOGGLES},
}
"""Every fault of the suite and its exit code."""

SHARES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.5)
MACHINES = range(8)


@pytest.fixture(scope="module")
def share_needed(tmp_path_factory: pytest.TempPathFactory) -> float:
    """From which share of the time on 20 % more of one stage is caught on every made-up machine."""
    folder = tmp_path_factory.mktemp("shares")
    caught = {
        share: all(
            verdict_code(judged(assembled(measured(fault, seed=seed, noise=0.02), folder))) == 1
            for seed in MACHINES
        )
        for share in SHARES
        for fault in [Fault(stages={"sampling": 1.2}, share=share)]
    }
    return min(share for share in SHARES if all(caught[more] for more in SHARES if more >= share))


@pytest.fixture(scope="module")
def trials(request: pytest.FixtureRequest, share_needed: float) -> Iterator[dict[str, Trial]]:
    """What was tried so far; with `--write-faults`, written when the last fault has been."""
    found: dict[str, Trial] = {}
    yield found
    if request.config.getoption("write_faults"):
        missing = FAULTS.keys() - found.keys()
        assert not missing, f"not tried, so nothing was written: {missing}"
        faults.write([found[name] for name in FAULTS], share_needed, COMMITTED)


@pytest.fixture
def enter(trials: dict[str, Trial]) -> Enter:
    """Keep what a fault gave, then hold its exit code."""

    def enter(fault: str, code: int, by: str) -> None:
        trials[fault] = Trial.model_validate(
            {"fault": fault, "expected": FAULTS[fault], "exits": code, "by": by}
        )
        assert code == FAULTS[fault], f"{fault}: {by}"

    return enter


def verdict_code(run: Run) -> int:
    """The exit code of a judged run."""
    assert run.verdict is not None
    return run.verdict.code


def said_by(run: Run) -> str:
    """The questions that did not pass, each with its answer; or the stages that are told."""
    assert run.verdict is not None
    said = [
        f"{one.workload or 'run'} {one.question}: {one.outcome}"
        for one in run.verdict.judgements
        if one.code == run.verdict.code != 0
    ]
    stages = [
        f"{one.workload} {one.question}: {one.outcome}"
        for one in run.verdict.judgements
        if one.question.startswith("stage")
    ]
    return "; ".join(said[:3] or stages[:3] or ["nothing"])


@pytest.mark.parametrize("name", list(TIMED))
def test_a_fault_in_the_candidate_is_caught(name: str, enter: Enter, tmp_path: Path) -> None:
    """Measured, recorded and judged as the gate does it, on a made-up machine that is loud."""
    fault, _ = TIMED[name]
    plan = settings(rounds=24 if fault.every else 12, budget=BUDGET if "clock" in name else 36_000.0)
    result = measured(fault, plan, noise=NOISE)
    assert (result.plan.blocks_max < plan.plan.blocks_max) is ("clock" in name)
    run = judged(assembled(result, tmp_path, plan))
    enter(name, verdict_code(run), said_by(run))


def test_throttling_that_no_time_shows_is_caught_by_the_sensors(enter: Enter, tmp_path: Path) -> None:
    """Both arms are as quick as ever, but from the third block on the board says that it throttles."""
    cool = machines.plant(tmp_path / "cool", machines.orin())
    hot = machines.plant(tmp_path / "hot", machines.orin(throttled=True))

    def watch(block: int) -> AfterBlock:
        return check.after_block(block, describe(cool), hot if block >= 2 else cool, busy=lambda: 0.0)

    run = judged(assembled(measured(watch=watch), tmp_path))
    assert [after.fit for after in run.after_blocks[:3]] == [True, True, False]
    enter(THROTTLING, verdict_code(run), said_by(run))


def test_a_slower_stage_is_named_even_where_the_whole_does_not_show_it(tmp_path: Path) -> None:
    """A row says which stage, by how much, and what share of the time it has."""
    run = judged(assembled(measured(Fault(stages={"vocoder": 1.2})), tmp_path))
    assert run.verdict is not None
    (told,) = [
        one for one in run.verdict.judgements if (one.question, one.workload) == ("stage vocoder", "short")
    ]
    assert (told.outcome, told.code) == ("SLOWER", 0)
    assert "10.0%" in told.sentence


def test_a_warm_up_that_is_longer_than_planned_is_caught(enter: Enter, tmp_path: Path) -> None:
    """The calls that count began too early, in both arms: nothing is decided."""
    run = judged(assembled(measured(Fault(cold=3.0, cold_calls=WARMUP + 1)), tmp_path))
    assert run.verdict is not None
    assert "warm-up" in [one.question for one in run.verdict.judgements if one.code]
    enter(WARM_UP, verdict_code(run), said_by(run))


@pytest.fixture
def trusted(tmp_path: Path) -> Run:
    """A run without faults."""
    return judged(assembled(measured(), tmp_path))


def test_a_changed_workload_is_caught(enter: Enter, tmp_path: Path) -> None:
    """Other weights in one arm are another workload: never compared."""
    run = assembled(measured(Fault(weights="12" * 32)), tmp_path)
    with pytest.raises(BaselineError) as caught:
        judged(run)
    enter(WORKLOAD, code_of(caught.value), str(caught.value))


def test_a_sample_edited_by_hand_is_caught(enter: Enter, trusted: Run, tmp_path: Path) -> None:
    """In a record, and in a baseline."""
    path = samples.write(trusted, tmp_path / "records")
    content = json.loads(path.read_text())
    content["run"]["processes"][0]["series"][0]["calls"][0]["seconds"] *= 0.9
    path.write_text(json.dumps(content))
    with pytest.raises(EditedError) as caught:
        samples.read(path)
    enter(RECORD, code_of(caught.value), "the record's checksum")

    (tmp_path / "portable.json").write_text(select.dump(builders.portable()))
    own, _ = record.record_session(trusted, tmp_path)
    entries = json.loads(own.read_text())
    entries["sessions"][0]["workloads"]["short"]["rtf"][0][0] *= 0.9
    own.write_text(json.dumps(entries))
    with pytest.raises(EditedError) as caught:
        select.load(own)
    enter(BASELINE, code_of(caught.value), "the session's checksum")


def with_mean(upper: float) -> Baseline:
    """The test machine's baseline with another limit of the product's mean RTF."""
    limits = builders.LIMITS.model_copy(update={"mean_rtf": builders.limit(upper)})
    return builders.baseline(products=(builders.PRODUCT.model_copy(update={"limits": limits}),))


def test_a_loosened_limit_is_caught(enter: Enter, trusted: Run) -> None:
    """A limit above the base revision's fails, unless that is accepted."""
    new = with_mean(0.5)
    looser = loosening.loosened(builders.baseline(), new)
    found = judged(trusted, builders.selection(new), loosened=looser)
    enter(LOOSENED, verdict_code(found), said_by(found))
    accepted = judged(trusted, builders.selection(new), loosened=looser, accepted=Accepted(looser=True))
    assert verdict_code(accepted) == 0


def test_a_lowered_limit_fails(enter: Enter, trusted: Run) -> None:
    """A limit below what was measured is a regression."""
    product = builders.PRODUCT.model_copy(update={"options": "nfe=7"})
    assert with_mean(0.1).products[0].limits.mean_rtf.upper == 0.1
    limits = with_mean(0.1).products[0].limits
    lowered = builders.baseline(products=(product.model_copy(update={"limits": limits}),))
    asked = trusted.model_copy(update={"questions": ("change", "limits")})
    found = judged(asked, builders.selection(lowered))
    enter(LOWERED, verdict_code(found), said_by(found))


def test_a_placeholder_in_a_baseline_is_caught(enter: Enter) -> None:
    """0.0 is no limit."""
    text = select.dump(builders.baseline()).replace("0.36", "0.0")
    with pytest.raises(BaselineError) as caught:
        select.parse(text, "baselines/test.json")
    enter(PLACEHOLDER, code_of(caught.value), str(caught.value))


def test_a_broken_base_revision_is_caught(enter: Enter, tmp_path: Path) -> None:
    """A base that cannot be imported is one clear error with its last words."""
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "__init__.py").write_text("raise RuntimeError('half a merge')\n")
    (tmp_path / "clip.wav").write_bytes(b"")
    material = Material("made-up", "made-up", tmp_path / "clip.wav", "Words.")
    target = Target(tmp_path, "ba5e" * 10, False, "reference")
    with (
        pytest.raises(UsageError, match=r"base .*(.|\n)*half a merge") as caught,
        instrument.opener({"base": target, "candidate": target}, material) as open_worker,
        open_worker("base") as handle,
    ):
        assert handle.described
    enter(BROKEN, code_of(caught.value), "the base's last words")


def test_a_base_revision_that_does_not_exist_is_caught(enter: Enter, tmp_path: Path) -> None:
    """Before anything is measured."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    with pytest.raises(UsageError) as caught:
        revisions.resolve(tmp_path, "gone")
    enter(UNKNOWN, code_of(caught.value), f"{caught.value.given}: no such commit")


def code_of(error: Exception) -> int:
    """The exit code that the command line gives to an error of ours."""
    assert isinstance(error, (BaselineError, UsageError))
    return 2


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
    enter: Enter,
    trusted: Run,
    tiny: Callable[..., Any],
    voice: Voice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A real engine in which one toggle does nothing: its own evidence says so, and the gate fails."""
    where, name, setting = TOGGLES[toggle]
    if toggle in card.TOGGLES:
        card.insert(monkeypatch)
    module = import_path(where)
    plain = without(getattr(module, name), Options(nfe=2))
    monkeypatch.setattr(module, name, plain)
    tts = tiny(**setting)
    for _ in range(2):
        tts.synthesize(TEXT, voice)
    proof = tts.evidence()[toggle]
    seen = {toggle: Observed(proven=proof.proven, observed=proof.observed)}
    processes = tuple(
        one.model_copy(update={"evidence": seen}) if one.arm == "candidate" else one
        for one in trusted.processes
    )
    found = judged(trusted.model_copy(update={"processes": processes}))
    assert found.verdict is not None
    enter(f"{toggle} made a no-op", found.verdict.code, f"{said_by(found)} ({proof.observed})")


def import_path(where: str) -> Any:
    """The module that another module knows under a name: `engine.loading.precision`."""
    import importlib

    owner, _, name = where.rpartition(".")
    return getattr(importlib.import_module(owner), name)


def test_git_is_left_as_it_was_after_a_failed_base(tmp_path: Path) -> None:
    """The worktree of the base is removed although the run failed."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    with contextlib.suppress(RuntimeError), revisions.worktree(tmp_path, "HEAD") as path:
        assert path.is_dir()
        raise RuntimeError("the measurement failed")
    assert not path.exists()
    listed = subprocess.run([*git, "worktree", "list"], capture_output=True, text=True, check=True).stdout
    assert len(listed.splitlines()) == 1


def test_the_made_up_machine_has_no_fault_by_itself(tmp_path: Path) -> None:
    """Without a fault, unchanged code passes: the catches above are no false alarms."""
    run = judged(assembled(measured(simulated.NONE), tmp_path))
    assert run.verdict is not None
    assert {judgement.code for judgement in run.verdict.judgements} == {0}


def test_every_toggle_that_leaves_evidence_is_tried(tiny: Callable[..., Any]) -> None:
    """A new toggle has to be switched off here once, and be caught."""
    assert TOGGLES.keys() | UNSEEN == tiny().evidence().keys()


def test_the_committed_table_is_that_of_this_suite(
    share_needed: float, request: pytest.FixtureRequest
) -> None:
    """Every fault of the suite by its name, each one caught, and nothing else."""
    if request.config.getoption("write_faults"):
        pytest.skip("it is being written")
    table = faults.read(COMMITTED)
    assert {trial.fault: trial.expected for trial in table.trials} == FAULTS
    assert {trial.result for trial in table.trials} == {"caught", "passed, as it must"}
    assert table.share_needed == share_needed
    assert COMMITTED.with_suffix(".md").read_text() == faults.markdown(table)
