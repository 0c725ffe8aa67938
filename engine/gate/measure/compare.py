"""Base against candidate: one value per process, laid out in blocks of four, and decided by `statistics`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.gate.data.samples import Process
from engine.gate.stats import ratio_test
from engine.gate.stats.looks import Plan


class Decisions(NamedTuple):
    """Base against candidate: the centre of each workload, and the tails over all of them."""

    centre: dict[str, ratio_test.Decision]
    tails: ratio_test.Decision

    @property
    def finished(self) -> bool:
        """Whether measuring may stop at this look."""
        return ratio_test.finished([*self.centre.values(), self.tails])


def decide(processes: Sequence[Process], plan: Plan) -> Decisions:
    """Compare the arms after complete blocks of four. The measuring part calls it at each of `plan.looks`.

    Raises:
        UsageError: more blocks than planned, or none.
    """
    centre = {}
    for name in [series.workload for series in processes[0].series]:
        times, base_first = in_blocks(processes, partial(_median, workload=name))
        centre[name] = ratio_test.decide(times, base_first, plan)
    levels, base_first = in_blocks(processes, _tail_level)
    return Decisions(centre, ratio_test.decide(levels, base_first, ratio_test.tail_plan(plan)))


def in_blocks(
    processes: Sequence[Process], value: Callable[[Process], float]
) -> tuple[ratio_test.Floats, NDArray[np.bool_]]:
    """One value per process as [n, 4] in running order, and whether each block began with the base [n]."""
    ordered = sorted(processes, key=lambda process: (process.block, process.position))
    blocks = [list(group) for _, group in groupby(ordered, key=lambda process: process.block)]
    values = np.array([[value(process) for process in block] for block in blocks], dtype=np.float64)
    return values, np.array([block[0].arm == "base" for block in blocks], dtype=np.bool_)


def _median(process: Process, workload: str) -> float:
    """Median seconds of a process's steady calls of one workload."""
    return float(
        np.median([call.seconds for one in process.series if one.workload == workload for call in one.calls])
    )


def _tail_level(process: Process) -> float:
    return ratio_test.tail_level([[call.seconds for call in one.calls] for one in process.series])
