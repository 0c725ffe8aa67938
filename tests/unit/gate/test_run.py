"""A run around its measurement: what is told first, measured, judged and recorded, and how a command ends."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import cli
from engine.errors import BaselineError, UsageError
from engine.gate import run, scene
from engine.gate.baselines.select import dump
from engine.gate.comparison import Comparison
from engine.gate.data import samples
from engine.gate.data.machine_state import AfterBlock
from engine.gate.listening.votes import VotesError
from engine.gate.measure import revisions
from engine.gate.measure.process import Material, Target
from engine.gate.measure.revisions import Base
from engine.gate.verdict import judge as verdict
from tests.unit.gate import builders, speakers
from tests.unit.gate.simulated import Fault, Machine, quiet
from tests.unit.gate.test_revision import git

NEWER = Target(Path("newer"), "cd" * 20, False, "nfe=7")
OLDER = dataclasses.replace(NEWER, root=Path("older"), revision="ba" * 20)

Told = list[str]


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., run.Scene]:
    """Puts made-up processes in the place of real ones, and gives what is known before they start."""

    def put(
        opener: Any = None, after: Callable[[int], AfterBlock] = quiet, base: bool = True, **changes: Any
    ) -> run.Scene:
        clip = tmp_path / "clip.wav"
        clip.write_bytes(b"audio")
        compared = Comparison(
            root=tmp_path,
            checkpoint="made-up",
            options="nfe=7",
            candidate=None,
            base=Base(OLDER.revision, "bababababa, merge base of main") if base else Base(None, "no base"),
            against_options=None,
            older=OLDER.revision,
            questions=("change",) if base else ("limits", "drift"),
        )
        content: dict[str, Any] = {
            "machine": builders.MACHINE,
            "fitness": builders.FIT,
            "selection": builders.selection(),
            "comparison": compared,
            "material": Material("made-up", "made-up", clip, "Words."),
            **changes,
        }
        made = run.Scene(**content)
        arms = {"base": OLDER, "candidate": NEWER} if base else {"candidate": NEWER}
        speaking = opener or (lambda folder: contextlib.nullcontext(Machine(Fault(), 42).open))
        monkeypatch.setattr(run, "look", lambda request, report: made)
        monkeypatch.setattr(run.comparisons, "targets", lambda _: contextlib.nullcontext(arms))
        monkeypatch.setattr(run.process, "opener", lambda *_, outputs, **__: speaking(outputs))
        monkeypatch.setattr(run.check, "after_block", lambda block, machine, busy: after(block))
        return made

    return put


def test_a_change_is_measured_judged_and_recorded(around: Callable[..., run.Scene], tmp_path: Path) -> None:
    """The record holds both arms, why this base, the work, and what people should know; read as written."""
    around()
    outcome = run.gate(run.Request(quick=True, quality=False, seed=7), lambda sentence: None)
    found = outcome.run
    assert found.base is not None
    assert (found.base.revision, found.candidate.revision) == (OLDER.revision, NEWER.revision)
    assert found.base_said == "bababababa, merge base of main"
    assert found.work["base"] == found.work["candidate"]
    assert found.verdict is not None
    assert found.verdict.code == 0
    assert "seed of the order of calls: 7" in found.verdict.notes
    assert set(found.notes) <= set(found.verdict.notes)
    assert outcome.path.parent == tmp_path / samples.RECORDS  # of the checkout, wherever the user stands
    assert samples.read(outcome.path) == found


def test_a_slower_candidate_exits_one_and_the_first_line_says_against_what(
    around: Callable[..., run.Scene],
) -> None:
    """On a quiet machine, in a quick run."""
    slow = Fault(stages={"sampling": 1.5})
    around(lambda folder: contextlib.nullcontext(Machine(slow, 42).open))
    judged = run.gate(run.Request(quick=True, quality=False, seed=1), lambda sentence: None).run.verdict
    assert judged is not None
    assert judged.code == 1
    assert "merge base of main" in judged.first_line


def test_without_a_base_the_candidate_is_measured_alone_and_nothing_older_is_no_pass(
    around: Callable[..., run.Scene],
) -> None:
    """Exit 3 with that sentence; where the machine names this product, its limits decide."""
    around(base=False)
    request = run.Request(limits_only=True, runs=12, blocks=2, seed=1)
    alone = run.gate(request, lambda sentence: None).run
    assert alone.base is None
    assert alone.base_said == ""
    assert {process.arm for process in alone.processes} == {"candidate"}
    assert alone.verdict is not None
    assert alone.verdict.code == 3
    assert any("cannot see a regression" in answer.sentence for answer in alone.verdict.answers)
    served = builders.PRODUCT.model_copy(update={"checkpoint": "made-up", "options": "nfe=7"})
    around(base=False, selection=builders.selection(builders.baseline(products=(served,))))
    assert run.gate(request, lambda sentence: None).run.verdict.code == 0  # type: ignore[union-attr]


def test_the_gate_looks_at_the_machine_after_each_block(around: Callable[..., run.Scene]) -> None:
    """One that became unfit half-way makes the run unfit, unless forced; the record says which either way."""
    for force, outcome in ((False, "UNFIT"), (True, "FORCED")):
        around(after=lambda block: AfterBlock(block=block, findings=(builders.HOT,) if block else ()))
        said: Told = []
        request = run.Request(quick=True, blocks=3, seed=1, force=force, quality=False)
        found = run.gate(request, said.append).run
        assert found.forced is force
        assert [after.fit for after in found.after_blocks] == [True, False, False]
        assert found.verdict is not None
        (preflight,) = [each for each in found.verdict.about("trust") if each.question == "preflight"]
        assert preflight.outcome == outcome
        assert "After block 2, 3" in preflight.sentence
        assert sum("unfit after block" in line for line in said) == 2


def test_force_is_recorded_only_where_it_was_needed(around: Callable[..., run.Scene]) -> None:
    """On a fit machine it changes nothing."""
    for fitness, forced in ((builders.FIT, False), (builders.UNFIT, True)):
        around(fitness=fitness)
        request = run.Request(quick=True, blocks=3, seed=1, force=True, quality=False)
        assert run.gate(request, lambda sentence: None).run.forced is forced


def test_what_others_do_is_watched_over_each_whole_block(
    around: Callable[..., run.Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One meter for the run, so that nothing between two looks is missed."""
    made = around()
    meters: list[object] = []

    def after_block(block: int, machine: object, busy: object) -> AfterBlock:
        assert machine is made.machine
        meters.append(busy)
        return quiet(block)

    monkeypatch.setattr(run.check, "after_block", after_block)
    run.gate(run.Request(quick=True, blocks=3, seed=1, quality=False), lambda sentence: None)
    assert len(meters) == 3
    assert isinstance(meters[0], run.readers.CpuMeter)
    assert len({id(meter) for meter in meters}) == 1


def test_the_gate_judges_what_was_timed(
    around: Callable[..., run.Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Speed and quality in one record and one verdict: a candidate that says less exits 1."""
    monkeypatch.setattr(run.quality_pass.judges, "judge_all", speakers.heard)
    for wave, code in ((speakers.wave, 0), (speakers.truncated, 1)):
        asked: list[dict[str, Any]] = []

        def prepare(*_: Any, asked: list[dict[str, Any]] = asked, **changes: Any) -> Any:
            asked.append(changes)
            return speakers.prepared(names=("short",))

        monkeypatch.setattr(run.quality_pass, "prepare", prepare)
        around(speakers.opening(speakers.Arms(candidate=wave)), selection=speakers.SELECTION)
        outcome = run.gate(run.Request(quick=True, seed=1), lambda sentence: None)
        assert outcome.run.verdict is not None
        assert outcome.run.verdict.code == code
        assert outcome.run.quality is not None
        assert samples.read(outcome.path) == outcome.run
        assert asked == [{"quick": True, "seed": 1, "recogniser": "pocketsphinx"}]


def test_the_quality_pass_has_what_is_left_of_the_budget(
    around: Callable[..., run.Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three minutes are for all of a quick run."""
    given: list[float] = []
    seconds = iter([100.0, 220.0])
    monkeypatch.setattr(run.quality_pass, "prepare", lambda *_, **__: speakers.prepared(names=("short",)))
    monkeypatch.setattr(run.quality_pass, "hold", lambda *_, seconds: given.append(seconds))
    around()
    run.gate(run.Request(quick=True, seed=1), lambda sentence: None, clock=lambda: next(seconds))
    assert given == [180.0 - 120.0]


def test_what_is_accepted_reaches_the_verdict(
    around: Callable[..., run.Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each flag clears its own judgement and no other, and looser limits fail without theirs."""
    seen: list[verdict.Accepted] = []
    judge = verdict.judge

    def spy(*arguments: Any, accepted: verdict.Accepted, **others: Any) -> Any:
        seen.append(accepted)
        return judge(*arguments, accepted=accepted, **others)

    monkeypatch.setattr(run.verdict, "judge", spy)
    around(looser=("portable.json: relative.cv was raised",))
    codes = []
    for flags in ({}, {"accept_looser": True}, {"accept_changed_output": True}, {"accept_more_work": True}):
        found = run.gate(run.Request(quick=True, seed=1, quality=False, **flags), lambda sentence: None).run
        assert found.verdict is not None
        codes.append(found.verdict.code)
    assert codes == [1, 0, 1, 1]
    assert [dataclasses.astuple(each) for each in seen] == [
        (False, False, False), (True, False, False), (False, True, False), (False, False, True),
    ]  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The running engine's checkout: one commit with the portable baseline."""
    folder = tmp_path / "checkout"
    (folder / "baselines").mkdir(parents=True)
    portable = builders.portable(machines_with_own_baseline=())
    (folder / "baselines" / "portable.json").write_text(dump(portable))
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    git(folder, "commit", "-q", "--allow-empty", "-m", "second")
    monkeypatch.setattr(revisions, "checkout", lambda: folder)
    monkeypatch.setattr(scene.check, "check", lambda *_, **__: builders.FIT)
    return folder


def test_the_first_line_says_what_is_compared_with(
    repository: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then what is judged and by which limits; from any folder, the checkout of the running engine counts."""
    elsewhere = tmp_path / "elsewhere" / "baselines"
    elsewhere.mkdir(parents=True)
    (elsewhere / "portable.json").write_text("of another checkout")
    monkeypatch.chdir(elsewhere.parent)
    said: Told = []
    made = run.look(run.Request(checkpoint="seeded-tiny", options="nfe=1"), said.append)
    assert said[0].startswith("base: ")
    assert said[0].endswith("HEAD~1: the commit before")
    assert str(repository) in said[1]
    assert made.selection.path == repository / "baselines" / "portable.json"
    assert made.comparison.root == repository


def test_a_checkout_without_baselines_says_where_it_looked(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An installed package has none, and git has nothing to restore."""
    monkeypatch.setattr(revisions, "checkout", lambda: tmp_path)
    with pytest.raises(BaselineError, match=str(tmp_path / "baselines")) as caught:
        run.look(run.Request(), lambda sentence: None)
    assert "pip install --editable" in str(caught.value)


def test_what_is_missing_is_an_error_before_anything_is_measured(repository: Path, tmp_path: Path) -> None:
    """The gate fails closed: a baseline, votes, and a revision."""
    missing: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"baseline": tmp_path / "gone.json"}, BaselineError, r"gone\.json"),
        ({"votes": (tmp_path / "gone.json",), "checkpoint": "seeded-tiny"}, VotesError, r"gone\.json"),
        ({"against": "gone"}, UsageError, "gone"),
    ]
    for asked, error, named in missing:
        with pytest.raises(error, match=named):
            run.gate(run.Request(**asked), lambda sentence: None)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, list[run.Request]]]:
    """Runs `ishowtts gate` with a verdict of this code: its exit code and what it asked for."""

    def call(code: int, *arguments: str) -> tuple[int, list[run.Request]]:
        judged = builders.run()
        said = verdict.judge(judged, builders.selection()).model_copy(update={"code": code})
        judged = judged.model_copy(update={"verdict": said})
        asked: list[run.Request] = []

        def gate(request: run.Request, report: run.Report) -> run.Outcome:
            asked.append(request)
            return run.Outcome(judged, tmp_path / "record.json", builders.selection())

        monkeypatch.setattr(run, "gate", gate)
        monkeypatch.setattr("sys.argv", ["ishowtts", "gate", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0), asked

    return call


def test_the_command_exits_with_the_verdict_and_writes_what_was_asked(
    command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Table, Markdown, JUnit, a picture, and pyperf's files of both arms."""
    names = {"--markdown": "a.md", "--junit": "a.xml", "--plot": "a.png", "--pyperf": "a.json"}
    for code in (0, 1, 3):
        pages = [word for flag, name in names.items() for word in (flag, str(tmp_path / name))]
        status, asked = command(code, "--quick", "--blocks", "2", "--runs", "5", "--no-quality", *pages)
        assert status == code
        assert (asked[0].quick, asked[0].blocks, asked[0].runs, asked[0].quality) == (True, 2, 5, False)
        assert all((tmp_path / name).is_file() for name in (*names.values(), "a-base.json"))
        assert "record.json" in capsys.readouterr().out


def test_json_is_for_programs(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole verdict and where the record is, and nothing else on stdout."""
    assert command(3, "--json")[0] == 3
    facts = json.loads(capsys.readouterr().out)
    assert facts["verdict"]["code"] == 3
    assert facts["record"].endswith("record.json")


def test_recording_adds_a_session_to_the_checkouts_baseline(
    command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever folder the user stands in; what cannot be trusted is an error."""
    from engine.gate.baselines import record

    recorded: list[Path] = []

    def record_session(judged: Any, directory: Path) -> tuple[Path, list[Any]]:
        recorded.append(directory)
        return directory / "test-cpu.json", []

    monkeypatch.setattr(record, "record_session", record_session)
    monkeypatch.setattr(revisions, "checkout", lambda: tmp_path)
    status, asked = command(0, "--record")
    assert (status, recorded, asked[0].record) == (0, [tmp_path / "baselines"], True)
    monkeypatch.undo()


def test_an_error_is_one_sentence_and_exit_two(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback; old spellings are refused too."""
    assert command(0, "--against", "HEAD", "--against-options", "reference") == (2, [])
    assert "one question at a time" in capsys.readouterr().err
    for flag in ("--toggles", "--reference-toggles", "--budget"):
        assert command(0, flag, "1") == (2, [])
