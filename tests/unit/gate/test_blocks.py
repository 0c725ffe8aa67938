"""Measuring on a made-up machine: blocks, looks, budget, settling, and what is refused."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import pytest

from engine.errors import UsageError
from engine.gate.data.machine_state import AfterBlock
from engine.gate.data.samples import ABBA, BAAB, Arm
from engine.gate.measure import blocks
from tests.unit.gate import builders
from tests.unit.gate.simulated import Fault, Machine, Made, measured, quiet, settings


def orders(seed: int) -> list[tuple[Arm, ...]]:
    """The arms of each block."""
    plan = dataclasses.replace(settings(blocks=6, calls=4, names=("short",)), seed=seed)
    found = measured(Fault(proof=(None, "")), plan).processes
    return [tuple(one.arm for one in found[start : start + 4]) for start in range(0, len(found), 4)]


def test_each_block_runs_abba_or_baab_and_both_come_equally_often() -> None:
    """Whatever slows the ends of a block falls on both arms."""
    found = orders(3)
    assert set(found) == {ABBA, BAAB}
    assert abs(found.count(ABBA) - found.count(BAAB)) <= 1


def test_the_seed_fixes_the_order() -> None:
    """A recorded seed repeats the run; another draws another order."""
    assert orders(3) == orders(3)
    assert len({tuple(orders(seed)) for seed in range(6)}) > 1


def test_it_stops_at_the_first_look_that_decides_everything() -> None:
    """Twice as slow needs no ten blocks."""
    found = measured(Fault(stages={"sampling": 2.0, "vocoder": 2.0}), settings(calls=20))
    assert len(found.processes) == 4 * settings().plan.looks[0]


def clock(seconds: float) -> tuple[Machine, blocks.Opener, list[float]]:
    """A machine whose every process takes so long, the time, and what opens a process."""
    machine, now = Machine(Fault(), 40), [0.0]

    @contextlib.contextmanager
    def open_worker(arm: Arm) -> Iterator[Made]:
        now[0] += seconds
        with machine.open(arm) as made:
            yield made

    return machine, open_worker, now


def test_the_budget_ends_it_between_blocks_and_says_what_more_would_buy() -> None:
    """No block begins that would end later than the budget."""
    plan = dataclasses.replace(settings(calls=4, names=("short",)), budget_seconds=900.0)
    _, open_worker, now = clock(60.0)
    found = blocks.measure(plan, open_worker, quiet, lambda said: None, lambda: now[0])
    assert len(found.processes) == 3 * 4
    assert now[0] <= 900
    assert "ended after 3 of 10 blocks" in found.notes[0]
    assert "all of them would take 40" in found.notes[0]


def test_one_block_is_measured_whatever_the_budget() -> None:
    """A verdict needs samples."""
    plan = dataclasses.replace(settings(calls=4, names=("short",)), budget_seconds=1.0)
    _, open_worker, now = clock(60.0)
    assert len(blocks.measure(plan, open_worker, quiet, lambda said: None, lambda: now[0]).processes) == 4


@pytest.mark.parametrize(("budget", "calls"), [(10.0, blocks.MIN_CALLS), (1e9, blocks.MAX_CALLS)])
def test_calls_are_chosen_by_the_budget_within_bounds(budget: float, calls: int) -> None:
    """One process of each arm settles first and counts for nothing."""
    said: list[str] = []
    plan = dataclasses.replace(settings(blocks=1), calls=None, budget_seconds=budget)
    _, open_worker, now = clock(20.0)
    found = blocks.measure(plan, open_worker, quiet, said.append, lambda: now[0])
    assert len(found.processes) == 4
    assert {len(one.warmup) + len(one.calls) for process in found.processes for one in process.series} == {
        calls
    }
    assert sum("does not count" in line for line in said) == 2


def test_few_calls_are_said_aloud() -> None:
    """A worst of fewer than 60 calls can miss a slow one."""
    assert any("fewer than 60" in note for note in measured(plan=settings(blocks=1, calls=4)).notes)
    assert not measured(plan=settings(blocks=4, calls=12)).notes


def test_an_arm_that_changes_during_the_run_is_refused() -> None:
    """Somebody edits the checkout while it is measured."""
    machine = Machine(Fault(), 40)

    @contextlib.contextmanager
    def open_worker(arm: Arm) -> Iterator[Made]:
        with machine.open(arm) as made:
            if machine.random.random() < 0.5:
                made.described = {**made.described, "options": {"nfe": 99}}
            yield made

    with pytest.raises(UsageError, match=r"options of the .* changed"):
        blocks.measure(settings(), open_worker, quiet, lambda said: None, lambda: 0.0)


def test_the_machine_is_looked_at_after_each_block_and_what_is_wrong_is_said_at_once() -> None:
    """Between blocks, when no process runs; whoever waits for the verdict hears of it while it lasts."""
    machine, running, said = Machine(Fault(), 40), [0], list[str]()

    @contextlib.contextmanager
    def open_worker(arm: Arm) -> Iterator[Made]:
        with machine.open(arm) as made:
            running[0] += 1
            yield made
            running[0] -= 1

    def watch(block: int) -> AfterBlock:
        assert running[0] == 0
        return AfterBlock(block=block, findings=(builders.HOT,) if block == 1 else ())

    plan = settings(blocks=3, calls=4, names=("short",))
    found = blocks.measure(plan, open_worker, watch, said.append, lambda: 0.0)
    assert [(after.block, after.fit) for after in found.after_blocks] == [(0, True), (1, False), (2, True)]
    (told,) = [line for line in said if "unfit" in line]
    assert told == f"unfit after block 2: {builders.HOT.sentence}"
    assert "Let it cool down" in told
