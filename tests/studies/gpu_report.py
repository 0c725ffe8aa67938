"""The record of a card as a table: what was predicted beside what was measured, in columns of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.gate.baselines.select import BASELINES
from engine.gate.data.files import write_atomically

HEADINGS = ("", "limit", "predicted, {card}", "measured")
MARK = ("<!-- gpu -->\n", "<!-- /gpu -->")
"""Where the documents have the table."""
SHOWN = Path("docs/trust.md")


def table(content: Mapping[str, Any]) -> str:
    """Both columns as Markdown; an empty cell where nothing was measured."""
    limits, predicted, measured = content["limits"], content["predicted"], content["measured"]
    past = {row["size"]: row for row in predicted["rows"]}
    gains = [8 / ratio for ratio in past[8]["time_of_one"]]
    cells = _measured(measured) if measured else [""] * 5
    rows = [
        ("RTF, one request", f"at most {limits['rtf']}", _span(past[1]["rtf"], ".4f")),
        ("milliseconds of one request", "", _span([1e3 * one for one in past[1]["seconds"]], ".0f")),
        ("CV of its latency", f"at most {limits['cv']:.0%}", ""),
        (
            "time of four / of one, where one leaves the card idle",
            f"below x {limits['four']}",
            f"x {_span(past[4]['time_of_one'], '.2f')}",
        ),
        ("throughput of eight / of one", f"at least x {limits['eight']:g}", f"x {_span(gains, '.2f')}"),
    ]
    heads = [head.format(card=predicted["card"]["name"]) for head in HEADINGS]
    if measured:
        clock = measured["clocks_mhz"].get("sm", {}).get("now", "?")
        heads[-1] += f", {measured['card']}, driver {measured['driver']}, {clock} MHz"
    lines = [heads, ["---"] * len(heads), *([*row, cell] for row, cell in zip(rows, cells, strict=True))]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _span(pair: Sequence[float], form: str) -> str:
    return f"{min(pair):{form}} to {max(pair):{form}}"


def _measured(measured: Mapping[str, Any]) -> list[str]:
    """The last column."""
    now = {row["size"]: row for row in measured["rows"]}
    return [
        f"{measured['rtf']:.4f}",
        f"{1e3 * measured['rtf'] * measured['audio_seconds']:.0f}",
        f"{measured['cv']:.1%}",
        f"x {now[4]['time']['ratio']:.2f}" if 4 in now else "",
        f"x {now[8]['throughput']:.2f}" if 8 in now else "",
    ]


def page(content: Mapping[str, Any]) -> str:
    """`baselines/gpu.md`."""
    predicted, measured = content["predicted"], content["measured"]
    best, worst = predicted["shares"]
    told = (
        f"The request: {predicted['audio_seconds']:.1f} s of speech, {predicted['frames']} frames with its "
        f"clip, `{predicted['options']}` on `{predicted['checkpoint']}`, "
        f"{predicted['flops'] / 1e12:.1f} TFLOP.\n\n"
        f"Predicted (`{predicted['command']}`): the cost model's FLOPs, bytes and launches over the data "
        f"sheet's rates, of which {worst:.0%} to {best:.0%} is reached. Nothing of it was measured.\n"
    )
    if measured:
        held = "; ".join(measured["failures"]) or "every limit holds"
        told += f"\nMeasured (`{measured['command']}`) after a warm-up ({measured['warm_up']}), "
        told += f"{measured['rounds']} rounds: {held}.\n"
    else:
        told += "\nNo card has been measured yet: `nox -s gpu` on one fills the last column.\n"
    return f"# A card at base size\n\n{table(content)}\n{told}"


def write(content: Mapping[str, Any], root: Path) -> None:
    """Write the record, its page, and the table of the documents, in one go."""
    folder, shown = root / BASELINES, root / SHOWN
    before, mark, rest = shown.read_text(encoding="utf-8").partition(MARK[0])
    after = rest.partition(MARK[1])[2]
    write_atomically(folder / "gpu.json", json.dumps(content, indent=1) + "\n")
    write_atomically(folder / "gpu.md", page(content))
    if mark:
        write_atomically(shown, f"{before}{MARK[0]}\n{table(content)}\n{MARK[1]}{after}")


def known(root: Path) -> Mapping[str, Any] | None:
    """What the committed record has measured."""
    path = root / BASELINES / "gpu.json"
    content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    measured: Mapping[str, Any] | None = content.get("measured")
    return measured
