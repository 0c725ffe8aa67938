"""Recording: only a trusted run becomes samples, no limit is touched, and two writers lose nothing."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BaselineError, OutputError, UsageError
from engine.gate.baselines.record import loosened, record_entry
from engine.gate.baselines.select import dump, load
from engine.gate.data.samples import Observed, Run
from engine.gate.verdict.judge import judge
from tests.unit.gate import builders, speakers


def judged(run: Run) -> Run:
    """The run with its verdict by the portable baseline."""
    return run.model_copy(update={"verdict": judge(run, builders.selection())})


def with_options(nfe: int, ratio: float = 1.0) -> Run:
    """A quiet run of a candidate with other options."""
    seen = {"nfe": Observed(proven=True, observed=f"{nfe} evaluations")}
    found = builders.processes(ratio, blocks=4, calls=3, evidence=seen)
    return judged(builders.run(found, candidate=builders.side(options={"nfe": nfe})))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of baselines with the portable one."""
    (tmp_path / "portable.json").write_text(dump(builders.portable()), encoding="utf-8")
    return tmp_path


def test_the_first_recording_starts_a_machines_file(folder: Path) -> None:
    """It takes the relative limits from portable, promises no product limits, and holds every steady call."""
    run = with_options(7)
    path, changes = record_entry(run, folder)
    found = load(path)
    assert path == folder / f"{builders.KEY}.json"
    assert found.relative == builders.RELATIVE
    assert found.product is None
    assert [change.percent for change in changes] == [None, None]
    short = next(entry for entry in found.recorded.values() if entry.workload == "short")
    assert short.rtf == tuple(tuple(c.rtf for c in one.calls) for _, one in run.series("candidate", "short"))


def test_recording_again_replaces_the_samples_and_tells_the_change(folder: Path) -> None:
    """The same options are replaced, others stay, and the change is in percent of the old mean."""
    record_entry(with_options(7), folder)
    record_entry(with_options(8), folder)
    path, changes = record_entry(with_options(7, ratio=1.5), folder)
    assert [(change.workload, change.options) for change in changes] == [
        ("short", "nfe=7"),
        ("medium", "nfe=7"),
    ]
    assert all(change.percent == pytest.approx(50.0) for change in changes)
    options = [json.dumps(entry.options) for entry in load(path).recorded.values()]
    assert sorted(options) == ['{"nfe": 7}', '{"nfe": 7}', '{"nfe": 8}', '{"nfe": 8}']


def test_recording_touches_no_limit_and_no_reported_figure(folder: Path) -> None:
    """Even a much slower run leaves limits and reported entries as they are."""
    old = json.loads(dump(builders.baseline()))
    old["entries"] = [{"status": "reported", "name": "n", "rtf": 0.28, "note": "n", "source": "s"}]
    path = folder / f"{builders.KEY}.json"
    path.write_text(json.dumps(old), encoding="utf-8")
    before = load(path)
    record_entry(with_options(7, ratio=3.0), folder)
    after = load(path)
    assert after.limits() == before.limits()
    assert loosened(before, after) == []
    assert [entry.status for entry in after.entries] == ["reported", "recorded", "recorded"]


def _loud() -> Run:
    return builders.run(builders.processes(noise=0.6))


def _unproven() -> Run:
    return builders.run(builders.processes(evidence={"compile": Observed(proven=False, observed="0 graphs")}))


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (builders.run(candidate=builders.side(dirty=True)), "clean tree"),
        (builders.run(preflight=builders.UNFIT), "preflight"),
        (builders.run(preflight=builders.UNFIT, forced=True), "--force"),
        (builders.alone(), "A/A control"),
        (_loud(), "A/A control"),
        (_unproven(), "compile"),
    ],
    ids=["dirty", "unfit", "forced", "no control", "loud control", "toggle"],
)
def test_a_run_that_cannot_be_trusted_is_not_recorded(folder: Path, run: Run, words: str) -> None:
    """Nothing is written, and the error names what was wrong."""
    with pytest.raises(UsageError, match=words):
        record_entry(judged(run), folder)
    assert [path.name for path in folder.iterdir()] == ["portable.json"]


def test_a_run_without_a_verdict_is_not_recorded(folder: Path) -> None:
    """Trust is judged first."""
    with pytest.raises(UsageError, match="without a verdict"):
        record_entry(builders.run(), folder)


def test_a_damaged_file_is_not_overwritten(folder: Path) -> None:
    """What cannot be read might hold samples: it stays as it is."""
    path = folder / f"{builders.KEY}.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(BaselineError, match=r"test-cpu\.json"):
        record_entry(with_options(7), folder)
    assert path.read_text(encoding="utf-8") == "{"


def test_a_crash_while_writing_leaves_the_old_baseline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is replaced in one step or not at all."""
    path, _ = record_entry(with_options(7), folder)
    before = path.read_text(encoding="utf-8")

    def crash(self: Path, target: Path) -> Path:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(OutputError, match="Input/output error"):
        record_entry(with_options(8), folder)
    assert path.read_text(encoding="utf-8") == before


def _record(job: tuple[str, Any]) -> None:
    text, folder = job
    record_entry(Run.model_validate_json(text), folder)


def test_samples_of_a_candidate_that_lost_quality_are_not_recorded(folder: Path, tmp_path: Path) -> None:
    """Fast because it skips work is no baseline."""
    run = speakers.held(tmp_path, speakers.Arms(candidate=speakers.truncated))
    run = run.model_copy(update={"verdict": judge(run, speakers.SELECTION)})
    with pytest.raises(UsageError, match="duration"):
        record_entry(run, folder)


def test_writers_in_several_processes_lose_nothing(folder: Path) -> None:
    """Each reads, changes and writes under one lock, so every entry is there in the end."""
    jobs = [(with_options(nfe).model_dump_json(), folder) for nfe in range(1, 9)]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_record, jobs, chunksize=1)
    options = {json.dumps(entry.options) for entry in load(folder / f"{builders.KEY}.json").recorded.values()}
    assert options == {f'{{"nfe": {nfe}}}' for nfe in range(1, 9)}
