"""Live pairs for real: four worker processes of the tiny model. Structure only; no test depends on pace."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import pytest

from engine import checkpoint
from engine.gate.data.machine_state import AfterBlock
from engine.gate.data.plan import Plan
from engine.gate.data.samples import ARMS, Arm, in_blocks
from engine.gate.measure import blocks, process
from engine.gate.measure.blocks import Measured, Settings
from engine.gate.measure.process import Material, Target

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = Settings(Plan(blocks_max=1, family=5), ("short", "medium"), 600.0, rounds=2, warmup=1)


def measured(
    folder: Path, options: dict[Arm, str], twins: Literal[1, 2] = 2, through: str | None = None
) -> Measured:
    """One block of this checkout in both arms."""
    voice = next(iter(checkpoint.find(folder).references.values()))
    material = Material("seeded-tiny", str(folder), Path(str(voice.audio)), voice.text, through=through)
    targets = {arm: Target(ROOT, "0123456789ab", True, words) for arm, words in options.items()}
    with process.opener(targets, material) as open_worker:
        return blocks.measure(
            dataclasses.replace(SETTINGS, twins=twins),
            open_worker,
            lambda block: AfterBlock(block=block, findings=()),
            lambda sentence: None,
        )


def test_four_processes_say_the_same_in_turn_and_cost_the_same(tiny_folder: Path) -> None:
    """Unchanged code: in every round equal bytes from all four, other bytes in the next round, and work that
    is equal to the last operator."""
    found = measured(tiny_folder, dict.fromkeys(ARMS, "nfe=2"))
    block = in_blocks(found.processes)[0]
    assert [(each.arm, each.twin) for each in block] == [(arm, twin) for arm in ARMS for twin in (0, 1)]
    for index in range(2):
        rows = [(*each.series[index].warmup, *each.series[index].calls) for each in block]
        rounds = list(zip(*rows, strict=True))
        outputs = [{call.output for call in calls} for calls in rounds]
        assert [len(each) for each in outputs] == [1, 1, 1]
        assert len(set.union(*outputs)) == 3
        assert all(sorted(call.place for call in calls) == [0, 1, 2, 3] for calls in rounds)
    assert found.work["base"] == found.work["candidate"]
    short, medium = (found.work["base"][name] for name in ("short", "medium"))
    assert (short.evaluations, short.rows) == (2, 4)
    assert 0 < short.operators <= medium.operators
    assert 0 < short.flops < medium.flops
    assert 0 < short.allocated_bytes < medium.allocated_bytes
    assert {each.peak_device_mb for each in block} == {None}
    assert all(each.first_call_seconds > 0 and each.load_seconds > 0 for each in block)
    assert found.described["base"]["threads"] == found.described["candidate"]["threads"] >= 1


def test_more_work_is_counted_where_more_is_done(tiny_folder: Path) -> None:
    """Twice the evaluations: twice the rows, and nearly twice of everything else; the pairs stay pairs."""
    found = measured(tiny_folder, {"base": "nfe=2", "candidate": "nfe=4"}, twins=1)
    base, candidate = (found.work[arm]["short"] for arm in ARMS)
    assert (candidate.evaluations, candidate.rows) == (2 * base.evaluations, 2 * base.rows)
    for count in ("operators", "flops", "allocated_bytes"):
        assert 1.2 < getattr(candidate, count) / getattr(base, count) <= 2
    assert all(each.evidence["nfe"].proven for each in found.processes)


def test_through_http_the_same_is_said_and_the_service_is_a_stage_of_its_own(tiny_folder: Path) -> None:
    """Each process asks the service of its own checkout: same length, work and evidence as `synthesize`,
    samples of 16 bits, and the time beside the engine's told apart."""
    pytest.importorskip("uvicorn", reason="needs the extra [serve]")
    options: dict[Arm, str] = dict.fromkeys(ARMS, "nfe=2")
    direct = measured(tiny_folder, options, twins=1)
    served = measured(tiny_folder, options, twins=1, through="http")
    assert served.work == direct.work
    base, candidate = served.processes
    for plain, one, other in zip(direct.processes[0].series, base.series, candidate.series, strict=True):
        for pair in zip(one.calls, other.calls, strict=True):
            assert pair[0].output == pair[1].output
            assert set(pair[0].stages) == {*plain.calls[0].stages, "service"}
        seconds = {call.seed: call.audio_seconds for call in plain.calls}
        for call in one.calls:
            assert call.audio_seconds == seconds.get(call.seed, call.audio_seconds)
    assert base.evidence["nfe"].proven
