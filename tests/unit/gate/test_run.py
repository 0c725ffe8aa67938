"""A run around its measurement: what is asked, what is compared, which limits hold, what is recorded."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from engine import cli
from engine.errors import BaselineError, EngineError, UsageError
from engine.gate import run
from engine.gate.baselines import record
from engine.gate.baselines.select import Selection
from engine.gate.data import samples
from engine.gate.data.machine_state import AfterBlock
from engine.gate.measure import revisions
from engine.gate.measure.process import Material
from engine.gate.stats.looks import Plan
from tests.unit.gate import builders, speakers
from tests.unit.gate.simulated import Fault, Machine, assembled, measured, quiet, settings
from tests.unit.gate.test_revision import git

MATERIAL = Material("made-up", "made-up", Path("clip.wav"), "Words.")


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"against": "HEAD", "against_options": "reference"}, "--against"),
        ({"blocks": 0}, "--runs 0"),
        ({"budget_minutes": 0.0}, "--budget"),
        ({"threshold": -0.1}, "--threshold"),
        ({"threshold": 20.0}, "--threshold 20"),
        ({"keep": 0}, "--keep"),
        ({"votes": (Path("votes.json"),), "quality": False}, "--votes"),
        ({"options": "warp=9"}, "warp=9"),
        ({"against_options": "nfe=0"}, "nfe=0"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_once(asked: dict[str, Any], named: str) -> None:
    """Before any process starts, in one sentence that names it."""
    with pytest.raises(EngineError, match=named):
        run.Request(**asked)


def test_quick_is_three_blocks_of_the_shortest_workload_and_the_default_is_all_of_them() -> None:
    """The family of verdicts holds the workloads and the tails."""
    quick, full = run.Request(quick=True).settings(), run.Request().settings()
    assert (quick.plan.blocks_max, quick.workloads, quick.plan.family) == (3, ("short",), 2)
    assert (full.plan.blocks_max, full.plan.family, full.calls) == (10, 4, None)
    assert run.Request(blocks=2, seed=7).settings().seed == 7


def test_the_budget_keeps_time_for_the_quality_pass() -> None:
    """A quarter of an hour is for both; a short budget is halved; without quality all of it is for speed."""
    seconds = [
        run.Request(quality=quality, budget_minutes=minutes).settings().budget_seconds
        for minutes, quality in ((14.0, True), (4.0, True), (14.0, False))
    ]
    assert seconds == [60 * 9, 60 * 2, 60 * 14]


def test_by_default_the_preset_of_the_device_is_held_against_the_reference() -> None:
    """Two toggle sets of the same checkout."""
    with run.targets(run.Request(), MATERIAL) as arms:
        assert arms["base"].options == "reference"
        assert arms["candidate"].options in run.DEFAULTS.values()
        assert arms["base"].root == arms["candidate"].root


def test_against_a_revision_both_arms_have_the_same_toggles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base is a checkout of the revision."""
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    monkeypatch.setattr(revisions, "checkout", lambda: tmp_path)
    with run.targets(run.Request(against="HEAD", options="nfe=7"), MATERIAL) as arms:
        assert len({arms["base"].root, arms["candidate"].root, tmp_path}) == 3
        assert arms["base"].options == arms["candidate"].options == "nfe=7"
        assert arms["base"].revision == arms["candidate"].revision


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a committed baseline for the test machine and a portable one."""
    folder = tmp_path / "baselines"
    folder.mkdir()
    (folder / f"{builders.KEY}.json").write_text(record.dump(builders.baseline()))
    (folder / "portable.json").write_text(record.dump(builders.portable()))
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    monkeypatch.setattr(revisions, "checkout", lambda: tmp_path)
    return tmp_path


def looser(folder: Path, name: str, found: Any) -> list[str]:
    """What is looser than at HEAD when this baseline is selected."""
    return run.looser_limits(
        Selection(found, folder / "baselines" / f"{name}.json", ""), builders.KEY, "HEAD"
    )


def test_limits_are_held_against_those_of_the_base_revision(repository: Path) -> None:
    """Unchanged, tightened and loosened."""
    own = builders.baseline()
    assert own.product is not None
    changed = [
        own.model_copy(update={"product": own.product.model_copy(update={"mean_rtf": builders.limit(upper)})})
        for upper in (0.36, 0.3, 0.5)
    ]
    found = [looser(repository, builders.KEY, one) for one in changed]
    assert found[:2] == [[], []]
    assert "0.36 to 0.5" in found[2][0]


def test_a_baseline_that_was_removed_is_a_loosened_one(repository: Path) -> None:
    """The portable one has no product limits."""
    (repository / "baselines" / f"{builders.KEY}.json").unlink()
    assert "was removed" in looser(repository, "portable", builders.portable())[0]


def test_a_file_of_the_callers_own_replaces_nothing(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """`--baseline` outside the checkout has no older version."""
    elsewhere = Selection(builders.portable(), tmp_path_factory.mktemp("own") / "mine.json", "")
    assert run.looser_limits(elsewhere, builders.KEY, "HEAD") == []


def test_an_unreadable_baseline_of_the_base_revision_is_an_error(repository: Path) -> None:
    """It cannot be said whether limits were loosened."""
    (repository / "baselines" / "portable.json").write_text("{}")
    (repository / "baselines" / f"{builders.KEY}.json").unlink()
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "broken")
    with pytest.raises(BaselineError, match=r"portable\.json at HEAD"):
        looser(repository, "portable", builders.portable())


def test_the_record_holds_the_verdict_and_what_people_should_know(tmp_path: Path) -> None:
    """Written whatever the outcome, and read back as it was."""
    found = assembled(measured(), tmp_path)
    clip = tmp_path / "clip.wav"
    scene = run.Scene(
        builders.MACHINE, builders.FIT, builders.selection(), Material("made-up", "made-up", clip, "Words.")
    )
    request = run.Request(records=tmp_path / "records")
    outcome = run.finish(request, found, scene, ("a note of the measurement",))
    assert samples.read(outcome.path) == outcome.run
    assert outcome.run.verdict is not None
    assert "a note of the measurement" in outcome.run.verdict.notes
    assert outcome.run.verdict.code == 0


def test_force_is_recorded_only_where_it_was_needed(tmp_path: Path) -> None:
    """On a fit machine it changes nothing."""
    found = measured()
    for fitness, forced in ((builders.FIT, False), (builders.UNFIT, True)):
        made = assembled(found, tmp_path, fitness=fitness)
        scene = run.Scene(
            builders.MACHINE,
            fitness,
            builders.selection(),
            Material("made-up", "made-up", tmp_path / "clip.wav", "Words."),
        )
        arms = dict.fromkeys(("base", "candidate"), dataclasses.replace(TARGET))
        again = run.assemble(run.Request(force=True), made.plan, scene, arms, found)
        assert again.forced is forced


TARGET = run.Target(Path(), "0123456789ab", False, "reference")


@pytest.mark.parametrize(("force", "outcome"), [(False, "UNFIT"), (True, "FORCED")])
def test_the_gate_looks_at_the_machine_after_each_block(
    force: bool, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that became unfit half-way makes the run unfit, unless forced; the record says which either way."""
    clip = tmp_path / "clip.wav"
    clip.write_bytes(b"audio")
    scene = run.Scene(
        builders.MACHINE, builders.FIT, builders.selection(), Material("made-up", "made-up", clip, "Words.")
    )

    def after_block(block: int, machine: Any) -> AfterBlock:
        assert machine is scene.machine
        return AfterBlock(block=block, findings=(builders.HOT,) if block else ())

    monkeypatch.setattr(run, "look", lambda request, report: scene)
    arms = {"base": TARGET, "candidate": TARGET}
    monkeypatch.setattr(run, "targets", lambda *_: contextlib.nullcontext(arms))
    monkeypatch.setattr(
        run.process, "opener", lambda *_, **__: contextlib.nullcontext(Machine(Fault(), 12).open)
    )
    monkeypatch.setattr(run.check, "after_block", after_block)
    said: list[str] = []
    request = run.Request(
        against_options="reference",
        quick=True,
        seed=1,
        force=force,
        quality=False,
        records=tmp_path / "records",
    )
    found = run.gate(request, said.append).run
    assert found.forced is force
    assert [after.fit for after in found.after_blocks] == [True, False, False]
    assert found.verdict is not None
    assert found.verdict.trust[0].outcome == outcome
    assert "After block 2, 3" in found.verdict.trust[0].sentence
    assert sum("unfit after block" in line for line in said) == 2


@pytest.mark.parametrize("truncated", [False, True])
def test_the_gate_judges_what_was_timed(
    truncated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Speed and quality in one record and one verdict: a faster candidate that says less exits 1."""
    clip = tmp_path / "clip.wav"
    clip.write_bytes(b"audio")
    material = Material("made-up", "made-up", clip, "Words.")
    scene = run.Scene(builders.MACHINE, builders.FIT, speakers.SELECTION, material)
    asked: list[dict[str, Any]] = []

    def prepare(*_: Any, **changes: Any) -> Any:
        asked.append(changes)
        return speakers.prepared(names=("short",))

    answers = speakers.Arms(candidate=speakers.truncated if truncated else speakers.wave)
    monkeypatch.setattr(run, "look", lambda request, report: scene)
    monkeypatch.setattr(
        run, "targets", lambda *_: contextlib.nullcontext({"base": TARGET, "candidate": TARGET})
    )
    monkeypatch.setattr(run.check, "after_block", lambda block, machine: quiet(block))
    monkeypatch.setattr(run.process, "opener", lambda *_, outputs, **__: speakers.opening(answers)(outputs))
    monkeypatch.setattr(run.quality_pass, "prepare", prepare)
    monkeypatch.setattr(run.quality_pass.judges, "judge_all", speakers.heard)
    request = run.Request(against_options="reference", quick=True, seed=1, records=tmp_path / "records")
    outcome = run.gate(request, lambda said: None)
    assert outcome.run.verdict is not None
    assert outcome.run.verdict.code == (1 if truncated else 0)
    assert outcome.run.quality is not None
    assert samples.read(outcome.path) == outcome.run
    assert asked == [{"quick": True, "seed": 1, "recogniser": "pocketsphinx"}]
    said = {one.question: one.outcome for one in outcome.run.verdict.quality}
    assert said["timed = judged"] == "MATCHED"
    assert (said["duration"] == "FAULT") == truncated


def test_a_plan_that_could_never_decide_is_told_before_it_starts() -> None:
    """One block sees nothing but gross changes."""
    assert "hardly decide" in run.reach(Plan(blocks_max=1, family=4))[0]
    assert run.reach(settings().plan) == []


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_command_exits_with_the_verdict_and_writes_what_was_asked(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Table, Markdown and JUnit; the exit code is the verdict's."""
    judged = builders.run()
    from engine.gate.verdict import judge

    said = judge.judge(judged, builders.selection()).model_copy(update={"code": code})
    judged = judged.model_copy(update={"verdict": said})
    asked: list[run.Request] = []

    def gate(request: run.Request, report: run.Report) -> run.Outcome:
        asked.append(request)
        return run.Outcome(judged, tmp_path / "record.json", builders.selection())

    monkeypatch.setattr(run, "gate", gate)
    pages = [tmp_path / "page.md", tmp_path / "page.xml"]
    pages_asked = ["--markdown", str(pages[0]), "--junit", str(pages[1])]
    arguments = ["gate", "--quick", "--runs", "2", "--no-quality", *pages_asked]
    monkeypatch.setattr("sys.argv", ["ishowtts", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == code
    assert (asked[0].quick, asked[0].blocks, asked[0].quality) == (True, 2, False)
    assert all(page.is_file() for page in pages)
    assert "record.json" in capsys.readouterr().out


def test_an_error_is_one_sentence_and_exit_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback."""
    monkeypatch.setattr(
        "sys.argv", ["ishowtts", "gate", "--against", "HEAD", "--against-options", "reference"]
    )
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert "one question at a time" in capsys.readouterr().err


def test_a_missing_baseline_is_an_error_before_anything_is_measured(tmp_path: Path) -> None:
    """The gate fails closed."""
    with pytest.raises(BaselineError, match=r"gone\.json"):
        run.gate(run.Request(against="HEAD", baseline=tmp_path / "gone.json"), lambda said: None)
    with pytest.raises(UsageError):
        samples.write(builders.run(), tmp_path, keep=0)


def test_without_flags_the_base_is_an_older_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset against the reference of the same checkout cannot see that both became slower."""
    said: list[str] = []
    older = revisions.Base("0123456789ab", "0123456789, HEAD~1: the commit before")
    monkeypatch.setattr(revisions, "default_base", lambda root, dirty: older)
    assert run.with_base(run.Request(), said.append).against == "0123456789ab"
    assert said == ["Compared with 0123456789, HEAD~1: the commit before"]
    for named in (run.Request(against="HEAD"), run.Request(against_options="reference")):
        assert run.with_base(named, said.append) == named


def test_a_first_commit_has_nothing_to_compare_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error that names the cure, and no pass."""
    none = revisions.Base(None, "no base: 0123456789 is the first commit")
    monkeypatch.setattr(revisions, "default_base", lambda root, dirty: none)
    with pytest.raises(UsageError, match=r"first commit.*--against-options"):
        run.with_base(run.Request(), lambda said: None)


def test_both_arms_run_from_checkouts_beside_each_other() -> None:
    """Path, file system and caches are alike for both."""
    with run.targets(run.Request(against="HEAD"), MATERIAL) as arms:
        assert arms["base"].root.parent == arms["candidate"].root.parent
        assert len(str(arms["base"].root)) == len(str(arms["candidate"].root))
        assert (arms["candidate"].root / "engine" / "__init__.py").is_file()
