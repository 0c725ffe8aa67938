"""The run as a picture: every steady call of both arms, recorded sessions, and the product's limit."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from engine.gate.baselines.select import Selection
from engine.gate.data.files import write_atomically
from engine.gate.data.limits import Baseline
from engine.gate.data.samples import ARMS, Arm, Process, Run
from engine.gate.data.workloads import sha256_of

COLOURS: dict[Arm, str] = {"base": "tab:blue", "candidate": "tab:orange"}


class Points(NamedTuple):
    """What one label shows: RTF of each call by the place of its process on the axis."""

    label: str
    colour: str
    processes: dict[int, list[float]]


def plot(run: Run, path: Path, baseline: Baseline | None = None) -> None:
    """Write a PNG of every steady call, by process in running order: both arms, and recorded sessions if any.

    Raises:
        OutputError: `path` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(run.candidate.hashes)
    limit = None if baseline is None else _mean_limit(run, baseline)
    figure = Figure(figsize=(9, 2.6 * len(names) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
        for points in _points(run, name, baseline):
            _scatter(axes, points)
        if limit is not None:
            said = f"limit of the mean {limit:g}"
            axes.axhline(limit, color="tab:red", linewidth=1, linestyle="--", label=said)
        axes.set(title=name, ylabel="RTF")
        axes.margins(y=0.15)
        axes.grid(axis="y", alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axes.set_xlabel("process, block by block (points: calls, bars: medians; recorded sessions before 0)")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_atomically(path, content.getvalue())


def _mean_limit(run: Run, baseline: Baseline) -> float | None:
    """The limit of the mean of this very product, or None."""
    product = Selection(baseline, Path(), "").product(run.candidate.checkpoint, run.candidate.options)
    return None if product is None else product.limits.mean_rtf.upper


def _points(run: Run, name: str, baseline: Baseline | None) -> Iterator[Points]:
    """Recorded sessions, which end before 0, then both arms."""
    recorded = [] if baseline is None else _recorded(run, name, baseline)
    if recorded:
        places = {place - len(recorded): rtfs for place, rtfs in enumerate(recorded)}
        yield Points("recorded sessions", "tab:gray", places)
    order = sorted(run.processes, key=lambda process: (process.block, process.arm, process.twin))
    for arm in ARMS:
        if run.side(arm) is not None:
            places = {
                place: _rtfs(process, name) for place, process in enumerate(order) if process.arm == arm
            }
            yield Points(arm, COLOURS[arm], places)


def _recorded(run: Run, name: str, baseline: Baseline) -> list[list[float]]:
    """The processes of every recorded session of this workload, checkpoint and options, oldest first."""
    side = run.candidate
    key = (side.checkpoint, sha256_of(side.options))
    sessions = sorted(
        (each for each in baseline.sessions if each.key == key), key=lambda each: each.recorded_at
    )
    return [
        list(process)
        for session in sessions
        if name in session.workloads and session.workloads[name].sha256 == side.hashes[name]
        for process in session.workloads[name].rtf
    ]


def _rtfs(process: Process, name: str) -> list[float]:
    return [call.rtf for series in process.series if series.workload == name for call in series.calls]


def _scatter(axes: Any, points: Points) -> None:
    """One column of points per process, in the order of its calls, with a bar at its median."""
    x, y = [], []
    for place, calls in points.processes.items():
        x += [place + 0.5 * (index + 0.5) / len(calls) - 0.25 for index in range(len(calls))]
        y += calls
        axes.hlines(median(calls), place - 0.35, place + 0.35, color=points.colour, linewidth=2)
    axes.scatter(x, y, s=9, color=points.colour, alpha=0.6, linewidths=0, label=points.label)
