"""Small, valid runs and baselines for the gate's tests. Every argument is one thing that a test varies."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.gate.baselines.select import Selection
from engine.gate.data.limits import (
    Baseline,
    Limit,
    Product,
    ProductLimits,
    RecordedWorkload,
    RelativeLimits,
    Session,
)
from engine.gate.data.machine_state import AfterBlock, Finding, Preflight
from engine.gate.data.samples import ARMS, Call, Process, Run, Series, Side, Work
from engine.gate.data.workloads import SENTENCES, Clip, Workload, pinned, sha256_of
from engine.gate.machine import Machine
from engine.gate.stats.looks import Plan

KEY = "test-cpu"
CLIP = Clip.of("test clip", b"audio", "What the clip says.")
WEIGHTS = "ab" * 32
WORKLOADS = pinned(CLIP, WEIGHTS, ["short", "medium"])
PINS = {sentence.name: sentence.sha256 for sentence in SENTENCES}
FIT = Preflight(findings=())
HOT = Finding(
    check="CPU temperature", status="unfit", observed="91 C", expected="below 85 C", cure="Let it cool down"
)
UNFIT = Preflight(findings=(HOT,))
HALF_WAY = tuple(AfterBlock(block=block, findings=(HOT,) if block >= 5 else ()) for block in range(10))
"""A machine that was too hot from the sixth block on."""
MACHINE = Machine("", "Test CPU", "x86_64", 4, 8000, (), "", False, ("avx2",), {"torch": "2.13.0"})


WORK = Work(operators=1000, flops=10**9, allocated_bytes=10**8, evaluations=7, rows=14)
"""What every text costs both arms."""


def call(rtf: float, host_mb: float = 500.0, **changes: Any) -> Call:
    """One call of four seconds of audio."""
    content: dict[str, Any] = {"output": "cd" * 32, "seed": 0, "place": 0, **changes}
    return Call(seconds=4 * rtf, audio_seconds=4.0, host_mb=host_mb, **content)


def answer(workload: Workload, index: int) -> dict[str, Any]:
    """The seed of a workload's call of that number, and an output of its own."""
    seed = workload.sentence.seed + index
    return {"seed": seed, "output": sha256_of([workload.name, seed])}


def process(
    arm: Any, block: int, twin: int, rtfs: Sequence[float], growth: float = 0.0, **changes: Any
) -> Process:
    """One process that ran both workloads with these RTFs; memory grows by `growth` MiB a call."""
    series = tuple(
        Series(
            workload=workload.name,
            calls=tuple(
                call(rtf, 500 + growth * index, **answer(workload, index)) for index, rtf in enumerate(rtfs)
            ),
        )
        for workload in WORKLOADS
    )
    content: dict[str, Any] = {"load_seconds": 3.0, "first_call_seconds": 1.0, **changes}
    return Process(arm=arm, block=block, twin=twin, series=series, **content)


def side(workloads: tuple[Workload, ...] = WORKLOADS, **changes: Any) -> Side:
    """A clean arm with no options."""
    content: dict[str, Any] = {
        "revision": "0123456789ab",
        "dirty": False,
        "checkpoint": "seeded-tiny",
        "trained": False,
        "versions": {"torch": "2.13.0"},
        "threads": 4,
        "workloads": workloads,
    }
    return Side(**{**content, **changes})


def processes(
    ratio: float = 1.0,
    *,
    blocks: int = 10,
    noise: float = 0.01,
    rtf: float = 0.2,
    calls: int = 6,
    growth: float = 0.0,
    slow: Callable[[str, int, int], float] = lambda arm, block, index: 1.0,
    seed: int = 0,
    twins: int = 2,
    **changes: Any,
) -> tuple[Process, ...]:
    """Blocks of live pairs, `twins` processes of each arm; the candidate takes `ratio` times as long.

    `noise` is that of processes, calls have a ninth of it; `slow` multiplies single calls.
    """
    random = np.random.default_rng(seed)
    made = []
    for block in range(blocks):
        for arm in ARMS:
            for twin in range(twins):
                pace = rtf * (ratio if arm == "candidate" else 1.0) * np.exp(noise * random.standard_normal())
                rtfs = [
                    float(pace * slow(arm, block, i) * np.exp(noise / 9 * random.standard_normal()))
                    for i in range(calls)
                ]
                made.append(process(arm, block, twin, rtfs, growth if arm == "candidate" else 0.0, **changes))
    return tuple(made)


def run(made: tuple[Process, ...] | None = None, **changes: Any) -> Run:
    """A run with a base on a fit machine."""
    made = processes() if made is None else made
    based = any(each.arm == "base" for each in made)
    content: dict[str, Any] = {
        "timestamp": datetime.datetime(2026, 5, 1, 12, 30, 15, 123456, tzinfo=datetime.timezone.utc),
        "machine_key": KEY,
        "machine": MACHINE,
        "preflight": FIT,
        "plan": Plan(blocks_max=10, family=len(WORKLOADS) + 1),
        "questions": ("change",) if based else ("limits",),
        "base_said": "ba" * 6 + ", merge base of main" if based else "",
        "candidate": side(),
        "base": side(revision="ba" * 6) if based else None,
        "processes": made,
        "work": {
            arm: {workload.name: WORK for workload in WORKLOADS}
            for arm in (ARMS if based else ("candidate",))
        },
    }
    return Run(**{**content, **changes})


def alone(rtf: float = 0.2, **changes: Any) -> Run:
    """A run without a base: four processes of the candidate, one a block."""
    paces = [rtf * factor for factor in (0.99, 1.0, 1.01, 1.0)]
    growth = changes.pop("growth", 0.0)
    made = tuple(process("candidate", block, 0, [pace] * 5, growth) for block, pace in enumerate(paces))
    return run(made, **changes)


def limit(upper: float, **changes: Any) -> Limit:
    """A limit without a reference."""
    return Limit(upper=upper, unit=changes.pop("unit", "RTF"), **changes)


RELATIVE = RelativeLimits(
    time_ratio=limit(1.2, unit="candidate/base"),
    tail_ratio=limit(1.05, unit="candidate/base"),
    first_call_ratio=limit(1.5, unit="candidate/base"),
    load_ratio=limit(1.5, unit="candidate/base"),
    peak_memory=limit(1.25, unit="candidate/base"),
    memory_growth=limit(0.25, unit="MiB/call"),
)
LIMITS = ProductLimits(
    mean_rtf=limit(0.36, warning=0.3, critical=0.35),
    worst_rtf=limit(0.45),
    cv=limit(0.2, warning=0.05, critical=0.1, unit="ratio"),
    memory_growth=limit(0.25, unit="MiB/call"),
)
PRODUCT = Product(checkpoint="seeded-tiny", options="reference", limits=LIMITS)


def session(rtf: float = 0.2, day: int = 0, noise: float = 0.01, **changes: Any) -> Session:
    """One recorded session of four processes of five calls, with its checksum; `day` shifts its time."""
    random = np.random.default_rng(day)
    paces = rtf * np.exp(noise * random.standard_normal(4))
    content: dict[str, Any] = {
        "recorded_at": datetime.datetime(2026, 4, 1 + day, tzinfo=datetime.timezone.utc),
        "revision": "0123456789ab",
        "checkpoint": "seeded-tiny",
        "options": {},
        "versions": {"torch": "2.13.0"},
        "threads": 4,
        "workloads": {
            workload.name: RecordedWorkload(
                sha256=workload.sha256, rtf=tuple((float(pace),) * 5 for pace in paces)
            )
            for workload in WORKLOADS
        },
        "sha256": "0" * 64,
    }
    draft = Session(**{**content, **changes})
    return draft.model_copy(update={"sha256": draft.checksum()})


def baseline(**changes: Any) -> Baseline:
    """The test machine's baseline, with limits of one product and no sessions."""
    content: dict[str, Any] = {
        "schema_version": 2,
        "machine": KEY,
        "workloads": PINS,
        "products": (PRODUCT,),
        "relative": RELATIVE,
    }
    return Baseline(**{**content, **changes})


def portable(**changes: Any) -> Baseline:
    """Relative limits only."""
    return Baseline(schema_version=2, machine="portable", workloads=PINS, relative=RELATIVE, **changes)


def selection(chosen: Baseline | None = None) -> Selection:
    """A baseline as `select` gives it."""
    return Selection(portable() if chosen is None else chosen, Path("baselines/test.json"), "said aloud")
