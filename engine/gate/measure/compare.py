"""Base against candidate: one log-ratio per block of live pairs, decided by `stats.ratio_test`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from engine.errors import UsageError
from engine.gate.data.samples import ARMS, Process, in_blocks
from engine.gate.stats import ratio_test
from engine.gate.stats.calls import Floats, tail_level
from engine.gate.stats.looks import Plan


class Pairs(NamedTuple):
    """The blocks of a run, reduced: log(candidate / base) [n], and differences of identical code [n, k].

    k is 2 (the base's twins, the candidate's), or 0 where each arm had one process.
    """

    ratios: Floats
    twins: Floats


class Decisions(NamedTuple):
    """Base against candidate: the centre of each workload, the tails over all of them, and the start.

    `first_call` and `load` are None where a process did not record them.
    """

    centre: dict[str, ratio_test.Decision]
    tails: ratio_test.Decision
    first_call: ratio_test.Decision | None
    load: ratio_test.Decision | None

    @property
    def finished(self) -> bool:
        """Whether measuring may stop at this look: centres and tails are decided. The start cannot ask for
        more, since a block shows it once only."""
        return ratio_test.finished([*self.centre.values(), self.tails])


def decide(processes: Sequence[Process], plan: Plan, last: bool = False) -> Decisions:
    """Compare the arms after complete blocks; at each of `plan.looks`, or at the end (`last`).

    Raises:
        UsageError: more blocks than planned, none, or a block without both arms.
    """
    centre = {
        workload: ratio_test.decide(*centre_pairs(processes, workload), plan, last)
        for workload in workloads(processes)
    }
    tails = ratio_test.decide(*pairs(processes, _tail_logs), ratio_test.tail_plan(plan), last)
    first_call = _start(processes, lambda process: process.first_call_seconds, plan, last)
    load = _start(processes, lambda process: process.load_seconds, plan, last)
    return Decisions(centre, tails, first_call, load)


def conclude(processes: Sequence[Process], plan: Plan) -> Decisions:
    """The decision at the end of a run.

    A run that ended at a look since everything was decided keeps that look's answer: it chose its end by its
    samples. Whatever else ended it, nothing follows, and all error that is left is spent.

    Raises:
        UsageError: as `decide`.
    """
    if len(in_blocks(processes)) in plan.looks and (decisions := decide(processes, plan)).finished:
        return decisions
    return decide(processes, plan, last=True)


def workloads(processes: Sequence[Process]) -> list[str]:
    """The names of the workloads that the processes spoke, in their order."""
    return [series.workload for series in processes[0].series] if processes else []


def centre_pairs(processes: Sequence[Process], workload: str) -> Pairs:
    """Each block's median over rounds of the mean paired log-ratio, and the same of its twins."""
    return pairs(processes, lambda process: np.log(seconds(process, workload)))


def pairs(processes: Sequence[Process], logs: Callable[[Process], Floats]) -> Pairs:
    """Reduce blocks of paired processes to one ratio and the twins' differences each.

    Args:
        processes: complete blocks.
        logs: the logs of what is compared in one process, one for each round: [r].

    Raises:
        UsageError: no block, one without both arms, one unlike the others, or processes of unequal rounds.
    """
    ratios: list[float] = []
    twins: list[list[float]] = []
    for number, block in in_blocks(processes).items():
        arms = [[logs(process) for process in block if process.arm == arm] for arm in ARMS]
        shapes = {(len(arm), values.shape) for arm in arms for values in arm}
        differences = [float(np.median(arm[0] - arm[1])) for arm in arms if len(arm) == 2]
        unlike = len(shapes) != 1 or len(arms[0]) != len(arms[1])
        if unlike or (twins and len(differences) != len(twins[0])):
            given = f"block {number} of the processes {', '.join(process.arm for process in block)}"
            expected = "as many of each arm in all blocks, with equal rounds"
            raise UsageError(given, expected, "Pass whole blocks")
        base, candidate = np.array(arms)  # each [k, r]
        ratios.append(float(np.median(candidate.mean(axis=0) - base.mean(axis=0))))
        twins.append(differences)
    if not ratios:
        raise UsageError("no processes", "at least one block", "Measure first")
    return Pairs(np.array(ratios, dtype=np.float64), np.array(twins, dtype=np.float64))


def seconds(process: Process, workload: str) -> Floats:
    """Seconds of the calls that count of one workload in one process: [r]."""
    (series,) = (series for series in process.series if series.workload == workload)
    return np.array([call.seconds for call in series.calls], dtype=np.float64)


def mean_curve(processes: Sequence[Process], workload: str) -> Floats:
    """Seconds of call 0, 1, 2 ... over the process's median, averaged over processes: [r], for `settled`."""
    curves = [seconds(process, workload) for process in processes]
    rounds = min(curve.size for curve in curves)
    mean: Floats = np.mean([curve[:rounds] / np.median(curve) for curve in curves], axis=0)
    return mean


def _tail_logs(process: Process) -> Floats:
    """Log of how heavy the slow end of a process is, over all its workloads: [1]."""
    return np.log([tail_level([[call.seconds for call in series.calls] for series in process.series])])


def _start(
    processes: Sequence[Process], value: Callable[[Process], float], plan: Plan, last: bool
) -> ratio_test.Decision | None:
    """The decision on something that a process does once, or None where one did not record it."""
    if not all(value(process) > 0 for process in processes):
        return None
    logs = pairs(processes, lambda process: np.log([value(process)]))
    return ratio_test.decide(*logs, ratio_test.start_plan(plan), last)
