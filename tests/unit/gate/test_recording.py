"""Recording: only a trusted run adds a session, no limit is touched, and two writers lose nothing."""

from __future__ import annotations

import datetime
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BaselineError, OutputError, UsageError
from engine.gate.baselines.loosening import loosened
from engine.gate.baselines.record import record_session
from engine.gate.baselines.select import dump, load
from engine.gate.data.limits import Reported
from engine.gate.data.samples import Observed, Run
from engine.gate.verdict.judge import judge
from tests.unit.gate import builders, speakers


def judged(run: Run) -> Run:
    """The run with its verdict by the portable baseline."""
    return run.model_copy(update={"verdict": judge(run, builders.selection())})


def with_options(nfe: int, ratio: float = 1.0, day: int = 0) -> Run:
    """A quiet run of a candidate with other options, on another day."""
    seen = {"nfe": Observed(proven=True, observed=f"{nfe} evaluations")}
    processes = builders.processes(ratio, blocks=4, calls=3, evidence=seen)
    run = builders.run(processes, candidate=builders.side(options={"nfe": nfe}))
    return judged(run.model_copy(update={"timestamp": run.timestamp + datetime.timedelta(days=day)}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of baselines with the portable one."""
    (tmp_path / "portable.json").write_text(dump(builders.portable()), encoding="utf-8")
    return tmp_path


def test_the_first_recording_starts_a_machines_file(folder: Path) -> None:
    """It takes the relative limits from portable, promises no product, and holds every steady call."""
    run = with_options(7)
    path, changes = record_session(run, folder)
    (session,) = load(path).sessions
    assert path == folder / f"{builders.KEY}.json"
    assert load(path).relative == builders.RELATIVE
    assert load(path).products == ()
    assert [change.percent for change in changes] == [None, None]
    assert (session.versions, session.threads) == (run.candidate.versions, run.candidate.threads)
    calls = run.calls("candidate", "short")
    assert session.workloads["short"].rtf == tuple(tuple(call.rtf for call in each) for each in calls)


def test_recording_again_adds_a_session_and_tells_the_change(folder: Path) -> None:
    """Those of other options stay, and the change is in percent of the mean of the session before."""
    record_session(with_options(7), folder)
    record_session(with_options(8), folder)
    path, changes = record_session(with_options(7, ratio=1.5, day=1), folder)
    assert [(change.workload, change.options) for change in changes] == [
        ("short", "nfe=7"),
        ("medium", "nfe=7"),
    ]
    assert all(change.percent == pytest.approx(50.0) for change in changes)
    assert sorted(session.options["nfe"] for session in load(path).sessions) == [7, 7, 8]


def test_at_most_ten_sessions_of_one_key_are_kept_the_newest(folder: Path) -> None:
    """The oldest makes room, which is not looser; those of other options are not counted."""
    record_session(with_options(8), folder)
    for day in range(10):
        path, _ = record_session(with_options(7, day=day), folder)
    before = load(path)
    record_session(with_options(7, day=10), folder)
    after = load(path)
    days = [session.recorded_at.day for session in after.sessions if session.options == {"nfe": 7}]
    first = builders.run().timestamp.day
    assert days == [first + day for day in range(1, 11)]
    assert len(after.sessions) == 11
    assert loosened(before, after) == []


def test_sessions_of_a_workload_that_changed_make_room(folder: Path) -> None:
    """They can never be compared again; else the next run would stop at them."""
    clip = builders.Clip.of("other", b"other", "Other.")
    other = builders.pinned(clip, builders.WEIGHTS, ["short", "medium"])
    record_session(with_options(7), folder)
    run = with_options(7, day=1)
    sides = {"candidate": builders.side(other, options={"nfe": 7}), "base": builders.side(other)}
    path, changes = record_session(run.model_copy(update=sides), folder)
    (session,) = load(path).sessions
    assert session.workloads["short"].sha256 == other[0].sha256
    assert [change.before for change in changes] == [None, None]


def test_recording_touches_no_limit_and_no_reported_figure(folder: Path) -> None:
    """Even a much slower run leaves limits, products and reported figures as they are."""
    reported = Reported(name="n", rtf=0.28, note="n", source="s")
    before = builders.baseline(reported=(reported,))
    path = folder / f"{builders.KEY}.json"
    path.write_text(dump(before), encoding="utf-8")
    record_session(with_options(7, ratio=3.0), folder)
    after = load(path)
    assert after.model_copy(update={"sessions": ()}) == before
    assert len(after.sessions) == 1


def _loud() -> Run:
    return builders.run(builders.processes(noise=0.6))


def _unproven() -> Run:
    return builders.run(builders.processes(evidence={"compile": Observed(proven=False, observed="0 graphs")}))


def test_a_run_that_cannot_be_trusted_is_not_recorded(folder: Path) -> None:
    """Nothing is written, and the error names what was wrong."""
    cases = (
        (builders.run(candidate=builders.side(dirty=True)), "clean tree"),
        (builders.run(preflight=builders.UNFIT), "preflight"),
        (builders.run(preflight=builders.UNFIT, forced=True), "--force"),
        (builders.alone(), "A/A control"),
        (_loud(), "A/A control"),
        (_unproven(), "compile"),
    )
    for run, words in cases:
        with pytest.raises(UsageError, match=words):
            record_session(judged(run), folder)
    assert [path.name for path in folder.iterdir()] == ["portable.json"]


def test_a_run_that_looked_at_nothing_older_may_be_recorded(folder: Path) -> None:
    """That says nothing of its samples: the first session of a machine has nothing older."""
    run = judged(builders.run(base=builders.side()))
    assert run.verdict is not None
    assert run.verdict.code == 3
    assert record_session(run, folder)[0].exists()


def test_a_run_without_a_verdict_is_not_recorded(folder: Path) -> None:
    """Trust is judged first."""
    with pytest.raises(UsageError, match="without a verdict"):
        record_session(builders.run(), folder)


def test_a_damaged_file_is_not_overwritten(folder: Path) -> None:
    """What cannot be read might hold sessions: it stays as it is."""
    path = folder / f"{builders.KEY}.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(BaselineError, match=r"test-cpu\.json"):
        record_session(with_options(7), folder)
    assert path.read_text(encoding="utf-8") == "{"


def test_a_crash_while_writing_leaves_the_old_baseline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is replaced in one step or not at all."""
    path, _ = record_session(with_options(7), folder)
    before = path.read_text(encoding="utf-8")

    def crash(self: Path, target: Path) -> Path:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(OutputError, match="Input/output error"):
        record_session(with_options(8), folder)
    assert path.read_text(encoding="utf-8") == before


def _record(job: tuple[str, Any]) -> None:
    text, folder = job
    record_session(Run.model_validate_json(text), folder)


def test_samples_of_a_candidate_that_lost_quality_are_not_recorded(folder: Path, tmp_path: Path) -> None:
    """Fast because it skips work is no baseline."""
    run = speakers.held(tmp_path, speakers.Arms(candidate=speakers.truncated))
    run = run.model_copy(update={"verdict": judge(run, speakers.SELECTION)})
    with pytest.raises(UsageError, match="duration"):
        record_session(run, folder)


def test_writers_in_several_processes_lose_nothing(folder: Path) -> None:
    """Each reads, changes and writes under one lock, so every session is there in the end."""
    jobs = [(with_options(nfe).model_dump_json(), folder) for nfe in range(1, 9)]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_record, jobs, chunksize=1)
    sessions = load(folder / f"{builders.KEY}.json").sessions
    assert sorted(session.options["nfe"] for session in sessions) == list(range(1, 9))
