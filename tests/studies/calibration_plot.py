"""The calibration as one picture: exit codes over the true change, by noise and plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

COLOURS = {"0": "#3c7d3c", "3": "#b9b9b9", "1": "#c2571a"}
NAMES = {"0": "0: pass", "3": "3: cannot tell", "1": "1: regression"}


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Draw the report of `calibrate` into a PNG: a column a plan, a row an amount of noise or a recording."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cells = [cell for cell in report["cells"] if cell.get("shape", "gaussian") == "gaussian"]
    sources = list(dict.fromkeys(_source(cell) for cell in cells))
    plans = list(report["plans"])
    figure = Figure(figsize=(12, 1 + 2.1 * len(sources)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(sources), len(plans), sharex=True, sharey=True, squeeze=False)
    for row, source in zip(panels, sources, strict=True):
        for axes, plan in zip(row, plans, strict=True):
            shown = [cell for cell in cells if _source(cell) == source and cell["plan"] == plan]
            changes = [100 * cell["change"] for cell in shown]
            rates = [[100 * cell["codes"][code]["rate"] for cell in shown] for code in COLOURS]
            axes.stackplot(changes, rates, colors=COLOURS.values())
            axes.set_title(f"{plan}, {source}", fontsize=10)
            axes.margins(0)
            axes.axvline(20, color="black", linestyle=":", linewidth=1)
    for axes in panels[-1]:
        axes.set_xlabel("true slow-down (%)")
    for axes in panels[:, 0]:
        axes.set_ylabel("runs (%)")
    handles = [figure.axes[0].fill_between([], [], color=colour) for colour in COLOURS.values()]
    figure.legend(handles, [f"exit {NAMES[code]}" for code in COLOURS], loc="outside lower center", ncols=3)
    met = f"{report['targets_met']} of {report['targets']} targets met"
    figure.suptitle(f"Exit codes of the gate over the true change; dotted: the tolerated 20 %. {met}")
    figure.savefig(path, dpi=100, metadata={"Software": None})


def _source(cell: Mapping[str, Any]) -> str:
    return str(cell.get("recording") or f"{cell['noise']:.0%} noise a block")
