"""Where a change came from: each stage of synthesis compared like the whole. It explains and decides nothing.

A stage that is a small part of the whole can change much without the whole showing it (Amdahl); only the
whole has a limit.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np

from engine.gate.data.samples import Process, Run
from engine.gate.measure.compare import in_blocks
from engine.gate.stats import ratio_test

LEAST_SECONDS = 0.001
"""Shorter stages are not compared: the clock and the caches decide those."""


def notes(run: Run) -> list[str]:
    """One sentence for each stage that surely became slower or faster, with its share of the whole."""
    if run.base is None:
        return []
    pairs = [(name, stage) for name in run.candidate.hashes for stage in _common(run, name)]
    plan = dataclasses.replace(run.plan, family=max(1, len(pairs)))
    found = []
    for name, stage in pairs:
        times, base_first = in_blocks(run.processes, partial(_seconds, workload=name, stage=stage))
        if times.min() < LEAST_SECONDS:
            continue
        decision = ratio_test.decide(times, base_first, plan)
        if decision.verdict in (ratio_test.Verdict.SLOWER, ratio_test.Verdict.FASTER):
            share = f"it is {_share(run, name, stage):.1%} of the base's time"
            change = f"{decision.verdict.value}, {decision.ratio - 1:+.1%}"
            found.append(f"{name}: stage {stage} is {change}; {share}")
    return found


def _common(run: Run, name: str) -> list[str]:
    """The stages that every call of a workload has, on both sides, in the order in which they are told."""
    calls = [c for arm in ("base", "candidate") for _, one in run.series(arm, name) for c in one.calls]
    return [stage for stage in calls[0].stages if all(stage in call.stages for call in calls)]


def _seconds(process: Process, workload: str, stage: str) -> float:
    calls = [call for one in process.series if one.workload == workload for call in one.calls]
    return max(float(np.median([call.stages[stage] for call in calls])), 1e-9)


def _share(run: Run, name: str, stage: str) -> float:
    calls = [call for _, one in run.series("base", name) for call in one.calls]
    return sum(call.stages[stage] for call in calls) / sum(call.seconds for call in calls)
