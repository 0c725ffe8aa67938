"""The quality calibration as one picture: false alarms, catches, and which judge made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.gate.quality.differences import QUESTIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0b6e99", "#c2571a")
Rows = Sequence[Mapping[str, Any]]


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Draw the report of `calibrate_quality` into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 12), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(2, 2, height_ratios=(1, 2.6), width_ratios=(1, 1.15)).T
    rows = [one for one in report["rows"] if one["extent"] == "every clip"]
    _rates(left[0], [one for one in rows if one["clean"]], report["sets"], "Nothing wrong: the run fails")
    left[0].axvline(1, color="firebrick", label="allowed at most")
    left[0].set_xlim(0, 10)
    _rates(
        left[1],
        [one for one in rows if not one["clean"]],
        report["sets"],
        "A fault: the run fails (red: required at least)",
    )
    left[1].axvline(95, color="firebrick")
    left[1].set_xlim(0, 102)
    left[0].legend(loc="center right")
    single = [one for one in report["rows"] if one["extent"] == "one clip"]
    _rates(right[0], single, report["sets"], "A fault in one clip of the run: it fails (no target)")
    right[0].set_xlim(0, 102)
    faults = [one for one in rows if one["size"] == report["sets"]["full"] and one["noise"] == "same"]
    _judges(right[1], faults)
    figure.suptitle(
        f"Gate runs made up of {report['texts']} texts in {len(report['voices'])} voices, {report['seeds']} "
        f"seeds, {report['outputs']} outputs; {report['targets_met']} of {report['targets']} targets met"
    )
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _rates(axes: Axes, rows: Rows, sets: Mapping[str, int], title: str) -> None:
    """Share of failed runs by change, a bar for each set size and noise, with 95 % bounds."""
    names = list(dict.fromkeys(one["change"] for one in rows))[::-1]
    kinds = [(name, noise) for name in sets for noise in ("same", "other")]
    used = [kind for kind in kinds if any((sets[kind[0]], kind[1]) == (r["size"], r["noise"]) for r in rows)]
    for one in rows:
        which = next(
            at for at, (name, noise) in enumerate(used) if (sets[name], noise) == (one["size"], one["noise"])
        )
        name, noise = used[which]
        place = names.index(one["change"]) + 0.8 * (0.5 - (which + 0.5) / len(used))
        found = one["failed"]
        axes.barh(
            place, 100 * found["rate"], 0.7 / len(used), color=COLOURS[list(sets).index(name)],
            alpha=1.0 if noise == "same" else 0.5, label=f"{name} set ({sets[name]} cases), {noise} noise",
        )  # fmt: skip
        axes.plot([100 * found["low_95"], 100 * found["high_95"]], [place, place], color="black", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set(title=title, xlabel="gate runs with exit code 1 [%]; lines: 95 % bounds")
    axes.grid(axis="x", alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    for label, handle in list(zip(labels, handles, strict=True)):
        if labels.count(label) > 1:
            handle.set_label("_")
            labels.remove(label)


def _judges(axes: Axes, rows: Rows) -> None:
    """Share of runs in which each judge failed the candidate: faults down, judges across."""
    names = [one["change"] for one in rows]
    share = np.array([[100 * one["by"].get(question, 0.0) for question in QUESTIONS] for one in rows])
    axes.imshow(share, aspect="auto", cmap="Blues", vmin=0, vmax=100)
    for (at, which), value in np.ndenumerate(share):
        axes.text(
            which, at, f"{value:.0f}", ha="center", va="center", color="white" if value > 60 else "black"
        )
    axes.set_xticks(range(len(QUESTIONS)), QUESTIONS, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_title("Which judge failed the run [%], full set, same noise")
    axes.set(xlabel="judge", ylabel="change")
