"""Made-up machines for the measuring half of the gate: no clock, no model, and one switch for each fault.

`live_pairs` makes the blocks of many runs at once, for calibration; `Machine` makes processes that answer one
call at a time, for what measures them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine.gate.baselines.select import Selection
from engine.gate.data.machine_state import AfterBlock, Preflight
from engine.gate.data.samples import Arm, Call, Run, Work
from engine.gate.data.workloads import Sentence, pinned
from engine.gate.measure import blocks as measure
from engine.gate.measure.blocks import Measured, Settings
from engine.gate.measure.process import Reference, Target
from engine.gate.stats.calls import Floats
from engine.gate.stats.looks import Plan
from tests.unit.gate import builders

TARGET = Target(Path(), "0123456789ab", False, "reference")
PROVEN: tuple[bool | None, str] = (True, "7 evaluations a piece")


def live_pairs(
    generator: np.random.Generator,
    runs: int,
    blocks: int,
    *,
    rounds: int = 8,
    noise: float = 0.02,
    call_noise: float = 0.03,
    change: float = 0.0,
    pace: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Blocks of two processes of each arm: log-ratios [runs, blocks] and twin differences [runs, blocks, 2].

    Args:
        generator: of all that is random.
        runs: how many runs.
        blocks: of each run.
        rounds: calls of each process.
        noise: CV of processes.
        call_noise: CV of calls within a process.
        change: how much slower the candidate is; 0.2 is 20 %.
        pace: log of the machine's slowness at each call of a run, [runs, blocks * rounds * 4] in the order in
            which they are spoken; a steady machine if not given.
    """
    shape = (runs, blocks, rounds, 4)  # the processes: base, base, candidate, candidate
    logs = noise * generator.standard_normal((runs, blocks, 1, 4))
    logs = logs + call_noise * generator.standard_normal(shape)
    if pace is not None:
        places = generator.permuted(np.broadcast_to(np.arange(4), shape), axis=-1)
        logs += np.take_along_axis(pace.reshape(shape), places, axis=-1)
    logs[..., 2:] += np.log1p(change)
    ratios = np.median(logs[..., 2:].mean(axis=-1) - logs[..., :2].mean(axis=-1), axis=-1)
    twins = np.median(logs[..., ::2] - logs[..., 1::2], axis=-2)
    return ratios, twins


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is wrong with the candidate; by default nothing.

    Attributes:
        stages: factor on the time of a stage.
        every: each so many calls one takes 50 % longer; 0: none.
        leak: MiB a call.
        cold: factor on the first calls of each workload in each process, for `cold_calls` calls.
        audio: factor on the length of the audio.
        proof: what a toggle's evidence says.
        share: of a healthy call's time that is sampling; the rest is the vocoder.
        throttled_from: share of the run's processes after which the machine is 28 % slower, for both arms.
        weights: the digest of the weights.
        work: factor on all that is counted.
        start: factor on the time of loading, and of the first call on top of a healthy one's.
    """

    stages: Mapping[str, float] = dataclasses.field(default_factory=dict)
    every: int = 0
    leak: float = 0.0
    cold: float = 1.0
    cold_calls: int = 0
    audio: float = 1.0
    proof: tuple[bool | None, str] = PROVEN
    share: float = 0.9
    throttled_from: float = 2.0
    weights: str = builders.WEIGHTS
    work: int = 1
    start: float = 1.0


NONE = Fault()


class Made:
    """One made-up process, with a record of what it was asked."""

    def __init__(self, machine: Machine, arm: Arm, fault: Fault) -> None:
        self._machine, self._fault = machine, fault
        self.arm, self.asked = arm, list[tuple[str, int]]()
        self._pace = machine.next_pace()
        self._memory, self._first, self._load = 500.0, 0.0, 3.0 * fault.start * machine.next_pace()
        machine.spent += self._load
        self.described: dict[str, Any] = {
            "options": {"nfe": 7} if arm == "candidate" else {},
            "weights": fault.weights,
            "trained": True,
            "versions": {"torch": "2.13.0"},
            "threads": 4,
            "device_total_mb": None,
            "load_seconds": self._load,
        }

    def call(self, sentence: Sentence, voice: Reference | None = None, seed: int | None = None) -> Call:
        """A call whose time follows from the length of the text, and whose output from text and seed."""
        fault, machine = self._fault, self._machine
        own = sentence.seed if seed is None else seed
        spoken_before = sum(name == sentence.name for name, _ in self.asked)
        self.asked.append((sentence.name, own))
        machine.order.append(self)
        self._memory += fault.leak
        factor = self._pace * machine.pace() * machine.jitter()
        if fault.every and machine.counted() % fault.every == 0:
            factor *= 1.5
        if spoken_before < fault.cold_calls:
            factor *= fault.cold
        healthy = {"sampling": fault.share, "vocoder": 1 - fault.share}
        slowed = {name: share * fault.stages.get(name, 1.0) for name, share in healthy.items()}
        audio = len(sentence.text) / 15
        stages = {name: 0.2 * audio * share * factor for name, share in slowed.items()}
        self._first = self._first or sum(stages.values()) * fault.start
        machine.spent += sum(stages.values())
        return Call(
            seconds=sum(stages.values()),
            audio_seconds=audio * fault.audio,
            stages=stages,
            host_mb=self._memory + 0.02 * float(machine.random.standard_normal()),
            output=hashlib.sha256(f"{sentence.text} {own}".encode()).hexdigest(),
            seed=own,
            place=0,
        )

    def count(self, sentence: Sentence) -> Work:
        """Work that follows from the length of the text."""
        work, length = self._fault.work, len(sentence.text)
        return Work(
            operators=1000 * work,
            flops=10**7 * length * work,
            allocated_bytes=10**5 * length * work,
            evaluations=7 * work,
            rows=14 * work,
        )

    def finish(self) -> Mapping[str, Any]:
        """What it observed."""
        return {
            "evidence": {"nfe": self._fault.proof},
            "first_call_seconds": self._first,
            "peak_host_mb": 600.0,
            "peak_device_mb": None,
        }


class Machine:
    """A machine with noise between processes and between calls, and all that spoke on it in `order`."""

    def __init__(
        self, fault: Fault, processes: int, noise: float = 0.02, seed: int = 0, jitter: float = 0.01
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.order: list[Made] = []
        self.alive = 0
        self.spent = 0.0
        self._fault, self._processes, self._noise, self._jitter = fault, processes, noise, jitter
        self._started, self._calls = 0, 0

    def next_pace(self) -> float:
        """The pace of the next process."""
        return float(np.exp(self._noise * self.random.standard_normal()))

    def pace(self) -> float:
        """How slow the machine is by now, for everybody."""
        return 1.28 if self._started > self._fault.throttled_from * self._processes else 1.0

    def jitter(self) -> float:
        """The noise of one call."""
        return float(np.exp(self._jitter * self.random.standard_normal()))

    def counted(self) -> int:
        """The number of a call of the candidate."""
        self._calls += 1
        return self._calls

    @contextlib.contextmanager
    def open(self, arm: Arm) -> Iterator[Made]:
        """A process of one arm. Throttling and warm-up hit both; every other fault the candidate alone."""
        fault = self._fault
        shared = Fault(
            share=fault.share,
            throttled_from=fault.throttled_from,
            cold=fault.cold,
            cold_calls=fault.cold_calls,
        )
        self._started += 1
        self.alive += 1
        try:
            yield Made(self, arm, fault if arm == "candidate" else shared)
        finally:
            self.alive -= 1


def settings(
    blocks: int = 10,
    rounds: int | None = 12,
    names: tuple[str, ...] = ("short", "medium", "long"),
    budget: float = 36_000.0,
    twins: Literal[1, 2] | None = 2,
) -> Settings:
    """A plan over the given workloads."""
    return Settings(
        Plan(blocks_max=blocks, family=len(names) + 3), names, budget, rounds, seed=1, twins=twins
    )


def quiet(block: int) -> AfterBlock:
    """A machine on which nothing is wrong when a block has ended."""
    return AfterBlock(block=block, findings=())


def measured(
    fault: Fault = NONE,
    plan: Settings | None = None,
    watch: measure.Watch = quiet,
    seed: int = 0,
    noise: float = 0.02,
) -> Measured:
    """What the gate measures on a machine with the fault, by a clock that its calls and loading move."""
    plan = plan or settings()
    machine = Machine(fault, 2 + 4 * plan.plan.blocks_max, noise, seed)
    return measure.measure(plan, machine.open, watch, lambda sentence: None, clock=lambda: machine.spent)


def assembled(
    result: Measured, folder: Path, plan: Settings | None = None, fitness: Preflight = builders.FIT
) -> Run:
    """The record of it, not yet judged."""
    names = (plan or settings()).workloads
    sides = {
        arm: builders.side(
            pinned(builders.CLIP, described["weights"], names),
            options=described["options"],
            trained=described["trained"],
            threads=described["threads"],
            revision="ba" * 6 if arm == "base" else "0123456789ab",
        )
        for arm, described in result.described.items()
    }
    return Run(
        timestamp=datetime.datetime(2026, 5, 1, tzinfo=datetime.timezone.utc),
        machine_key=builders.KEY,
        machine=builders.MACHINE,
        preflight=fitness,
        after_blocks=result.after_blocks,
        plan=result.plan,
        questions=("change",) if "base" in sides else ("limits",),
        candidate=sides["candidate"],
        base=sides.get("base"),
        processes=result.processes,
        work={arm: dict(work) for arm, work in result.work.items()},
    )


def judged(run: Run, selection: Selection | None = None, **changes: Any) -> Run:
    """The same run with its verdict."""
    from engine.gate.verdict import judge

    verdict = judge.judge(run, selection or builders.selection(), **changes)
    return run.model_copy(update={"verdict": verdict})
