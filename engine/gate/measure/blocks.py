"""Measuring: blocks of live pairs, whose processes are alive together and speak in turn.

One process of each arm comes before anything counts: it shows what a block costs, and counts the work.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.errors import UsageError
from engine.gate.data.machine_state import AfterBlock
from engine.gate.data.samples import ARMS, Arm, Call, Process, Series, Work, in_blocks
from engine.gate.data.workloads import Sentence
from engine.gate.measure import memory
from engine.gate.measure import process as instrument
from engine.gate.measure.compare import decide
from engine.gate.measure.design import Design, Price, design
from engine.gate.measure.design import Settings as Settings
from engine.gate.measure.process import Instrument, Opener
from engine.gate.stats.calls import TAIL_CALLS
from engine.gate.stats.looks import Plan

SETTLING_CALLS = 3
ROUNDS_ALONE = 10

Report = Callable[[str], None]
Watch = Callable[[int], AfterBlock]
Described = dict[Arm, Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured: complete blocks, the machine after each, what each arm said of itself and what its
    texts cost, the plan as it was cut to the budget, and what people should know."""

    processes: tuple[Process, ...]
    after_blocks: tuple[AfterBlock, ...]
    described: Mapping[Arm, Mapping[str, Any]]
    work: Mapping[Arm, Mapping[str, Work]]
    plan: Plan
    notes: tuple[str, ...]


def measure(
    settings: Settings,
    open_worker: Opener,
    watch: Watch,
    report: Report,
    clock: Callable[[], float] = time.monotonic,
    available_mb: Callable[[], float | None] = memory.available_mb,
) -> Measured:
    """Measure base and candidate until everything is decided at a look, or the plan or the clock ends.

    At least one block is measured, whatever the budget.

    Args:
        settings: what and how long.
        open_worker: starts a process of an arm.
        watch: looks at the machine when the block of that number has ended.
        report: is told what happens, one sentence at a time.
        clock: seconds; a seam for tests.
        available_mb: host memory that is free, MiB; a seam for tests.

    Raises:
        UsageError: an arm is broken, or changed while it was being measured.
    """
    start, described, generator = clock(), Described(), np.random.default_rng(settings.seed)
    report("settling: one process of each arm that does not count")
    free = available_mb()
    price, work = settle(settings, open_worker, described, generator, clock)
    layout = design(settings, price, free, clock() - start)
    for note in layout.notes:
        report(note)
    processes: list[Process] = []
    seen: list[AfterBlock] = []
    longest, stopped = 0.0, None
    for block in range(layout.plan.blocks_max):
        begun = clock()
        stopped = why_stop(settings, layout.plan, processes, begun - start, longest)
        if stopped:
            break
        report(f"block {block + 1} of {layout.plan.blocks_max}: {len(ARMS) * layout.twins} processes in turn")
        processes += run_block(settings, layout, block, open_worker, described, generator)
        seen.append(_looked_at(watch, block, report))
        longest = max(longest, clock() - begun)
    said = (*layout.notes, *notes(processes, stopped))
    return Measured(tuple(processes), tuple(seen), described, work, layout.plan, said)


def measure_alone(
    settings: Settings,
    open_worker: Opener,
    watch: Watch,
    report: Report,
    clock: Callable[[], float] = time.monotonic,
) -> Measured:
    """Measure the candidate alone: one process a block, as many as the plan has or the budget holds.

    At least one process is measured, whatever the budget.

    Raises:
        UsageError: the candidate is broken, or changed while it was being measured.
    """
    start, described, longest, stopped = clock(), Described(), 0.0, None
    rounds = ROUNDS_ALONE if settings.rounds is None else settings.rounds
    processes: list[Process] = []
    seen: list[AfterBlock] = []
    work: dict[str, Work] = {}
    for block in range(settings.plan.blocks_max):
        begun = clock()
        if begun - start + longest > settings.budget_seconds:
            stopped = _clock_ended(settings, block, settings.plan.blocks_max, longest)
            break
        report(f"process {block + 1} of {settings.plan.blocks_max}")
        with open_worker("candidate") as handle:
            same_as_before("candidate", handle, described)
            spoken = speak_all([handle], settings, rounds, np.random.default_rng(settings.seed))
            if not work:
                work = {sentence.name: handle.count(sentence) for sentence in settings.sentences}
            processes.append(instrument.process("candidate", block, 0, spoken[0], handle, handle.finish()))
        seen.append(_looked_at(watch, block, report))
        longest = max(longest, clock() - begun)
    plan = dataclasses.replace(settings.plan, blocks_max=len(processes))
    said = notes(processes, stopped)
    return Measured(tuple(processes), tuple(seen), described, {"candidate": work}, plan, said)


def run_block(
    settings: Settings,
    layout: Design,
    block: int,
    open_worker: Opener,
    described: Described,
    generator: np.random.Generator,
) -> tuple[Process, ...]:
    """One block from start to end: its processes load, speak in turn, and end together."""
    with contextlib.ExitStack() as stack:
        live = [
            member
            for twin in range(layout.twins)
            for member in start_pair(stack, open_worker, twin, described, generator)
        ]
        spoken = speak_all([handle for _, _, handle in live], settings, layout.rounds, generator)
        return tuple(
            instrument.process(arm, block, twin, series, handle, handle.finish())
            for (arm, twin, handle), series in zip(live, spoken, strict=True)
        )


def start_pair(
    stack: contextlib.ExitStack,
    open_worker: Opener,
    twin: int,
    described: Described,
    generator: np.random.Generator,
) -> list[tuple[Arm, int, Instrument]]:
    """A process of each arm, loading at the same time and begun in random order, so that loading is paired
    too.

    On two cores two pairs, one after the other, load as soon as four processes at once (2.6 s) and disturb
    each other less: 1.2 s each, as alone, where four at once take 2.6 s each.
    """
    arms = [ARMS[index] for index in generator.permutation(len(ARMS))]
    pair = [(arm, twin, stack.enter_context(open_worker(arm))) for arm in arms]
    for arm, _, handle in pair:
        same_as_before(arm, handle, described)
    return sorted(pair, key=lambda member: member[0])


def speak_all(
    handles: Sequence[Instrument], settings: Settings, rounds: int, generator: np.random.Generator
) -> list[list[Series]]:
    """Every sentence so many rounds, one sentence after the other; for each process its series."""
    warmup = settings.warmup_calls
    spoken: list[list[Series]] = [[] for _ in handles]
    for sentence in settings.sentences:
        calls = speak(handles, sentence, warmup + rounds, generator)
        for series, own in zip(spoken, calls, strict=True):
            parts = {"warmup": tuple(own[:warmup]), "calls": tuple(own[warmup:])}
            series.append(Series(workload=sentence.name, **parts))
    return spoken


def speak(
    handles: Sequence[Instrument], sentence: Sentence, rounds: int, generator: np.random.Generator
) -> list[list[Call]]:
    """For each process its calls. In a round all say the sentence with one seed, in random order; every round
    has its own seed, so that no call repeats another."""
    spoken: list[list[Call]] = [[] for _ in handles]
    for index in range(rounds):
        for place, which in enumerate(generator.permutation(len(handles))):
            call = handles[which].call(sentence, seed=sentence.seed + index)
            spoken[which].append(call.model_copy(update={"place": place}))
    return spoken


def settle(
    settings: Settings,
    open_worker: Opener,
    described: Described,
    generator: np.random.Generator,
    clock: Callable[[], float],
) -> tuple[Price, dict[Arm, dict[str, Work]]]:
    """One process of each arm that does not count: it fills the caches of disk and compiler.

    Returns:
        What a block will cost, and the work of each text. Counting comes last, and nothing is timed in these
        processes afterwards: compiled code steps aside while it is counted.
    """
    begun = clock()
    with contextlib.ExitStack() as stack:
        pair = start_pair(stack, open_worker, 0, described, generator)
        loaded = clock() - begun
        handles = [handle for _, _, handle in pair]
        round_seconds = sum(
            float(np.median([call.seconds for call in calls[1:]]))
            for sentence in settings.sentences
            for calls in speak(handles, sentence, SETTLING_CALLS, generator)
        )
        work = {
            arm: {sentence.name: handle.count(sentence) for sentence in settings.sentences}
            for arm, _, handle in pair
        }
        ends = [handle.finish() for handle in handles]
    return Price(
        load_seconds=loaded,
        round_seconds=round_seconds,
        host_peaks_mb=tuple(end["peak_host_mb"] for end in ends),
        device_peaks_mb=tuple(end["peak_device_mb"] for end in ends),
        device_mb=next(iter(described.values())).get("device_total_mb"),
    ), work


def same_as_before(arm: Arm, handle: Instrument, described: Described) -> None:
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


def why_stop(
    settings: Settings, plan: Plan, processes: Sequence[Process], spent: float, longest: float
) -> str | None:
    """Why no further block is measured: all is decided at a look, or the budget ends. None: go on.

    Args:
        settings: what and how long.
        plan: as cut to the budget.
        processes: of complete blocks.
        spent: seconds since the start.
        longest: seconds that the longest block took.
    """
    blocks = len(in_blocks(processes))
    if not blocks:
        return None
    if blocks in plan.looks and decide(processes, plan).finished:
        return f"Everything was decided after {blocks} of {plan.blocks_max} blocks."
    if spent + longest > settings.budget_seconds:
        return _clock_ended(settings, blocks, plan.blocks_max, longest)
    return None


def notes(processes: Sequence[Process], stopped: str | None) -> tuple[str, ...]:
    """What people should know about a measurement: why it stopped, and whether tails rest on few calls."""
    counts = [
        sum(len(process.series[index].calls) for process in processes if process.arm == "candidate")
        for index in range(len(processes[0].series))
    ]
    few = f"Tails rest on {min(counts)} calls of a workload: fewer than {TAIL_CALLS} can miss a slow one."
    return tuple(filter(None, [stopped, few if min(counts) < TAIL_CALLS else None]))


def _looked_at(watch: Watch, block: int, report: Report) -> AfterBlock:
    """The machine after a block; what is wrong with it is said at once."""
    after = watch(block)
    for finding in after.having("unfit"):
        report(f"unfit after block {block + 1}: {finding.sentence}")
    return after


def _clock_ended(settings: Settings, blocks: int, whole: int, longest: float) -> str:
    return (
        f"The {settings.budget_seconds / 60:.0f} minutes ended after {blocks} of {whole} blocks. "
        f"A block takes {longest:.0f} s, so all of them would take {whole * longest / 60:.0f} minutes."
    )
