"""The status page: what each of the last days said, and which day said nothing."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from engine.gate.data import samples
from engine.gate.report import status
from tests.unit.gate.test_history import judged

TODAY = judged(0).timestamp.date() + datetime.timedelta(days=3)


def test_every_day_has_a_row_and_a_day_without_a_run_says_so() -> None:
    """Newest first; what is older than the days asked for is left out."""
    found = status.last_days([judged(day) for day in (0, 2, 3)], TODAY, 3)
    assert [(day, len(runs)) for day, runs in found.items()] == [
        (TODAY, 1),
        (TODAY - datetime.timedelta(days=1), 1),
        (TODAY - datetime.timedelta(days=2), 0),
    ]
    shown = status.page(found)
    assert shown.count("<tr><td>") == 3
    assert shown.count("no run") == 1


def test_two_runs_of_a_day_are_two_rows_and_the_newest_speaks_first() -> None:
    """The headline is the newest run's own first line."""
    early, late = judged(3), judged(3)
    late = late.model_copy(update={"timestamp": late.timestamp + datetime.timedelta(hours=1)})
    shown = status.page(status.last_days([late, early], TODAY, 1))
    assert shown.count("<tr><td>") == 2
    assert shown.index(f"{late.timestamp:%H:%M} UTC") < shown.index("<table>")


def test_the_page_fetches_nothing_and_escapes_what_it_shows() -> None:
    """Whatever a checkpoint is called."""
    run = judged(3)
    run = run.model_copy(update={"candidate": run.candidate.model_copy(update={"checkpoint": "<script>"})})
    shown = status.page(status.last_days([run], TODAY, 1))
    assert "<script>" not in shown
    assert "http" not in shown


def test_it_is_written_from_a_folder_of_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty folder makes a page that says so; a spoiled record is an error and leaves no page."""
    out = tmp_path / "page.html"
    assert status.main([str(tmp_path), "--out", str(out)]) == 0
    assert "No run in these days." in out.read_text()
    assert status.main([str(tmp_path), "--out", str(out), "--days", "0"]) == 2
    samples.write(judged(0), tmp_path)
    (record,) = tmp_path.glob("run-*.json")
    record.write_text(record.read_text()[:-40])
    out.unlink()
    assert status.main([str(tmp_path), "--out", str(out)]) == 2
    assert not out.exists()
    assert "status: " in capsys.readouterr().err
