"""The study of live pairs on a made-up machine: both ways take turns, and what is written can be replayed."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest

from engine.errors import BaselineError
from engine.gate.measure.compare import centre_pairs, load_pairs
from tests.studies import live_pairs, recordings
from tests.studies.live_pairs import LIVE, SEQUENTIAL
from tests.studies.recordings import Recording
from tests.unit.gate import builders, simulated
from tests.unit.gate.simulated import Fault, Machine

SETTINGS = simulated.settings(rounds=4, names=("short", "medium"), budget=40.0)


def recording(blocks: int = 3, noise: float = 0.03) -> Recording:
    """Made-up blocks of identical code."""
    return Recording(
        recorded_at=builders.run().timestamp,
        machine=builders.MACHINE,
        burden="nothing",
        revision="0" * 12,
        checkpoint="box",
        options="fast_cpu",
        threads=2,
        blocks=recordings.blocks_of(builders.processes(blocks=blocks, noise=noise)),
    )


def test_both_ways_take_turns_and_see_the_same_difference() -> None:
    """Three times slower, without noise: both say so in every block, and their twins agree."""
    slow = Fault(stages={"sampling": 3.0, "vocoder": 3.0})
    machine = Machine(slow, 10_000, noise=0.0, jitter=0.0)
    clock = itertools.count()
    blocks, processes, described = live_pairs.session(SETTINGS, machine.open, lambda: float(next(clock)))
    assert {method: len(rows) for method, rows in blocks.items()} == {LIVE: 8, SEQUENTIAL: 7}
    assert len(processes) == 4 * len(blocks[LIVE])
    assert described["base"]["threads"] == 4
    for rows in blocks.values():
        for row in rows:
            assert row["ratios"] == pytest.approx(dict.fromkeys(("short", "medium"), math.log(3)))
            assert all(twins == pytest.approx([0.0, 0.0]) for twins in row["twins"].values())


def test_one_after_the_other_is_base_candidate_candidate_base_or_the_reverse() -> None:
    """Each process alone, in both orders as the seed draws them."""
    generator, seen = np.random.default_rng(0), set()
    for _ in range(12):
        machine = Machine(Fault(), 100)
        live_pairs.sequential_values(SETTINGS, machine.open, {}, generator)
        seen.add(
            tuple(dict.fromkeys(machine.order)[made] or made.arm for made in dict.fromkeys(machine.order))
        )
    assert seen == {
        ("base", "candidate", "candidate", "base"),
        ("candidate", "base", "base", "candidate"),
    }


def test_a_summary_is_mean_spread_twins_and_what_a_minute_buys() -> None:
    """Worked out by hand for two blocks of 15 s."""
    blocks = [
        {"ratios": {"short": 0.1}, "twins": {"short": [0.1, -0.1]}, "seconds": 10.0},
        {"ratios": {"short": 0.3}, "twins": {"short": [0.1, 0.1]}, "seconds": 20.0},
    ]
    found = live_pairs.summary(blocks)
    row = found["workloads"]["short"]
    assert found["seconds_a_block"] == 15
    assert row["mean"] == pytest.approx(0.2)
    assert row["sd"] == pytest.approx(0.2 / math.sqrt(2))
    assert row["twins"] == pytest.approx(0.1 / math.sqrt(2))
    assert row["sd_of_a_minute"] == pytest.approx(row["sd"] / 2)


def test_sessions_stand_beside_each_other_and_one_of_the_same_name_replaces_the_older(tmp_path: Path) -> None:
    """The quiet one stays when the burdened one comes."""
    path = tmp_path / "live_pairs.json"
    for name, slow in (("quiet", 1), ("burdened", 1), ("quiet", 2)):
        live_pairs.save(path, name, {"slow": slow})
    sessions = json.loads(path.read_text())["sessions"]
    assert sessions == {"quiet": {"slow": 2}, "burdened": {"slow": 1}}


def test_a_session_is_told_with_the_share_of_the_spread() -> None:
    """Half the spread at equal time."""
    row = {"mean": 0.01, "sd": 0.02, "twins": 0.02}
    methods = {
        method: {
            "seconds_a_block": 30.0,
            "blocks": [{}],
            "workloads": {"short": row | {"sd_of_a_minute": spread}},
        }
        for method, spread in ((LIVE, 0.01), (SEQUENTIAL, 0.02))
    }
    lines = live_pairs.said(
        "quiet", {"checkpoint": "box", "options": "fast_cpu", "slow": 1, "methods": methods}
    )
    assert lines[-1] == "  short: at equal time, live pairs spread 0.50 times as far"
    assert lines[1].startswith("  live pairs: 1 blocks of 30 s; short: mean +1.00%")


def test_the_seeded_slow_down_is_in_the_candidate_alone_and_runs() -> None:
    """Both arms are copies of this checkout; the appended code is Python that takes hold."""
    with live_pairs._targets("reference", 1.05) as targets:
        base, candidate = (
            (targets[arm].root / "engine" / "synthesis.py").read_text() for arm in ("base", "candidate")
        )
    assert candidate == base + live_pairs.SLOWED.format(slow=1.05)
    compile(candidate, "synthesis.py", "exec")
    calls: list[str] = []
    namespace = {"Engine": type("Engine", (), {"synthesize": lambda self, text: calls.append(text) or text})}
    exec(live_pairs.SLOWED.format(slow=1.0), namespace)
    assert namespace["Engine"]().synthesize("hello") == "hello"
    assert calls == ["hello"]


def test_the_burden_ends_with_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program that keeps a core busy is started and ended here, whatever happens."""
    programs: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, command: list[str]) -> None:
            super().__init__(command)
            programs.append(self)

    monkeypatch.setattr(live_pairs.subprocess, "Popen", Noted)
    with pytest.raises(KeyboardInterrupt), live_pairs.burdened(burden=True):
        raise KeyboardInterrupt
    assert [program.returncode for program in programs] == [-9]
    with live_pairs.burdened(burden=False):
        assert len(programs) == 1


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    """To the last digit that it keeps."""
    made = recording()
    recordings.write(made, tmp_path / "quiet.json")
    assert recordings.read(tmp_path / "quiet.json") == made
    for text in ("", "{}", '{"schema_version": 2}'):
        (tmp_path / "broken.json").write_text(text)
        with pytest.raises(BaselineError, match=r"broken\.json"):
            recordings.read(tmp_path / "broken.json")


def test_a_recording_gives_back_the_pairs_that_were_measured() -> None:
    """Ratios and twins to five digits of the times, for calls, first calls and loading."""
    measured = builders.processes(blocks=3, noise=0.03)
    replayed = recording().processes()
    assert recording().workloads == ("short", "medium")
    assert recording().logs("short").shape == (3, 4, 6)
    for name in recording().workloads:
        before, after = centre_pairs(measured, name), centre_pairs(replayed, name)
        assert after.ratios == pytest.approx(before.ratios, abs=2e-4)
        assert after.twins == pytest.approx(before.twins, abs=2e-4)
    loads = load_pairs(replayed)
    assert loads is not None
    assert loads.ratios == pytest.approx([0.0] * 3)


def test_a_recording_of_unequal_blocks_is_refused() -> None:
    """Blocks are exchangeable only if they are alike."""
    whole = recording()
    shorter = recordings.blocks_of(builders.processes(blocks=1, calls=3))
    with pytest.raises(ValueError, match="unequal"):
        Recording(**{**dict(whole), "blocks": (*whole.blocks, *shorter)})
