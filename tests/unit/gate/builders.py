"""Small, valid runs and baselines for the gate's tests. Every argument is one thing that a test varies."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.gate.baselines.select import Baseline, Limit, ProductLimits, RelativeLimits, Selection
from engine.gate.data.machine_state import AfterBlock, Finding, Preflight
from engine.gate.data.samples import ABBA, BAAB, Call, Process, Run, Series, Side
from engine.gate.data.workloads import SENTENCES, Clip, Workload, pinned
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


def call(rtf: float, host_mb: float = 500.0, **changes: Any) -> Call:
    """One call of four seconds of audio."""
    return Call(seconds=4 * rtf, audio_seconds=4.0, host_mb=host_mb, output="cd" * 32, **changes)


def process(
    arm: Any, block: int, position: int, rtfs: Sequence[float], growth: float = 0.0, **changes: Any
) -> Process:
    """One process that ran both workloads with these RTFs; memory grows by `growth` MiB a call."""
    calls = tuple(call(rtf, 500 + growth * index) for index, rtf in enumerate(rtfs))
    series = tuple(Series(workload=workload.name, calls=calls) for workload in WORKLOADS)
    return Process(arm=arm, block=block, position=position, series=series, **changes)


def side(workloads: tuple[Workload, ...] = WORKLOADS, **changes: Any) -> Side:
    """A clean arm with no options."""
    content: dict[str, Any] = {
        "revision": "0123456789ab",
        "dirty": False,
        "checkpoint": "seeded-tiny",
        "trained": False,
        "versions": {"torch": "2.13.0"},
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
    **changes: Any,
) -> tuple[Process, ...]:
    """Blocks of four processes; the candidate takes `ratio` times as long; `slow` multiplies single calls."""
    random = np.random.default_rng(seed)
    found = []
    for block in range(blocks):
        for position, arm in enumerate(ABBA if random.random() < 0.5 else BAAB):
            pace = rtf * (ratio if arm == "candidate" else 1.0) * np.exp(noise * random.standard_normal())
            rtfs = [
                pace * slow(arm, block, i) * np.exp(noise / 9 * random.standard_normal())
                for i in range(calls)
            ]
            found.append(
                process(arm, block, position, rtfs, growth if arm == "candidate" else 0.0, **changes)
            )
    return tuple(found)


def run(found: tuple[Process, ...] | None = None, **changes: Any) -> Run:
    """A run with a base on a fit machine."""
    found = processes() if found is None else found
    content: dict[str, Any] = {
        "timestamp": datetime.datetime(2026, 5, 1, 12, 30, 15, 123456, tzinfo=datetime.timezone.utc),
        "machine_key": KEY,
        "machine": MACHINE,
        "preflight": FIT,
        "plan": Plan(blocks_max=10, family=len(WORKLOADS) + 1),
        "candidate": side(),
        "base": side(revision="ba" * 6) if any(one.arm == "base" for one in found) else None,
        "processes": found,
    }
    return Run(**{**content, **changes})


def alone(rtf: float = 0.2, **changes: Any) -> Run:
    """A run without a base: four processes of the candidate."""
    paces = [rtf * factor for factor in (0.99, 1.0, 1.01, 1.0)]
    growth = changes.pop("growth", 0.0)
    found = tuple(process("candidate", 0, i, [pace] * 5, growth) for i, pace in enumerate(paces))
    return run(found, **changes)


def limit(upper: float, **changes: Any) -> Limit:
    """A limit without a reference."""
    return Limit(upper=upper, unit=changes.pop("unit", "RTF"), **changes)


RELATIVE = RelativeLimits(
    time_ratio=limit(1.2, unit="candidate/base"),
    tail_ratio=limit(1.05, unit="candidate/base"),
    memory_growth=limit(0.25, unit="MiB/call"),
)
PRODUCT = ProductLimits(mean_rtf=limit(0.36), worst_rtf=limit(0.45), cv=limit(0.2))


def baseline(**changes: Any) -> Baseline:
    """The test machine's baseline, with product limits and no entries."""
    content: dict[str, Any] = {
        "schema_version": 1,
        "machine": KEY,
        "workloads": PINS,
        "product": PRODUCT,
        "relative": RELATIVE,
    }
    return Baseline(**{**content, **changes})


def portable(**changes: Any) -> Baseline:
    """Relative limits only."""
    return Baseline(schema_version=1, machine="portable", workloads=PINS, relative=RELATIVE, **changes)


def selection(found: Baseline | None = None) -> Selection:
    """A baseline as `select` gives it."""
    return Selection(portable() if found is None else found, Path("baselines/test.json"), "said aloud")
