"""The cost model's record as one picture: predicted against measured, and the roofline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.gate.data.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "fitted": "#8a8a8a",
    "other length": "#0b6e99",
    "other toggles": "#c2571a",
    "other length and toggles": "#7a3b8f",
}
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "<", ">", "*")


def plot(record: Mapping[str, Any], path: Path) -> None:
    """Draw the record of `cost_record` into a PNG."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _predicted(left, record["rows"], record["tolerance"])
    _roofline(right, record["rows"], record["ceilings"])
    figure.suptitle(f"{record['checkpoint']} on {record['machine']}, {record['ceilings']['threads']} threads")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    write_atomically(path, picture.getvalue())


def _predicted(axes: Axes, rows: Sequence[Mapping[str, Any]], tolerance: float) -> None:
    """Every pair, by what the model knew of it, in the band that is allowed."""
    times = [row["seconds"] for row in rows] + [row["predicted_seconds"] for row in rows]
    line = np.array([min(times) / 1.2, max(times) * 1.2])
    axes.fill_between(
        line,
        line * (1 - tolerance),
        line * (1 + tolerance),
        color="#dddddd",
        label=f"within {tolerance:.0%}",
    )
    axes.plot(line, line, color="black", linewidth=1)
    for role, colour in COLOURS.items():
        some = [row for row in rows if row["role"] == role]
        inside = sum(abs(row["error"]) <= tolerance for row in some)
        axes.plot(
            [row["seconds"] for row in some],
            [row["predicted_seconds"] for row in some],
            "o",
            color=colour,
            markersize=6,
            label=f"{role}: {inside} of {len(some)} within",
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlim=line,
        ylim=line,
        title="Predicted against measured",
        xlabel="measured time of one call, fastest round [s]",
        ylabel="predicted time [s]",
    )
    _round_ticks(axes.set_xticks, *line)
    _round_ticks(axes.set_yticks, *line)
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.legend(loc="upper left")


def _roofline(axes: Axes, rows: Sequence[Mapping[str, Any]], rates: Mapping[str, Any]) -> None:
    """What the machine could do at each intensity, and what each toggle set reached."""
    intensity = np.geomspace(2, 300, 200)
    slope = intensity * rates["bandwidth"] / 1e9
    shown = sorted(rates["flops"].items(), key=lambda item: -item[1])[:2]
    for (name, flops), dash in zip(shown, ("-", "--"), strict=False):
        axes.plot(
            intensity,
            np.minimum(slope, flops / 1e9),
            dash,
            color="black",
            label=f"ceiling {name}: {flops / 1e9:.0f} GFLOP/s",
        )
    for number, options in enumerate(dict.fromkeys(row["options"] for row in rows)):
        some = [row for row in rows if row["options"] == options]
        axes.plot(
            [row["intensity"] for row in some],
            [row["flops"] / row["seconds"] / 1e9 for row in some],
            MARKERS[number % len(MARKERS)],
            markersize=6,
            color=f"C{number}",
            label=options.replace("reference_cache=on ", ""),
        )
    axes.set(
        xscale="log",
        yscale="log",
        title=f"Roofline; memory {rates['bandwidth'] / 1e9:.1f} GB/s",
        xlabel="FLOPs for each byte that operators read and write [FLOP/byte]",
        ylabel="rate reached over the whole call [GFLOP/s]",
    )
    low = 0.3 * min(row["flops"] / row["seconds"] for row in rows) / 1e9  # room for the legend
    high = 1.3 * max(rates["flops"].values()) / 1e9
    axes.set_ylim(low, high)
    _round_ticks(axes.set_xticks, 2, 300)
    _round_ticks(axes.set_yticks, low, high)
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", fontsize=8)


def _round_ticks(put: Callable[..., Any], low: float, high: float) -> None:
    """1, 2 and 5 in every power of ten, written out."""
    ticks = [digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 5)]
    shown = [tick for tick in ticks if low < tick < high]
    put(shown, [f"{tick:g}" for tick in shown])
