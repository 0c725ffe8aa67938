"""How often the quality gate cries wolf, and how often it misses: on judged speech, resampled, committed.

    nox -s study -- calibrate-quality      # writes baselines/quality-calibration.{json,png}

Every pinned text is spoken in every voice with several seeds, changed harmlessly, and spoiled by seeded
faults (`degradations`); each distinct output is judged once and kept under build/, so an interrupted run goes
on where it stopped. Gate runs of the shipped set sizes are then made up from these pairs (`quality_trials`).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import importlib.metadata
import json
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import BaselineError
from engine.gate.baselines import select
from engine.gate.baselines.select import BASELINES, PORTABLE
from engine.gate.data.files import write_atomically
from engine.gate.data.quality_limits import Limits
from engine.gate.data.texts import QUICK, choose
from engine.gate.quality.differences import QUESTIONS
from tests.studies.quality_corpus import Cell, Study, cells, judge_cells, recordings
from tests.studies.quality_trials import (
    ANOTHER_SEED,
    CLEAN,
    FAULTY,
    Judged,
    Scenario,
    apart,
    on_recordings,
    rate,
    scenarios,
    try_scenario,
)

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
REPORT = Path("baselines/quality-calibration.json")
FOLDER = Path("build/quality-calibration")
FALSE_ALARMS, CAUGHT = 0.01, 0.95
"""Most of the clean runs that may fail, and least of the faulty ones that must."""
PACKAGES = (
    "torch",
    "f5-tts",
    "vocos",
    "pocketsphinx",
    "resemblyzer",
    "speechmos",
    "onnxruntime",
    "numpy",
    "scipy",
)


def row(scenario: Scenario, judged: Judged, limits: Limits) -> dict[str, Any]:
    """One line of the report: how often the gate failed the run, why, and how often it could not tell.

    A target is set where a change is in every clip; `met` also holds the bound to it.
    """
    trials = try_scenario(scenario, judged, limits)
    failed = rate(trials.codes == 1)
    if scenario.clean:
        met = failed["rate"] <= FALSE_ALARMS and failed["high_95"] <= FALSE_ALARMS
    else:
        met = failed["rate"] >= CAUGHT and failed["low_95"] >= CAUGHT
    aimed = scenario.extent == "every clip"
    return {
        **dataclasses.asdict(scenario),
        "clean": scenario.clean,
        "failed": failed,
        "undecided": float((trials.codes == 3).mean()),
        "by": {name: trials.by[name] / trials.codes.size for name in QUESTIONS if trials.by.get(name)},
        "target": ({"at_most": FALSE_ALARMS} if scenario.clean else {"at_least": CAUGHT}) if aimed else None,
        "met": met if aimed else None,
    }


def rows(
    wanted: Iterable[Scenario], judged: Judged, limits: Limits, workers: int, advance: Callable[[], None]
) -> list[Any]:
    """`row` of every scenario, in order, over `workers` processes."""
    found = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for one in pool.map(functools.partial(row, judged=judged, limits=limits), wanted):
            found.append(one)
            advance()
    return found


def alone(judged: Judged, limits: Limits, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """False alarms of another seed in runs that share no clip: few, but independent."""
    found = []
    for size in sizes:
        codes = apart(Scenario(ANOTHER_SEED, size, "other"), judged, limits)
        if len(codes):
            found.append({"size": size, "failed": rate((codes == 1)[None])})
    return found


def report(
    study: Study,
    judged: Judged,
    recorded: Judged,
    limits: Limits,
    workers: int,
    advance: Callable[[], None],
) -> dict[str, Any]:
    """Everything the committed file holds."""
    from engine import checkpoint

    found = checkpoint.find(study.checkpoint)
    sizes = set_sizes(found.languages)
    spoken = rows(scenarios(sizes), judged, limits, workers, advance)
    changes = {name for takes in recorded.values() for name in takes}
    held = [one["met"] for one in spoken if one["met"] is not None]
    return {
        "schema": SCHEMA,
        "command": "nox -s study -- calibrate-quality",
        "checkpoint": found.name,
        "weights": found.digest(),
        "options": study.options,
        "seeds": study.seeds,
        "texts": len({cell.text for cell in judged}),
        "voices": sorted({cell.voice for cell in judged}),
        "outputs": len({take.scores.output for takes in judged.values() for take in takes.values()}),
        "recordings": sorted(cell.voice for cell in recorded),
        "sets": dict(zip(("full", "quick"), sizes, strict=True)),
        "limits": limits.model_dump(),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "targets": len(held),
        "targets_met": sum(held),
        "rows": spoken,
        "on recordings": [
            recorded_row(change, recorded, limits) for change in (*CLEAN, *FAULTY) if change in changes
        ],
        "another seed, runs apart": alone(judged, limits, sizes),
    }


def recorded_row(change: str, recorded: Judged, limits: Limits) -> dict[str, Any]:
    """One line on recorded speech: of how many runs how many failed, and why."""
    trials = on_recordings(change, recorded, limits)
    return {
        "change": change,
        "clean": change in CLEAN,
        "runs": trials.codes.size,
        "failed": int((trials.codes == 1).sum()),
        "undecided": int((trials.codes == 3).sum()),
        "by": {name: trials.by[name] for name in QUESTIONS if trials.by.get(name)},
    }


def shipped_limits(path: Path = BASELINES / f"{PORTABLE}.json") -> Limits:
    """The limits that every machine without its own holds a candidate to.

    Raises:
        BaselineError: there is no such baseline, or it has none.
    """
    limits = select.load(path).relative.quality
    if limits is None:
        raise BaselineError(f"{path} without relative.quality", "limits to calibrate", "Write them there")
    return limits


def set_sizes(languages: Sequence[str]) -> tuple[int, int]:
    """Cases in a full and in a quick run of the gate."""
    return len(choose(languages).cases), len(choose(languages, QUICK).cases)


def main(arguments: Sequence[str] | None = None) -> int:
    """Calibrate and write; 1 if a target is missed."""
    from rich.console import Console

    from engine import checkpoint
    from tests.studies.quality_plot import plot

    given = _parser().parse_args(arguments)
    study = Study(given.checkpoint, given.options, given.seeds, given.work)
    wanted, recorded = cells(study, given.texts), recordings(given.clips)
    sizes = set_sizes(checkpoint.find(study.checkpoint).languages)
    console = Console()
    with _told(console, "speaking and judging", _work([*wanted, *recorded])) as advance:
        every = judge_cells(study, [*wanted, *recorded], given.workers, lambda cell: advance(_work([cell])))
    judged, extra = ({cell: every[cell] for cell in some} for some in (wanted, recorded))
    with _told(console, "gate runs", len([*scenarios(sizes)])) as advance:
        found = report(study, judged, extra, shipped_limits(), given.workers, lambda: advance(1))
    write_atomically(given.out, json.dumps(found, indent=1) + "\n")
    plot(found, given.plot or given.out.with_suffix(".png"))
    for one in found["rows"]:
        if one["met"] is False:
            bounds = f"{one['failed']['low_95']:.3f} to {one['failed']['high_95']:.3f}"
            what = f"{one['change']}, {one['size']} cases, {one['noise']} noise"
            console.print(f"missed: {what}: {one['failed']['rate']:.3f} ({bounds}), target {one['target']}")
    console.print(f"{found['targets_met']} of {found['targets']} targets met")
    return 0 if found["targets_met"] == found["targets"] else 1


@contextlib.contextmanager
def _told(console: Console, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Progress with the time that is left: a bar on a terminal, now and then a line in a file."""
    from rich.progress import Progress

    start, done, said = time.monotonic(), 0, -1
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)

        def advance(step: int) -> None:
            nonlocal done, said
            done += step
            progress.advance(task, step)
            if not console.is_terminal and done * 50 // total > said:
                said, spent = done * 50 // total, time.monotonic() - start
                left = spent / done * (total - done)
                console.print(f"{what}: {done / total:.0%} after {spent:.0f} s, about {left:.0f} s left")

        yield advance


def _work(some: Sequence[Cell]) -> int:
    """How long cells take, in characters to speak and judge; a spoiled cell has many more takes."""
    return sum(len(cell.text) * (5 if cell.spoiled else 1) for cell in some)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nox -s study -- calibrate-quality", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, default=REPORT, help="JSON to write")
    parser.add_argument("--plot", type=Path, help="PNG to write (beside the JSON)")
    parser.add_argument("--clips", type=Path, help="folder of WAVs to add, each with its words in a .txt")
    parser.add_argument("--checkpoint", default="box", help="a voice with at least two reference clips")
    parser.add_argument("--options", default="fast_cpu", help="options of the engine that speaks")
    parser.add_argument("--seeds", type=int, default=3, help="takes of each text and voice, at least 2")
    parser.add_argument(
        "--texts", type=int, default=0, help="only so many of the pinned texts: to try it out"
    )
    parser.add_argument("--workers", type=int, default=4, help="processes of one thread each")
    parser.add_argument("--work", type=Path, default=FOLDER, help="where waves and scores are kept")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
