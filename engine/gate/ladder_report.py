"""The ladder for people: a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

SOUND = {"cer": ".3f", "mos": ".2f", "similarity": ".3f"}
"""What is shown of `engine.gate.sound.Sound`, and how."""


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
            *(
                _figure(sound.get(key), form)
                for key, form in (("cer", ".3f"), ("mos", ".2f"), ("similarity", ".3f"))
            ),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\nIn italics: tried on top of the last rung that stays, and not kept.\n"


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
    figure = Figure(figsize=(10, 1.6 + 0.5 * len(found)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    whole = [row["against_reference"] for row in found]
    middle = [100 * one["ratio"] for one in whole]
    errors = [
        [max(0.0, 100 * (one["ratio"] - one["low"])) for one in whole],
        [max(0.0, 100 * (one["high"] - one["ratio"])) for one in whole],
    ]
    colours = ["#0b6e99" if row["lossless"] else "#c2571a" for row in found]
    bars = axes.barh(range(len(found)), middle, xerr=errors, color=colours, capsize=3)
    for bar, row in zip(bars, found, strict=True):
        bar.set_alpha(1.0 if row["stays"] else 0.4)
    for place, value in enumerate(middle):
        axes.text(max(value, errors[1][place] + value) + 1.5, place, f"{value:.1f} %", va="center")
    axes.set_yticks(range(len(found)), [row["rung"] for row in found])
    axes.invert_yaxis()
    axes.set(
        xlim=(0, 118),
        xlabel="time to speak the pinned sentences, reference = 100 [%]; lines: 95 % intervals over blocks",
        title=f"{ladder['checkpoint']} on {ladder['machine']}\n"
        "blue: lossless, orange: lossy, pale: tried and not kept",
    )
    figure.savefig(path, dpi=110, metadata={"Software": None})
