"""Records that a report leans on are named, and refused when they are not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import BaselineError
from engine.gate.machine import describe
from tests.studies import committed


def test_a_record_says_when_where_and_on_what(tmp_path: Path) -> None:
    """So that a reader knows what the figure is of."""
    content = {
        "timestamp": "2026-01-02T03:04:05+00:00",
        "machine": "some-machine",
        "revision": "0123456789abcdef",
        "checkpoint": "box",
    }
    (tmp_path / "some.json").write_text(json.dumps(content))
    found = committed.read("some", tmp_path)
    assert found["checkpoint"] == "box"
    assert found.said.endswith(
        "some.json`: box, measured 2026-01-02 03:04 UTC, on some-machine, at 0123456789"
    )


def test_a_record_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Missing, cut off, or something else: never an empty report."""
    for content in (
        None,
        "{",
        "[]",
    ):
        if content is not None:
            (tmp_path / "some.json").write_text(content)
        with pytest.raises(BaselineError, match=r"some\.json"):
            committed.read("some", tmp_path)


def test_the_projects_own_records_can_be_read() -> None:
    """Without a folder they are those of this checkout."""
    assert committed.read("calibration")["targets"] > 0


def test_a_record_says_when_where_and_on_what_it_was_measured() -> None:
    """And its line for people keeps the mark of a checkout with changes."""
    begins = committed.provenance(3, "box")
    assert (begins["schema_version"], begins["checkpoint"]) == (3, "box")
    assert begins["machine"] == describe().key
    said = committed._said(Path("baselines/x.json"), {**begins, "revision": "0123456789abcdef+"})
    assert said.endswith(f"on {describe().key}, at 0123456789+")
