"""The calibration as one picture: power, sameness, false alarms, tails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0b6e99", "#c2571a", "#7a3b8f", "#3c7d3c")
DASHES = ("-", "--", "-.", ":")


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Draw the report of `calibrate` into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 11), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 2, height_ratios=(1, 1.45))
    _curves(upper[0], report["curves"], "SLOWER", "A true slow-down is called SLOWER")
    _curves(upper[1], report["curves"], "SAME", "A true slow-down is called SAME")
    _false_alarms(lower[0], report["cells"])
    _tails(lower[1], report["cells"])
    rough = " (quick: rough)" if report["quick"] else ""
    figure.suptitle(
        f"Simulated gate runs: {report['workloads']} workloads, stopping and A/A control on; "
        f"{report['targets_met']} of {report['targets']} targets met{rough}"
    )
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _curves(axes: Axes, curves: Sequence[Mapping[str, Any]], verdict: str, title: str) -> None:
    """Rate of a verdict over the true slow-down, one line per noise and budget."""
    for line, colour, dash in zip(curves, COLOURS, DASHES, strict=True):
        label = f"CV {line['cv']:.1%}, {line['blocks_max']} blocks"
        percent = [100 * change for change in line["changes"]]
        axes.plot(
            percent, [100 * rate for rate in line[verdict]], dash, color=colour, label=label, linewidth=2
        )
    if verdict == "SLOWER":
        for change, least, colour in ((20, 99, COLOURS[1]), (10, 95, COLOURS[2]), (20, 90, COLOURS[3])):
            axes.plot(change, least, "^", color=colour, markersize=9, markeredgecolor="black", zorder=3)
        axes.plot([], [], "^", color="white", markeredgecolor="black", label="required at least")
    else:
        axes.plot(
            0, 90, "^", color=COLOURS[2], markersize=9, markeredgecolor="black", label="required at least"
        )
        axes.plot(5, 5, "v", color="black", markersize=9, label="allowed at most, from 5 % on")
    axes.set(title=title, xlabel="true slow-down [%]", ylabel=f"runs that say {verdict} of a workload [%]")
    axes.set_ylim(-3, 103)
    axes.grid(alpha=0.3)
    axes.legend(loc="center right")


def _false_alarms(axes: Axes, cells: Sequence[Mapping[str, Any]]) -> None:
    """Rate of any FASTER or SLOWER on unchanged code, by noise, with 95 % bounds."""
    event = "any FASTER or SLOWER"
    shown = [
        cell
        for cell in cells
        if event in cell["rates"] and cell["blocks_max"] == 10 and "machine" in cell["noise"]
    ]
    noises = list(dict.fromkeys((cell["noise"]["shape"], cell["noise"]["machine"]) for cell in shown))
    cvs = sorted({cell["noise"]["cv"] for cell in shown})
    for cell in shown:
        noise, found = cell["noise"], cell["rates"][event]
        which = cvs.index(noise["cv"])
        place = noises.index((noise["shape"], noise["machine"])) + 0.27 * (which - 1)
        low, high = 100 * found["low_95"], 100 * found["high_95"]
        axes.barh(place, 100 * found["rate"], 0.25, color=COLOURS[which], label=f"CV {noise['cv']:.1%}")
        axes.plot([low, high], [place, place], color="black", linewidth=1)
    axes.axvline(1.0, color="firebrick", label="allowed rate")
    axes.axvline(1.5, color="firebrick", linestyle="--", label="allowed upper bound")
    names = [machine if machine != "steady" else f"{shape}, steady" for shape, machine in noises]
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.6), xlabel="runs with a false FASTER or SLOWER [%]; lines: 95 % bounds")
    axes.set_title("Unchanged code, 10 blocks: false alarms in any workload")
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axes.legend(unique.values(), unique.keys(), loc="upper center", bbox_to_anchor=(0.4, -0.1), ncols=3)


def _tails(axes: Axes, cells: Sequence[Mapping[str, Any]]) -> None:
    """How often every 20th call being 50 % slower is seen, by calls per process."""
    faulty = [cell for cell in cells if cell["noise"].get("slow_every")]
    kinds = list(dict.fromkeys((cell["noise"]["shape"], cell["noise"]["cv"]) for cell in faulty))
    for (shape, cv), colour, dash in zip(kinds, COLOURS, DASHES, strict=False):
        rows = [cell for cell in faulty if (cell["noise"]["shape"], cell["noise"]["cv"]) == (shape, cv)]
        found = [cell["rates"]["SLOWER"] for cell in rows]
        calls, rates = [cell["noise"]["calls"] for cell in rows], [100 * one["rate"] for one in found]
        below = [100 * (one["rate"] - one["low_95"]) for one in found]
        above = [100 * (one["high_95"] - one["rate"]) for one in found]
        label = f"{shape}, CV of calls {cv:.0%}"
        axes.errorbar(calls, rates, (below, above), fmt=f"o{dash}", color=colour, capsize=3, label=label)
    axes.set(title="Every 20th call is 50 % slower: seen in the tails", ylim=(-3, 103))
    axes.set(
        xlabel="calls per process and workload (10 blocks)", ylabel="runs that say SLOWER of the tails [%]"
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
