"""The ladder for people: a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

LEGEND = (
    "In italics: tried on top of the last rung that stays, and not kept.\nMel moved: relative L2 to the "
    "reference rung. CER: share of letters. MOS: DNSMOS, 1 to 5. Speaker: cosine to the clip."
)
SOUND = {"cer": ".3f", "mos": ".2f", "similarity": ".3f"}
"""What is shown of `engine.gate.quality.speech.Sound`, and how."""


def markdown(ladder: Mapping[str, Any]) -> str:
    """The table for people. CER, MOS and speaker are means over the pinned texts."""
    lines = [
        "| rung | adds | time / below | time / reference | RTF | memory | mel moved | CER | MOS | speaker |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in ladder["rows"]:
        added = " ".join(f"`{name}={_typed(value)}`" for name, value in row["added"].items()) or "-"
        first = row is ladder["rows"][0]
        ratios = ["-" if first else _times(row[key]) for key in ("against_below", "against_reference")]
        sound = row["sound"] or {}
        cells = [
            row["rung"] if row["stays"] else f"*{row['rung']}*",
            f"{added} (not proven: {', '.join(row['unproven'])})" if row["unproven"] else added,
            *ratios,
            f"{row['rtf']:.3f}",
            f"{row['peak_mb']:.0f} MiB",
            "-" if first or row["mel_l2_to_reference"] is None else f"{row['mel_l2_to_reference']:.2g}",
            *(_figure(sound.get(key), form) for key, form in SOUND.items()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + f"\n\n{LEGEND}\n"


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _typed(value: Any) -> str:
    """As one would type it."""
    return ("off", "on")[value] if isinstance(value, bool) else str(value)


def _times(ratio: Mapping[str, float]) -> str:
    return f"x {ratio['ratio']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"


def plot(ladder: Mapping[str, Any], path: Path) -> None:
    """Time of each rung against the reference, with its interval, into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = ladder["rows"]
    figure = Figure(figsize=(10, 1.6 + 0.34 * len(found)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for place, row in enumerate(found):
        whole, colour = row["against_reference"], "#0b6e99" if row["lossless"] else "#c2571a"
        axes.plot([whole["low"], whole["high"]], [place, place], color=colour, linewidth=2)
        face = colour if row["stays"] else "white"
        axes.plot(whole["ratio"], place, "o", color=colour, markerfacecolor=face, markersize=8)
        axes.annotate(
            f"x {whole['ratio']:.2f}", (1.01, place), xycoords=("axes fraction", "data"), va="center"
        )
    axes.axvline(1, color="gray", linewidth=1)
    axes.set_yticks(range(len(found)), [row["rung"] for row in found])
    axes.invert_yaxis()
    axes.set(
        xscale="log",
        xlabel="time to speak the pinned sentences / the reference's time; lines: 95 % intervals over rounds",
        title=f"{ladder['checkpoint']} on {ladder['machine']}\n"
        "blue: lossless, orange: lossy; filled: stays, hollow: tried on the last one that stays",
    )
    ticks = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.grid(axis="x", alpha=0.25)
    figure.savefig(path, dpi=110, metadata={"Software": None})
