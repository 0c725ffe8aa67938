"""What each arm measured on each workload, as the reports show it side by side."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from engine.gate.data.samples import ARMS, Arm, Process, Run
from engine.gate.data.verdict import Figures
from engine.gate.stats.limits import LEAST_CALLS, cv, growth_slope


def figures(run: Run) -> tuple[Figures, ...]:
    """The figures of every workload, the base's before the candidate's."""
    return tuple(
        _figures(run, arm, name) for name in run.candidate.hashes for arm in ARMS if run.side(arm) is not None
    )


def _figures(run: Run, arm: Arm, name: str) -> Figures:
    rtfs = [[call.rtf for call in calls] for calls in run.calls(arm, name)]
    every = [rtf for process in rtfs for rtf in process]
    medians = [float(np.median(process)) for process in rtfs]
    own = [process for process in run.processes if process.arm == arm]
    return Figures(
        workload=name,
        arm=arm,
        mean_rtf=float(np.mean([np.mean(process) for process in rtfs])),  # as the limit of the mean holds it
        best_rtf=min(every),
        worst_rtf=max(every),
        cv_calls=cv(every) if len(every) > 1 else None,
        cv_processes=cv(medians) if len(medians) > 1 else None,
        growth=_growth(run, arm, name),
        first_call_seconds=_median(each.first_call_seconds for each in own),
        load_seconds=_median(each.load_seconds for each in own),
        peak_host_mb=_peak(own),
    )


def _growth(run: Run, arm: Arm, name: str) -> float | None:
    """Mean growth over the processes that have calls enough, the steeper of host and device."""
    slopes = []
    for where in ("host_mb", "device_mb"):
        memory = [[getattr(call, where) for call in calls] for calls in run.calls(arm, name)]
        long = [calls for calls in memory if len(calls) >= LEAST_CALLS and None not in calls]
        if long:
            slopes.append(float(np.mean([growth_slope(calls) for calls in long])))
    return max(slopes, default=None)


def _peak(processes: Iterable[Process]) -> float | None:
    peaks = [peak for process in processes if (peak := process.peak_host_mb)]
    return _median(peaks) if peaks else None


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))
