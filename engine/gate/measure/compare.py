"""Base against candidate: one log-ratio per block of live pairs, decided by `stats.ratio_test`."""

from __future__ import annotations

import math
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
    first_call, load = first_call_pairs(processes), load_pairs(processes)
    start = ratio_test.start_plan(plan)
    return Decisions(
        centre,
        tails,
        None if first_call is None else ratio_test.decide(*first_call, start, last),
        None if load is None else ratio_test.decide(*load, start, last),
    )


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


def first_call_pairs(processes: Sequence[Process]) -> Pairs | None:
    """The first calls of each block, which are one round; None where a process did not record its own."""
    if not all(process.first_call_seconds > 0 for process in processes):
        return None
    return pairs(processes, lambda process: np.log([process.first_call_seconds]))


def load_pairs(processes: Sequence[Process]) -> Pairs | None:
    """Loading times of each block; None where a process did not record its own.

    Twins do not load at the same time, but each loads with its partner of the other arm: what is identical in
    a block are the two partners' log-ratios. Their difference has four times the variance of their mean, and
    is brought to the scale of a twin difference.
    """
    if not all(process.load_seconds > 0 for process in processes):
        return None
    partners = [
        pairs([process for process in processes if process.twin == twin], _load_logs)
        for twin in sorted({process.twin for process in processes})
    ]
    ratios = np.stack([each.ratios for each in partners], axis=1)  # [n, twins]
    return Pairs(ratios.mean(axis=1), np.diff(ratios, axis=1) / math.sqrt(2))


def _load_logs(process: Process) -> Floats:
    """Log of a process's loading time: [1], pairing as a round of its own."""
    logs: Floats = np.log([process.load_seconds])
    return logs
