"""Made-up processes for the measuring half of the gate: no clock, no model, and one switch for each fault."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.gate import run
from engine.gate.baselines.select import Selection
from engine.gate.data.machine_state import AfterBlock, Preflight
from engine.gate.data.samples import Arm, Call, Run
from engine.gate.data.workloads import Sentence
from engine.gate.measure import blocks as measure
from engine.gate.measure.blocks import Measured, Settings
from engine.gate.measure.process import Material, Reference, Target
from engine.gate.stats.looks import Plan
from engine.gate.verdict import judge
from tests.unit.gate import builders

TARGET = Target(Path(), "0123456789ab", False, "reference")
PROVEN: tuple[bool | None, str] = (True, "7 evaluations a piece")


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is wrong with the candidate; by default nothing.

    Attributes:
        stages: factor on the time of a stage.
        every: each so many calls one takes 50 % longer; 0: none.
        leak: MB a call.
        cold: factor on the first calls of each process, for `cold_calls` calls.
        audio: factor on the length of the audio.
        proof: what a toggle's evidence says.
        share: of a healthy call's time that is sampling; the rest is the vocoder.
        throttled_from: share of the run's processes after which the machine is 28 % slower, for both arms.
        weights: the digest of the weights.
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


NONE = Fault()


class Made:
    """One made-up process."""

    def __init__(self, machine: Machine, arm: Arm, fault: Fault) -> None:
        self._machine, self._fault, self._count = machine, fault, 0
        self._pace = machine.next_pace()
        self._memory = 500.0
        self.described: dict[str, Any] = {
            "options": {"nfe": 7} if arm == "candidate" else {},
            "weights": fault.weights,
            "trained": True,
            "versions": {"torch": "2.13.0"},
            "load_seconds": 3.0,
        }

    def call(self, sentence: Sentence, voice: Reference | None = None) -> Call:
        """A call whose time follows from the length of the text."""
        fault, machine = self._fault, self._machine
        self._count += 1
        self._memory += fault.leak
        factor = self._pace * machine.jitter()
        if fault.every and machine.counted() % fault.every == 0:
            factor *= 1.5
        if self._count <= fault.cold_calls:
            factor *= fault.cold
        healthy = {"sampling": fault.share, "vocoder": 1 - fault.share}
        own = {name: share * fault.stages.get(name, 1.0) for name, share in healthy.items()}
        audio = len(sentence.text) / 15
        stages = {name: 0.2 * audio * share * factor for name, share in own.items()}
        return Call(
            seconds=sum(stages.values()),
            audio_seconds=audio * fault.audio,
            stages=stages,
            host_mb=self._memory + 0.02 * machine.random.standard_normal(),
            output="cd" * 32,
        )

    def finish(self) -> Mapping[str, Any]:
        """What it observed."""
        return {"evidence": {"nfe": self._fault.proof}, "peak_host_mb": 600.0, "peak_device_mb": None}


class Machine:
    """A machine with noise between processes and between calls."""

    def __init__(self, fault: Fault, processes: int, noise: float = 0.02, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self._fault, self._processes, self._noise = fault, processes, noise
        self._started, self._calls = 0, 0

    def next_pace(self) -> float:
        """The pace of the next process."""
        throttled = self._started >= self._fault.throttled_from * self._processes
        self._started += 1
        return float(np.exp(self._noise * self.random.standard_normal())) * (1.28 if throttled else 1.0)

    def jitter(self) -> float:
        """The noise of one call."""
        return float(np.exp(0.01 * self.random.standard_normal()))

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
        own = fault if arm == "candidate" else shared
        yield Made(self, arm, own)


def settings(
    blocks: int = 10, calls: int = 12, names: tuple[str, ...] = ("short", "medium", "long")
) -> Settings:
    """A plan over the given workloads."""
    return Settings(Plan(blocks_max=blocks, family=len(names) + 1), names, 3600.0, calls, seed=1)


def quiet(block: int) -> AfterBlock:
    """A machine on which nothing is wrong when a block has ended."""
    return AfterBlock(block=block, findings=())


def measured(
    fault: Fault = NONE, plan: Settings | None = None, watch: measure.Watch = quiet, seed: int = 0
) -> Measured:
    """What the gate measures on a machine with the fault."""
    plan = plan or settings()
    machine = Machine(fault, 4 * plan.plan.blocks_max, seed=seed)
    return measure.measure(plan, machine.open, watch, lambda said: None, clock=lambda: 0.0)


def assembled(
    found: Measured, folder: Path, plan: Settings | None = None, fitness: Preflight = builders.FIT
) -> Run:
    """The record of it, not yet judged."""
    clip = folder / "clip.wav"
    clip.write_bytes(b"audio")
    material = Material("made-up", "made-up", clip, "What the clip says.")
    scene = run.Scene(builders.MACHINE, fitness, builders.selection(), material)
    arms: dict[Arm, Target] = {"base": TARGET, "candidate": TARGET}
    return run.assemble(run.Request(), (plan or settings()).plan, scene, arms, found)


def judged(found: Run, selection: Selection | None = None, **changes: Any) -> Run:
    """The same run with its verdict."""
    said = judge.judge(found, selection or builders.selection(), **changes)
    return found.model_copy(update={"verdict": said})
