"""What a run is asked for: refused at once where it makes no sense, else blocks, calls and time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineError
from engine.gate.request import Request


def test_what_cannot_be_asked_is_refused_at_once() -> None:
    """Before any process starts, in one sentence that names the flag."""
    refused: list[tuple[dict[str, Any], str]] = [
        ({"against": "HEAD", "against_options": "reference"}, "--against with --against-options"),
        ({"limits_only": True, "against": "HEAD"}, "--limits with --against"),
        ({"limits_only": True, "against_options": "nfe=7"}, "--limits with --against-options"),
        ({"limits_only": True, "votes": (Path("votes.json"),)}, "--limits with --votes"),
        ({"limits_only": True, "record": True}, "--limits with --record"),
        ({"votes": (Path("votes.json"),), "quality": False}, "--votes with --no-quality"),
        ({"limits_only": True, "through": "http"}, "--limits with --through"),
        ({"record": True, "through": "http"}, "--record with --through"),
        ({"through": "smoke"}, "--through smoke"),
        ({"blocks": 0}, "--blocks 0"),
        ({"runs": 0}, "--runs 0"),
        ({"keep": 0}, "--keep 0"),
        ({"minutes": 0.0}, "--minutes 0"),
        ({"threshold": -0.1}, "--threshold"),
        ({"threshold": 20.0}, "--threshold 20"),
        ({"options": "warp=9"}, "warp=9"),
        ({"against_options": "nfe=0"}, "nfe=0"),
    ]
    for asked, named in refused:
        with pytest.raises(EngineError, match=named):
            Request(**asked)


def test_another_revision_may_know_other_toggles() -> None:
    """What is no toggle here may be one there; the arm itself tells."""
    assert Request(against="v1", options="warp=9").options == "warp=9"
    assert Request(candidate="topic", options="warp=9").options == "warp=9"


def test_quick_is_six_blocks_of_the_shortest_workload_and_the_default_ten_of_all() -> None:
    """The family of verdicts holds the workloads, the tails, the first call and loading."""
    quick, full = Request(quick=True).settings(), Request().settings()
    assert (quick.plan.blocks_max, quick.workloads, quick.plan.family) == (6, ("short",), 4)
    assert (full.plan.blocks_max, full.workloads, full.plan.family) == (10, ("short", "medium", "long"), 6)
    assert (full.rounds, full.twins) == (None, None)  # what the budget and memory hold
    assert Request(blocks=2, runs=5, seed=7).settings().seed == 7
    assert Request(blocks=2, runs=5).settings().rounds == 5


def test_limits_alone_are_three_processes_or_one_with_so_many_calls() -> None:
    """`--limits --runs 3` is half a minute: one process, three calls of each workload."""
    alone = Request(limits_only=True).settings(compared=False)
    short = Request(limits_only=True, runs=3).settings(compared=False)
    daily = Request(limits_only=True, runs=40, blocks=3).settings(compared=False)
    assert [each.plan.blocks_max for each in (alone, short, daily)] == [3, 1, 3]
    assert [each.rounds for each in (alone, short, daily)] == [None, 3, 40]


def test_the_budget_keeps_time_for_the_quality_pass() -> None:
    """15 minutes, or 3 if quick, are for both; a short budget is halved; without quality, or without a base,
    all of it is for speed."""
    expected: list[tuple[dict[str, Any], bool, float]] = [
        ({}, True, 9),
        ({"quick": True}, True, 2),
        ({"minutes": 4.0}, True, 2),
        ({"quality": False}, True, 14),
        ({"limits_only": True}, False, 14),
        ({"minutes": 40.0}, False, 40),
    ]
    for asked, compared, minutes in expected:
        assert Request(**asked).settings(compared=compared).budget_seconds == 60 * minutes
    assert Request(quick=True).seconds == 180


def test_a_seed_that_nobody_gives_comes_from_the_clock() -> None:
    """Runs differ in their order, and the record tells which it was."""
    assert Request().settings().seed > 10**12
