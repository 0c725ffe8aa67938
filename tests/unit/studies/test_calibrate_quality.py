"""The quality calibration's bookkeeping: targets, bounds, who caught what, and the picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.studies import calibrate_quality
from tests.studies.quality_corpus import AGAIN, LONG, Cell, Study, Takes, cells
from tests.studies.quality_plot import plot
from tests.studies.quality_trials import ANOTHER_SEED, Scenario
from tests.unit.studies.test_quality_trials import LIMITS, NAN, judged

__all__ = ["judged"]  # a fixture


def test_a_fault_that_is_always_caught_meets_its_target(judged: dict[Cell, Takes]) -> None:
    """And is put down to the judge that caught it."""
    row = calibrate_quality.row(Scenario(NAN, 4), judged, LIMITS)
    assert row["failed"]["rate"] == 1.0
    assert row["failed"]["low_95"] > 0.95
    assert row["by"]["signal"] == 1.0
    assert (row["target"], row["met"]) == ({"at_least": 0.95}, True)


def test_a_fault_that_is_never_caught_misses_its_target(judged: dict[Cell, Takes]) -> None:
    """The clean take under the name of a fault."""
    blind = {cell: {**takes, NAN: takes[AGAIN]} for cell, takes in judged.items()}
    row = calibrate_quality.row(Scenario(NAN, 4), blind, LIMITS)
    assert row["failed"]["rate"] == 0.0
    assert row["met"] is False


def test_a_false_alarm_misses_its_target(judged: dict[Cell, Takes]) -> None:
    """A fault under the name of a clean rerun: all runs fail, and one per cent may."""
    crying = {cell: {**takes, AGAIN: takes[NAN]} for cell, takes in judged.items()}
    row = calibrate_quality.row(Scenario(AGAIN, 4), crying, LIMITS)
    assert (row["target"], row["met"]) == ({"at_most": 0.01}, False)


def test_a_rare_false_alarm_within_the_rate_still_needs_its_bound(
    judged: dict[Cell, Takes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No alarm in few trials proves nothing."""
    row = calibrate_quality.row(Scenario(AGAIN, 4), judged, LIMITS)
    assert row["met"] is True
    few = calibrate_quality.try_scenario(Scenario(AGAIN, 4), judged, LIMITS, corpora=2, runs=5)
    monkeypatch.setattr(calibrate_quality, "try_scenario", lambda *_: few)
    row = calibrate_quality.row(Scenario(AGAIN, 4), judged, LIMITS)
    assert row["failed"]["rate"] == 0.0
    assert row["met"] is False


def test_a_fault_in_one_clip_has_no_target(judged: dict[Cell, Takes]) -> None:
    """It is reported, whatever comes out."""
    row = calibrate_quality.row(Scenario(NAN, 4, extent="one clip"), judged, LIMITS)
    assert row["target"] is row["met"] is None


def test_runs_apart_are_few_and_say_so(judged: dict[Cell, Takes]) -> None:
    """Twelve cells: one run of eight, whose bound allows almost anything; none of 24."""
    (only,) = calibrate_quality.alone(judged, LIMITS, (24, 8))
    assert (only["size"], only["failed"]["runs"]) == (8, 1)
    assert only["failed"]["high_95"] == pytest.approx(0.95)


def test_every_text_is_spoiled_in_one_voice_and_the_long_ones_are_spoken_in_that_alone(
    tmp_path: Path,
) -> None:
    """Over the texts the spoiled voice goes round."""
    study = Study("box", "fast_cpu", 3, tmp_path)
    every = cells(study)
    spoiled = [cell for cell in every if cell.spoiled]
    assert len(spoiled) == len({cell.text for cell in every})
    assert {cell.voice for cell in spoiled} == {cell.voice for cell in every}
    assert all(cell.spoiled for cell in every if len(cell.text) > LONG)
    assert len({cell.text for cell in cells(study, 5)}) == 5


def test_the_picture_is_drawn(judged: dict[Cell, Takes], tmp_path: Path) -> None:
    """From rows as the report holds them."""
    scenarios = [Scenario(ANOTHER_SEED, 4, "other"), Scenario(NAN, 4), Scenario(NAN, 4, extent="one clip")]
    rows = [calibrate_quality.row(one, judged, LIMITS) for one in scenarios]
    rows += [{**row, **dataclasses.asdict(one), "size": 2} for row, one in zip(rows, scenarios, strict=True)]
    head = {"texts": 6, "voices": ["ann", "bob"], "seeds": 3, "outputs": 9, "targets": 2, "targets_met": 2}
    plot({"rows": rows, "sets": {"full": 4, "quick": 2}, **head}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
