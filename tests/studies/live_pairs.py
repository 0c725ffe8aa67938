"""How far identical code differs from block to block: live pairs beside processes one after the other.

    nox -s study -- live-pairs --minutes 20              # a quiet machine
    nox -s study -- live-pairs --minutes 20 --burden     # one core has another program on it
    nox -s study -- live-pairs --minutes 10 --slow 1.05  # is a slow-down of 5 % seen?

Both ways take turns in one session, with equal wall time, and so meet the same machine. Live pairs are
measured by the gate's own instrument. The other way is the gate's former one: four processes in the order
base, candidate, candidate, base (or the reverse), each alone, and the log-ratio of their medians.

Each session is written into baselines/live_pairs.json with all its blocks; the live pairs of identical code
become a recording, which `calibrate` replays.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine import checkpoint as checkpoints
from engine.errors import UsageError
from engine.gate import machine
from engine.gate.data.files import write_atomically
from engine.gate.data.plan import Plan
from engine.gate.data.samples import ARMS, Arm, Process
from engine.gate.measure import process as instrument
from engine.gate.measure import revisions
from engine.gate.measure.blocks import Described, run_block, same_as_before, speak_all
from engine.gate.measure.compare import centre_pairs, seconds
from engine.gate.measure.design import Design, Settings
from engine.gate.measure.process import Material, Opener, Target
from tests.studies import recordings

REPORT = Path("baselines/live_pairs.json")
LIVE, SEQUENTIAL = "live pairs", "one after the other"
BUSY = """
import random, time

lengths = random.Random(0)
while True:
    end = time.perf_counter() + lengths.expovariate(1 / 0.5)
    while time.perf_counter() < end:
        pass
    time.sleep(lengths.expovariate(1 / 0.5))
"""
"""Another program: busy and idle for half a second each on average, as real ones are not steady."""
SLOWED = """

_synthesize = Engine.synthesize


def _slowed(self, *args, **kwargs):
    import time

    start = time.perf_counter()
    audio = _synthesize(self, *args, **kwargs)
    end = start + {slow} * (time.perf_counter() - start)
    while time.perf_counter() < end:
        pass
    return audio


Engine.synthesize = _slowed
"""

Block = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one session, write it, and print what it says."""
    from rich.console import Console

    given = _parser().parse_args(arguments)
    names = tuple(given.workloads.split(","))
    settings = Settings(Plan(), names, 60 * given.minutes, rounds=given.rounds, seed=given.seed, twins=2)
    if not settings.sentences:
        raise UsageError(
            f"--workloads {given.workloads}", "names of pinned sentences", "Try --workloads short"
        )
    material = _material(given.checkpoint)
    with (
        burdened(given.burden),
        _targets(given.options, given.slow) as targets,
        instrument.opener(targets, material) as open_worker,
    ):
        blocks, processes, described = session(settings, open_worker)
    name = _name(given)
    facts = {
        "recorded_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine.describe().facts(),
        "revision": targets["base"].revision,
        "dirty": targets["base"].dirty,
        "checkpoint": given.checkpoint,
        "options": given.options,
        "threads": described["base"]["threads"],
        "burden": "one core" if given.burden else "nothing",
        "slow": given.slow,
        "rounds": given.rounds,
    }
    report = facts | {"methods": {method: summary(rows) for method, rows in blocks.items()}}
    save(given.out, name, report)
    if given.slow == 1:
        record(given.recordings / f"{name}.json", facts, processes)
    Console(highlight=False, soft_wrap=True).print("\n".join(said(name, report)))
    return 0


def session(
    settings: Settings, open_worker: Opener, clock: Callable[[], float] = time.monotonic
) -> tuple[dict[str, list[Block]], tuple[Process, ...], Described]:
    """Blocks of both ways, whichever has had less time next, at least two of each.

    Returns:
        The blocks by method, the processes of the live pairs, and what the arms said of themselves.
    """
    start, described = clock(), Described()
    generator = np.random.default_rng(settings.seed)
    rounds = settings.rounds or 1
    layout = Design(settings.plan, twins=2, rounds=rounds)
    blocks: dict[str, list[Block]] = {LIVE: [], SEQUENTIAL: []}
    processes: list[Process] = []
    while True:
        spent = {method: sum(row["seconds"] for row in rows) for method, rows in blocks.items()}
        method = min(spent, key=lambda name: spent[name])
        enough = min(map(len, blocks.values())) >= 2
        if enough and clock() - start + blocks[method][-1]["seconds"] > settings.budget_seconds:
            return blocks, tuple(processes), described
        begun, number = clock(), len(blocks[method])
        if method == LIVE:
            block = run_block(settings, layout, number, open_worker, described, generator)
            processes += block
            values = live_values(settings, block)
        else:
            values = sequential_values(settings, open_worker, described, generator)
        blocks[method].append(values | {"seconds": round(clock() - begun, 2)})


def live_values(settings: Settings, block: Sequence[Process]) -> Block:
    """The log-ratio and twin differences of a block of live pairs, by workload."""
    found = {name: centre_pairs(block, name) for name in settings.workloads}
    return {
        "ratios": {name: float(pairs.ratios[0]) for name, pairs in found.items()},
        "twins": {name: pairs.twins[0].tolist() for name, pairs in found.items()},
    }


def sequential_values(
    settings: Settings, open_worker: Opener, described: Described, generator: np.random.Generator
) -> Block:
    """The same from four processes, each alone: base, candidate, candidate, base, or the reverse."""
    outer, inner = ARMS if generator.random() < 0.5 else ARMS[::-1]
    medians: dict[Arm, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for arm in (outer, inner, inner, outer):
        with open_worker(arm) as handle:
            same_as_before(arm, handle, described)
            (series,) = speak_all([handle], settings, settings.rounds or 1, generator)
            process = instrument.process(arm, 0, 0, series, handle, handle.finish())
        medians[arm].append(
            {name: float(np.log(np.median(seconds(process, name)))) for name in settings.workloads}
        )
    ratios, twins = {}, {}
    for name in settings.workloads:
        base, candidate = ([process[name] for process in medians[arm]] for arm in ARMS)
        ratios[name] = (sum(candidate) - sum(base)) / 2
        twins[name] = [base[0] - base[1], candidate[0] - candidate[1]]
    return {"ratios": ratios, "twins": twins}


def summary(blocks: Sequence[Block]) -> dict[str, Any]:
    """Of one method: seconds of a block, and by workload mean, standard deviation and noise of twins."""
    each = float(np.mean([block["seconds"] for block in blocks]))
    workloads = {}
    for name in blocks[0]["ratios"]:
        ratios = np.array([block["ratios"][name] for block in blocks])
        twins = np.array([block["twins"][name] for block in blocks])
        deviation = float(ratios.std(ddof=1))
        workloads[name] = {
            "mean": float(ratios.mean()),
            "sd": deviation,
            "twins": float(np.sqrt((twins**2).mean() / 2)),
            "sd_of_a_minute": deviation * float(np.sqrt(each / 60)),
        }
    return {"seconds_a_block": each, "workloads": workloads, "blocks": list(blocks)}


def said(name: str, report: Mapping[str, Any]) -> list[str]:
    """The session in lines for people."""
    lines = [f"{name}: {report['checkpoint']}, {report['options']}, slow {report['slow']:g}"]
    for method, found in report["methods"].items():
        head = f"{method}: {len(found['blocks'])} blocks of {found['seconds_a_block']:.0f} s"
        lines += [
            f"  {head}; {workload}: mean {row['mean']:+.2%}, sd {row['sd']:.2%}, twins {row['twins']:.2%}"
            for workload, row in found["workloads"].items()
        ]
    live, alone = (report["methods"][method]["workloads"] for method in (LIVE, SEQUENTIAL))
    for workload, row in live.items():
        share = row["sd_of_a_minute"] / alone[workload]["sd_of_a_minute"]
        lines.append(f"  {workload}: at equal time, live pairs spread {share:.2f} times as far")
    return lines


def save(path: Path, name: str, report: Mapping[str, Any]) -> None:
    """Put the session beside the others of the file, in place of an older one of its name."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"schema_version": 1}
    sessions = content.get("sessions", {}) | {name: report}
    content |= {"command": "nox -s study -- live-pairs", "sessions": sessions}
    write_atomically(path, json.dumps(content, indent=1) + "\n")


def record(path: Path, facts: Mapping[str, Any], processes: tuple[Process, ...]) -> None:
    """Write the live pairs of identical code as a recording."""
    recording = recordings.Recording(
        recorded_at=datetime.datetime.fromisoformat(facts["recorded_at"]),
        machine=machine.describe(),
        burden=facts["burden"],
        revision=facts["revision"],
        checkpoint=facts["checkpoint"],
        options=facts["options"],
        threads=facts["threads"],
        blocks=recordings.blocks_of(processes),
    )
    recordings.write(recording, path)


@contextlib.contextmanager
def burdened(burden: bool) -> Iterator[None]:
    """One core is busy with another program, which ends on the way out."""
    if not burden:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", BUSY]) as program:
        try:
            yield
        finally:
            program.kill()


@contextlib.contextmanager
def _targets(options: str, slow: float) -> Iterator[dict[Arm, Target]]:
    """Both arms from copies of this checkout's engine; the candidate's takes `slow` times as long."""
    revision, dirty = revisions.describe(revisions.checkout())
    with tempfile.TemporaryDirectory(prefix="ishowtts-study-") as scratch:
        targets: dict[Arm, Target] = {}
        for arm in ARMS:
            root = Path(scratch) / arm
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(revisions.checkout() / "engine", root / "engine", ignore=ignored)
            targets[arm] = Target(root, revision, dirty, options)
        if slow != 1:
            with (targets["candidate"].root / "engine" / "synthesis.py").open(
                "a", encoding="utf-8"
            ) as source:
                source.write(SLOWED.format(slow=slow))
        yield targets


def _material(name: str) -> Material:
    voice = next(iter(checkpoints.find(name).references.values()))
    return Material(name, name, Path(str(voice.audio)), voice.text)


def _name(given: argparse.Namespace) -> str:
    state = given.name or ("burdened" if given.burden else "quiet")
    return state if given.slow == 1 else f"{state}, slow {given.slow:g}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nox -s study -- live-pairs", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0, help="of both ways together")
    parser.add_argument("--burden", action="store_true", help="keep one core busy with another program")
    parser.add_argument("--slow", type=float, default=1.0, help="factor on the candidate's time")
    parser.add_argument("--checkpoint", default="box")
    parser.add_argument("--options", default="fast_cpu")
    parser.add_argument("--workloads", default="short,medium,long", help="names, with commas")
    parser.add_argument("--rounds", type=int, default=8, help="calls of each workload in each process")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="", help="of the session; quiet or burdened if not given")
    parser.add_argument("--out", type=Path, default=REPORT, help="JSON to write")
    parser.add_argument("--recordings", type=Path, default=recordings.FOLDER, help="folder to write")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
