"""Records become series that may be compared; Otava itself lives in an environment of its own."""

from __future__ import annotations

import datetime
import io
from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.gate.data import samples
from engine.gate.data.samples import Run
from engine.gate.report import history
from engine.gate.verdict import judge
from tests.unit.gate import builders


def judged(day: int, **changes: object) -> Run:
    """A judged run of one day."""
    found = builders.run(builders.processes(blocks=1, seed=day), **changes)
    found = found.model_copy(update={"timestamp": found.timestamp + datetime.timedelta(days=day)})
    return found.model_copy(update={"verdict": judge.judge(found, builders.selection())})


def test_runs_of_one_machine_and_options_are_one_series_in_order_of_time(tmp_path: Path) -> None:
    """Whatever order they were written in; other options are another series."""
    for day in (2, 0, 1):
        samples.write(judged(day), tmp_path)
    samples.write(judged(3, candidate=builders.side(options={"nfe": 7})), tmp_path)
    first, second = history.lines(history.read(tmp_path))
    assert first.times == sorted(first.times)
    assert len(first.times) == 3
    assert len(second.times) == 1
    assert "nfe=7" in second.name
    assert {len(values) for values in first.metrics.values()} == {3}
    assert "short.mean_rtf" in first.metrics


def test_a_run_that_lies_in_two_folders_counts_once(tmp_path: Path) -> None:
    """The committed runs and the local ones are read together; a folder that is missing adds nothing."""
    kept, here = tmp_path / "kept", tmp_path / "here"
    samples.write(judged(0), kept)
    for day in (0, 1):
        samples.write(judged(day), here)
    runs = history.read(kept, here, tmp_path / "missing")
    assert [run.timestamp.day - runs[0].timestamp.day for run in runs] == [0, 1]


def test_long_series_are_analysed_and_short_ones_are_named() -> None:
    """Three runs have no point at which they could have changed."""
    out = io.StringIO()
    long = history.lines(judged(day) for day in range(4))
    short = history.lines(judged(day) for day in range(2))
    history.write([*long, *short], out, lambda line: f"analysed {len(line.times)}")
    assert "analysed 4" in out.getvalue()
    assert "2 runs: at least 4 are needed" in out.getvalue()


def test_without_otava_it_says_where_it_lives() -> None:
    """It pins numpy, so it has an environment of its own."""
    pytest.importorskip("numpy")
    try:
        import otava  # noqa: F401
    except ImportError:
        with pytest.raises(UsageError, match="nox -s history"):
            history.analyse(history.lines([judged(0)])[0])


def test_a_folder_without_records_exits_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence that says how to make some."""
    assert history.main([str(tmp_path)]) == 2
    assert "no records" in capsys.readouterr().err
