"""Made-up profiles, small runs and trials of an engine whose stages are known."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from engine.advisor.profiling import Operator, Profile
from engine.advisor.recommendation import WORKLOAD, Findings, SmallRun, Trial, sound
from engine.gate.data.samples import Arm, Call, Observed, Process, Series

COSTS = {"reference": 0.1, "text": 0.05, "sampling": 0.7, "vocoder": 0.1, "other": 0.05}
RTF = 0.72
WELL = sound("within limits", 0, "Within.")
BAD = sound("worse", 1, "MOS: it fell.")
UNSURE = sound("undecided", 3, "Too few clips.")


def profiled(costs: Mapping[str, float] = COSTS, rtf: float = RTF) -> Profile:
    """A profile whose stages cost what is given."""
    whole = sum(costs.values())
    operators = (Operator("aten::addmm", 0.5 * whole, 10, 0.5), Operator("aten::mul", 0.1 * whole, 9, 0.1))
    return Profile(
        checkpoint="made-up", options="reference", machine="test-cpu", text="Hello.",
        audio_seconds=whole / rtf, seconds=whole, rtf=rtf, stages=dict(costs), operators=operators,
        peak_mb=100.0, memory=((0.0, 100.0),),
    )  # fmt: skip


def process(
    arm: Arm,
    costs: Mapping[str, float],
    jitter: Sequence[float] = (1.0, 1.0),
    evidence: Mapping[str, tuple[bool | None, str]] | None = None,
    peak_mb: float = 100.0,
    load_seconds: float = 0.0,
    audio: float = 1.0,
) -> Process:
    """A process whose stages cost what is given; `jitter` is a factor on the whole of each of its calls."""
    calls = tuple(
        Call(
            seconds=max(1e-9, sum(costs.values()) * pace),
            audio_seconds=audio * sum(COSTS.values()) / RTF,
            host_mb=peak_mb,
            stages=dict(costs),
            output=hashlib.sha256(f"{arm} {index}".encode()).hexdigest(),
            seed=index,
            place=0,
        )
        for index, pace in enumerate(jitter)
    )
    proofs = {
        name: Observed(proven=proven, observed=seen) for name, (proven, seen) in (evidence or {}).items()
    }
    return Process(
        arm=arm, block=0, twin=0, load_seconds=load_seconds, peak_host_mb=peak_mb, evidence=proofs,
        series=(Series(workload=WORKLOAD, calls=calls),),
    )  # fmt: skip


def small_run(factors: Mapping[str, float], jitter: Sequence[float] = (1.0, 1.0), **changes: Any) -> SmallRun:
    """A block on an engine of `COSTS` at which stages take `factors` of their time."""
    costs = {name: seconds * factors.get(name, 1.0) for name, seconds in COSTS.items()}
    differ = changes.pop("changes", ())
    base = process("base", COSTS, [1.0] * len(jitter))
    return SmallRun(base=base, candidate=process("candidate", costs, jitter, **changes), changes=differ)


def trial(name: str, factors: Mapping[str, float], *, runs: int = 2, **changes: Any) -> Trial:
    """A trial of a toggle that changes stages by known factors, with a little noise between its runs."""
    own = {key: changes.pop(key) for key in ("evidence", "peak_mb", "load_seconds") if key in changes}
    blocks = tuple(small_run(factors, [(1.002, 0.998, 1.001)[index % 3]] * 2, **own) for index in range(runs))
    return Trial(
        **{"name": name, "options": name, "touches": tuple(factors), "lossless": True, "runs": blocks}
        | changes
    )


def idle(option: str, seen: str) -> dict[str, Any]:
    """What a trial is given whose option was not seen to do anything."""
    return {"changed": (option,), "evidence": {option: (False, seen)}}


def found(*trials: Trial, **changes: Any) -> Findings:
    """What was measured."""
    return Findings(options="reference", trials=trials, **changes)
