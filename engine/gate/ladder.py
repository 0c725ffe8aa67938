"""The ablation ladder: one toggle at a time on top of the last, each rung in processes of its own.

Every block runs each rung once, in a random order, so that a drift of the machine falls on all of them alike.
A block gives one log-ratio of process medians for each rung and the one below it; a Student-t interval over
blocks says what the toggle brought. A gain has one owner: the rung where its toggle appears.

`python -m engine.gate.ladder [--checkpoint NAME] [--blocks N] [--out FILE] [--plot FILE]`
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy import stats

from engine import machine as machines
from engine.checkpoint import DEFAULT_CHECKPOINT
from engine.errors import UsageError
from engine.gate import instrument, revision
from engine.gate.instrument import Material, Target
from engine.gate.record import Call
from engine.gate.run import find_material
from engine.gate.storage import write_atomically
from engine.gate.workload import SENTENCES, Sentence
from engine.options import Options

log = logging.getLogger(__name__)
SCHEMA_VERSION = 1
LEVEL = 0.95
RUNGS: tuple[tuple[str, str], ...] = (
    ("reference", ""),
    ("reference cache", "reference_cache=on"),
    ("7 pruned steps", "nfe=7 schedule=epss"),
)
"""Name of the rung, and what it adds to the toggles of the rung below."""


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Time after / time before, with its 95 % interval over blocks (Student-t on logarithms)."""

    ratio: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Taken:
    """One process of one rung: steady seconds, load seconds, peak memory, and what was proven."""

    seconds: float
    audio_seconds: float
    load_seconds: float
    peak_mb: float
    output: str
    unproven: tuple[str, ...]


def cumulative(rungs: Sequence[tuple[str, str]]) -> list[tuple[str, Options]]:
    """Each rung's name and whole set of toggles; a later word overrides an earlier one.

    Raises:
        OptionsError: a rung spells toggles that do not exist or do not fit together.
    """
    words = [" ".join(filter(None, (added for _, added in rungs[: n + 1]))) for n in range(len(rungs))]
    return [(name, Options.parse(so_far)) for (name, _), so_far in zip(rungs, words, strict=True)]


def ratio_of(after: Sequence[float], before: Sequence[float]) -> Ratio:
    """The ratio of paired times, one pair a block.

    Raises:
        UsageError: fewer than two blocks, which have no interval.
    """
    if len(after) < 2 or len(after) != len(before):
        raise UsageError(f"{len(after)} and {len(before)} blocks", "two or more, in pairs", "Measure more")
    logs = np.log(np.asarray(after) / np.asarray(before))
    half = stats.t.ppf((1 + LEVEL) / 2, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    mean = logs.mean()
    return Ratio(*(float(np.exp(value)) for value in (mean, mean - half, mean + half)))


def climb(
    rungs: Sequence[tuple[str, Options]],
    sentences: Sequence[Sentence],
    material: Material,
    outputs: Path,
    *,
    blocks: int,
    calls: int,
    seed: int,
) -> dict[str, list[Taken]]:
    """Measure every rung once a block, in random order. Waves are kept in `outputs` by their hash.

    Raises:
        UsageError: a rung does not load or speak.
    """
    root = revision.checkout()
    here, dirty = revision.describe(root)
    rng = np.random.default_rng(seed)
    taken: dict[str, list[Taken]] = {name: [] for name, _ in rungs}
    for block in range(blocks):
        for index in rng.permutation(len(rungs)):
            name, options = rungs[index]
            log.info("block %d of %d: %s", block + 1, blocks, name)
            target = Target(root, here, dirty, "" if options == Options() else str(options))
            taken[name].append(_process(target, material, sentences, calls, outputs))
    return taken


def _process(
    target: Target, material: Material, sentences: Sequence[Sentence], calls: int, outputs: Path
) -> Taken:
    """One process of one rung; the first call of each sentence is warm-up and does not count."""
    with (
        instrument.opener({"candidate": target}, material, outputs=outputs) as open_worker,
        open_worker("candidate") as handle,
    ):
        spoken = [[handle.call(sentence) for _ in range(1 + calls)] for sentence in sentences]
        end = handle.finish()
        return _taken(spoken, handle.described["load_seconds"], end)


def _taken(spoken: Sequence[Sequence[Call]], load_seconds: float, end: Mapping[str, Any]) -> Taken:
    steady = [float(np.median([call.seconds for call in calls[1:]])) for calls in spoken]
    return Taken(
        seconds=sum(steady),
        audio_seconds=sum(calls[0].audio_seconds for calls in spoken),
        load_seconds=load_seconds,
        peak_mb=end["peak_device_mb"] or end["peak_host_mb"],
        output=spoken[-1][-1].output,
        unproven=tuple(name for name, (proven, _) in end["evidence"].items() if proven is False),
    )


def rows(
    rungs: Sequence[tuple[str, Options]], taken: Mapping[str, Sequence[Taken]], outputs: Path
) -> list[dict[str, Any]]:
    """The ladder as a table: what each rung added, its gain, the gain so far, memory, how the mel moved."""
    first, below = rungs[0], rungs[0]
    found = []
    for name, options in rungs:
        mine, base, bottom = (taken[which] for which in (name, below[0], first[0]))
        seconds, before, start = ([one.seconds for one in side] for side in (mine, base, bottom))
        added = {
            key: value for key, value in options.changed().items() if below[1].changed().get(key) != value
        }
        found.append(
            {
                "rung": name,
                "added": added,
                "lossless": options.only_lossless(below[1]),
                "rtf": float(np.median([one.seconds / one.audio_seconds for one in mine])),
                "against_below": dataclasses.asdict(ratio_of(seconds, before)),
                "against_reference": dataclasses.asdict(ratio_of(seconds, start)),
                "load_seconds": float(np.median([one.load_seconds for one in mine])),
                "peak_mb": max(one.peak_mb for one in mine),
                "mel_l2_to_reference": _moved(outputs, bottom[0].output, mine[0].output),
                "unproven": sorted({toggle for one in mine for toggle in one.unproven}),
                "seconds": seconds,
            }
        )
        below = (name, options)
    return found


def _moved(outputs: Path, before: str, after: str) -> float | None:
    """Relative mel L2 between two kept waves of the same noise; None where their lengths differ."""
    from engine.gate.judges.distance import distances

    old, new = (np.fromfile(outputs / f"{output}.f32", np.float32) for output in (before, after))
    return float(distances(old, new).mel_l2) if len(old) == len(new) else None


def markdown(ladder: Mapping[str, Any]) -> str:
    """The table for people."""
    lines = [
        "| rung | adds | time / rung below | time / reference | RTF | peak memory | mel moved |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in ladder["rows"]:
        added = " ".join(f"`{name}={value}`" for name, value in row["added"].items()) or "-"
        below, whole = (_times(row[key]) for key in ("against_below", "against_reference"))
        moved = "-" if row["mel_l2_to_reference"] is None else f"{row['mel_l2_to_reference']:.2g}"
        first = row is ladder["rows"][0]
        lines.append(
            f"| {row['rung']} | {added} | {'-' if first else below} | {'-' if first else whole} "
            f"| {row['rtf']:.3f} | {row['peak_mb']:.0f} MiB | {'-' if first else moved} |"
        )
    return "\n".join(lines) + "\n"


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
    axes.barh(range(len(found)), middle, xerr=errors, color=colours, capsize=3)
    for place, value in enumerate(middle):
        axes.text(max(value, errors[1][place] + value) + 1.5, place, f"{value:.1f} %", va="center")
    axes.set_yticks(range(len(found)), [row["rung"] for row in found])
    axes.invert_yaxis()
    axes.set(
        xlim=(0, 118),
        xlabel="time to speak the pinned sentences, reference = 100 [%]; lines: 95 % intervals over blocks",
        title=f"{ladder['checkpoint']} on {ladder['machine']}; blue: lossless rung, orange: lossy",
    )
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main(
    checkpoint: Annotated[str, typer.Option(help="What to load.")] = DEFAULT_CHECKPOINT,
    blocks: Annotated[int, typer.Option(min=2, help="Each rung runs once a block.")] = 5,
    calls: Annotated[int, typer.Option(min=1, help="Steady calls of each sentence in a process.")] = 3,
    sentences: Annotated[str, typer.Option(help="Pinned sentences, separated by commas.")] = "short,medium",
    seed: Annotated[int, typer.Option(help="Of the order of the rungs.")] = 0,
    out: Annotated[Path, typer.Option(help="Record to write.")] = Path("build/ladder.json"),
    picture: Annotated[Path | None, typer.Option("--plot", help="PNG to write.")] = None,
) -> None:
    """Measure the ladder on this machine."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    rungs, material = cumulative(RUNGS), find_material(checkpoint)
    wanted = sentences.split(",")
    chosen = [sentence for sentence in SENTENCES if sentence.name in wanted]
    if len(chosen) != len(wanted):
        raise UsageError(
            f"sentences {sentences!r}", f"some of {', '.join(s.name for s in SENTENCES)}", "Correct it"
        )
    with tempfile.TemporaryDirectory(prefix="ishowtts-ladder-") as scratch:
        taken = climb(rungs, chosen, material, Path(scratch), blocks=blocks, calls=calls, seed=seed)
        machine = machines.describe()
        ladder = {
            "schema_version": SCHEMA_VERSION,
            "timestamp": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "revision": revision.describe(revision.checkout())[0],
            "machine": machine.key,
            "checkpoint": material.name,
            "sentences": wanted,
            "blocks": blocks,
            "calls": calls,
            "level": LEVEL,
            "rows": rows(rungs, taken, Path(scratch)),
        }
    write_atomically(out, json.dumps(ladder, indent=1) + "\n")
    write_atomically(out.with_suffix(".md"), markdown(ladder))
    if picture is not None:
        plot(ladder, picture)
    log.info("\n%s", markdown(ladder))


if __name__ == "__main__":
    typer.run(main)
