"""Measuring: blocks of four processes, base and candidate interleaved, with looks and a budget.

One settling process of each arm comes before anything counts.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.errors import UsageError
from engine.gate.data.machine_state import AfterBlock
from engine.gate.data.samples import ABBA, BAAB, Arm, Process, Series
from engine.gate.data.workloads import SENTENCES, Sentence
from engine.gate.measure import process as instrument
from engine.gate.measure.compare import decide
from engine.gate.measure.process import Instrument, Opener
from engine.gate.stats.calls import TAIL_CALLS
from engine.gate.stats.looks import Plan, draw_orders

MIN_CALLS, MAX_CALLS = 4, 20
"""Calls of one workload in one process. From `MAX_CALLS` on, tails are seen as surely as `calibrate` says."""
SETTLING_CALLS = 2
MARGIN = 0.9
"""Share of the budget that is planned for."""

Report = Callable[[str], None]
Watch = Callable[[int], AfterBlock]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to measure and how long.

    Attributes:
        plan: blocks and error rates.
        workloads: names of pinned sentences.
        budget_seconds: no block is begun that would end later.
        calls: of each workload in each process; if None, one settling process of each arm shows how many fit.
        seed: of the order of the arms.
    """

    plan: Plan
    workloads: tuple[str, ...]
    budget_seconds: float
    calls: int | None = None
    seed: int = 0

    @property
    def sentences(self) -> tuple[Sentence, ...]:
        """The sentences to speak, in their fixed order."""
        return tuple(sentence for sentence in SENTENCES if sentence.name in self.workloads)

    @property
    def blocks(self) -> list[tuple[Arm, ...]]:
        """The arms of every block in running order, as the seed draws them."""
        orders = draw_orders(self.plan.blocks_max, np.random.default_rng(self.seed))
        return [ABBA if base_first else BAAB for base_first in orders]


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured: complete blocks, the machine after each, what each arm said of itself, and what
    people should know."""

    processes: tuple[Process, ...]
    after_blocks: tuple[AfterBlock, ...]
    described: Mapping[Arm, Mapping[str, Any]]
    notes: tuple[str, ...]


def measure(
    settings: Settings,
    open_worker: Opener,
    watch: Watch,
    report: Report,
    clock: Callable[[], float] = time.monotonic,
) -> Measured:
    """Measure until every workload is decided at a look, or blocks or budget are used up.

    At least one block is measured, whatever the budget.

    Args:
        settings: what and how long.
        open_worker: starts a process of an arm.
        watch: looks at the machine when the block of that number has ended.
        report: is told what happens, one sentence at a time.
        clock: seconds; a seam for tests.

    Raises:
        UsageError: an arm is broken, or changed while it was being measured.
    """
    start, described = clock(), dict[Arm, Mapping[str, Any]]()
    calls = settings.calls
    if calls is None:
        calls = settle(settings, open_worker, report, clock, described)
    processes: list[Process] = []
    seen: list[AfterBlock] = []
    longest, stopped = 0.0, None
    for block, arms in enumerate(settings.blocks):
        begun = clock()
        stopped = why_stop(settings, processes, begun - start, longest)
        if stopped:
            break
        for position, arm in enumerate(arms):
            report(f"block {block + 1} of {len(settings.blocks)}, process {position + 1} of 4: {arm}")
            processes.append(_run(settings.sentences, calls, open_worker, (arm, block, position), described))
        seen.append(watch(block))
        for finding in seen[-1].having("unfit"):
            report(f"unfit after block {block + 1}: {finding.sentence}")
        longest = max(longest, clock() - begun)
    return Measured(tuple(processes), tuple(seen), described, notes(processes, stopped))


def why_stop(settings: Settings, processes: Sequence[Process], spent: float, longest: float) -> str | None:
    """Why no further block is measured: all is decided at a look, or the budget ends. None: go on.

    Args:
        settings: what and how long.
        processes: complete blocks.
        spent: seconds since the start.
        longest: seconds that the longest block took.
    """
    blocks, whole = len(processes) // 4, settings.plan.blocks_max
    if not blocks:
        return None
    if blocks in settings.plan.looks and decide(processes, settings.plan).finished:
        return f"Every workload was decided after {blocks} of {whole} blocks."
    if spent + longest > settings.budget_seconds:
        return (
            f"The {settings.budget_seconds / 60:.0f} minutes ended after {blocks} of {whole} blocks. "
            f"A block takes {longest / 60:.1f} minutes, so all of them would take {whole * longest / 60:.0f}."
        )
    return None


def notes(processes: Sequence[Process], stopped: str | None) -> tuple[str, ...]:
    """What people should know about a measurement: why it stopped, and whether tails rest on few calls."""
    counts = [
        sum(len(one.series[index].calls) for one in processes if one.arm == "candidate")
        for index in range(len(processes[0].series))
    ]
    few = f"Tails rest on {min(counts)} calls of a workload: fewer than {TAIL_CALLS} can miss a slow one."
    return tuple(filter(None, [stopped, few if min(counts) < TAIL_CALLS else None]))


def speak(handle: Instrument, sentences: Sequence[Sentence], calls: int) -> list[Series]:
    """Every sentence so many times, one sentence after the other, so that warm-up and growth can be seen."""
    compiled = handle.described["options"].get("compile", "off") != "off"
    return [
        instrument.series(sentence.name, [handle.call(sentence) for _ in range(calls)], compiled)
        for sentence in sentences
    ]


def _run(
    sentences: Sequence[Sentence],
    calls: int,
    open_worker: Opener,
    place: tuple[Arm, int, int],
    described: dict[Arm, Mapping[str, Any]],
) -> Process:
    """One process from start to end, at its place: arm, block, position."""
    with open_worker(place[0]) as handle:
        same_as_before(place[0], handle, described)
        spoken = speak(handle, sentences, calls)
        return instrument.process(*place, spoken, handle, handle.finish())


def same_as_before(arm: Arm, handle: Instrument, described: dict[Arm, Mapping[str, Any]]) -> None:
    """Remember what the arm said of itself at first, and hold its later processes to it.

    Raises:
        UsageError: options, weights or versions changed during the run.
    """
    said = {name: value for name, value in handle.described.items() if name != "load_seconds"}
    if described.setdefault(arm, said) != said:
        before = described[arm]
        changed = next(name for name in said if said[name] != before.get(name))
        raise UsageError(
            f"{changed} of the {arm} changed from {before.get(changed)} to {said[changed]} during the run",
            "code, weights and packages that stay as they are while they are measured",
            "Measure again, and leave the checkout alone",
        )


def settle(
    settings: Settings,
    open_worker: Opener,
    report: Report,
    clock: Callable[[], float],
    described: dict[Arm, Mapping[str, Any]],
) -> int:
    """One process of each arm that does not count: fills the caches of disk and compiler, and shows the pace.

    Returns:
        How many calls of each workload let all blocks fit into the budget, within sensible bounds.
    """
    begun, overhead, rounds = clock(), 0.0, 0.0
    arms: tuple[Arm, ...] = ("base", "candidate")
    for arm in arms:
        report(f"settling: one process of the {arm} that does not count")
        started = clock()
        process = _run(settings.sentences, SETTLING_CALLS, open_worker, (arm, 0, 0), described)
        steady = [one.calls[-1].seconds for one in process.series]
        spent = [call.seconds for one in process.series for call in (*one.warmup, *one.calls)]
        overhead += (clock() - started - sum(spent)) / len(arms)
        rounds += sum(steady) / len(arms)
    left = MARGIN * (settings.budget_seconds - (clock() - begun))
    room = left / (4 * settings.plan.blocks_max) - overhead
    return max(MIN_CALLS, min(MAX_CALLS, int(room / rounds)))
