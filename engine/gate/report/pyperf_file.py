"""A run as a file of pyperf, so that `pyperf compare_to base.json candidate.json` works.

pyperf (https://pyperf.readthedocs.io) pools all values of a benchmark and tests them as if each were
independent. Calls of one process are not, so its stars say less than the verdict: it is there for its tables
and histograms.
"""

from __future__ import annotations

import json
from typing import Any

from engine.gate.data.samples import Arm, Process, Run, Series, Side

VERSION = "1.0"
"""Of pyperf's file format."""


def pyperf_json(run: Run, arm: Arm = "candidate") -> str:
    """One arm's calls in pyperf's format: a benchmark for each workload, a run for each process.

    Values are seconds of wall time; warm-up calls are kept apart, as pyperf does. An arm that the run does
    not have gives an empty suite, which pyperf refuses.
    """
    side = run.side(arm)
    benchmarks = [] if side is None else [_benchmark(run, arm, name) for name in side.hashes]
    metadata = {} if side is None else _metadata(run, side)
    return json.dumps({"version": VERSION, "metadata": metadata, "benchmarks": benchmarks}) + "\n"


def _metadata(run: Run, side: Side) -> dict[str, Any]:
    """What is true of every benchmark of the file."""
    options = " ".join(f"{name}={value}" for name, value in side.options.items()) or "reference"
    return {
        "unit": "second",
        "hostname": run.machine_key,
        "description": f"{side.checkpoint} ({options}) at {side.revision[:10]}",
    }


def _benchmark(run: Run, arm: Arm, name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "loops": 1},
        "runs": [_run(run, process, series) for process, series in run.series(arm, name)],
    }


def _run(run: Run, process: Process, series: Series) -> dict[str, Any]:
    content: dict[str, Any] = {
        "metadata": {"date": run.timestamp.isoformat()},
        "values": [call.seconds for call in series.calls],
    }
    if series.warmup:
        content["warmups"] = [[1, call.seconds] for call in series.warmup]
    if process.peak_host_mb:
        content["metadata"]["mem_max_rss"] = int(process.peak_host_mb * 2**20)
    return content
