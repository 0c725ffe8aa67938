"""The committed table of seeded faults: read, shown, and told in every report."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import BaselineError
from tests.studies import faults
from tests.studies.faults import Table, Trial

TRIALS = (
    Trial(fault="none", expected=0, exits=0, by="nothing"),
    Trial(fault="slow", expected=1, exits=1, by="short centre: SLOWER"),
    Trial(fault="hidden", expected=3, exits=0, by="a | b\nc"),
    Trial(fault="harmless", expected=0, exits=1, by="short centre: SLOWER"),
)


def test_a_trial_is_caught_only_with_its_own_exit_code() -> None:
    """Another code than the expected one is a miss, and a harmless change that fails a false alarm."""
    assert [one.result for one in TRIALS] == ["passed, as it must", "caught", "missed", "false alarm"]
    assert Trial(fault="x", expected=1, exits=3, by="").result == "missed"


def test_what_was_written_is_read_again_and_stands_in_markdown_too(tmp_path: Path) -> None:
    """Whatever a sentence holds, a trial is one row."""
    path = tmp_path / "faults.json"
    faults.write(TRIALS, 0.25, path)
    assert faults.read(path) == Table(share_needed=0.25, trials=TRIALS)
    text = path.with_suffix(".md").read_text()
    assert text.startswith("# Seeded faults: 1 of 2 seeded faults are caught, 1 of 2 harmless changes pass\n")
    assert "| hidden | 3 | 0 | missed | a \\| b c |" in text
    assert "takes 25 % of the total or more" in text
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 2 + len(TRIALS)


def test_what_is_no_table_is_a_named_error(tmp_path: Path) -> None:
    """Never an empty table that misses nothing."""
    for content in (
        "",
        "{}",
        '{"schema_version": 2}',
        '{"share_needed": 0, "trials": []}',
    ):
        (tmp_path / "faults.json").write_text(content)
        with pytest.raises(BaselineError, match=r"faults\.json.*nox -s study -- faults"):
            faults.read(tmp_path / "faults.json")


def test_a_report_says_what_is_known_of_the_gate_and_where_it_stands(tmp_path: Path) -> None:
    """And says so where nothing is."""
    path = tmp_path / "faults.json"
    assert "is not known here" in faults.note(path)
    faults.write(TRIALS, 0.25, path)
    assert "1 of 2 seeded faults are caught" in faults.note(path)
    assert "faults.md" in faults.note(path)
