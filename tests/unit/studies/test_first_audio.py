"""Time to first audio: ratios of known times, and one real run on the seeded tiny checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.options import Options
from tests.studies import first_audio
from tests.studies.first_audio import SHORT, STREAM, WHOLE, FirstAudio


def test_the_wait_is_compared_round_by_round() -> None:
    """A machine that slows down from round to round slows all ways of asking: their ratio stays."""
    found = FirstAudio(20.0, {WHOLE: (1.0, 2.0, 4.0), STREAM: (0.25, 0.5, 1.0)}, {WHOLE: 20.0, STREAM: 9.0})
    assert found.against_whole(STREAM).ratio == pytest.approx(0.25)
    assert found.against_whole(STREAM).high == pytest.approx(0.25)
    whole, stream = first_audio.rows(found)
    assert whole["time"]["ratio"] == 1.0
    assert stream["heard"] == 9.0


def test_one_round_is_refused() -> None:
    """It has no interval."""
    with pytest.raises(UsageError, match="1 rounds"):
        first_audio.measure("seeded-tiny", Options(), rounds=1)


def test_a_short_first_piece_is_there_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All ways are timed as often; the short piece is the shortest, and the whole text is heard whole."""
    monkeypatch.setenv("COLUMNS", "160")
    first_audio.main("seeded-tiny", "nfe=1", 40, "cpu", 2, tmp_path / "first.json")
    written = json.loads((tmp_path / "first.json").read_text())
    heard = {row["way"]: row["heard"] for row in written["rows"]}
    assert heard[SHORT] < heard[STREAM] <= heard[WHOLE] == written["audio_seconds"]
    assert all(len(row["seconds"]) == 2 and min(row["seconds"]) > 0 for row in written["rows"])
    assert "of the whole" in capsys.readouterr().out
