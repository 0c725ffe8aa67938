"""Texts, clips, folders and requests that nobody would send: is there audio or a clear error?

`nox -s study -- fuzz [--minutes N] [--seed N] [--only KIND/NUMBER]`

A case follows from the seed, its kind and its number alone, so that one that failed can be run again by
itself. Whatever is neither audio nor an `EngineError` is a finding; so are a hang and a process that dies,
whose case is the last one in `build/fuzz.log`.
"""

from __future__ import annotations

import faulthandler
import itertools
import json
import random
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from engine.errors import EngineError
from engine.gate.data.files import write_atomically
from tests.studies import fuzz_cases
from tests.studies.committed import provenance

SCHEMA_VERSION = 1
HANG_SECONDS = 120.0
LOG = Path("build/fuzz.log")
LONGEST_SECONDS = 1200.0
"""Audio of one case: the longest text at the slowest speed stays below."""


def outcome(run: Any) -> tuple[str, str]:
    """What became of one case: `audio`, `refused` with the kind of error, or `finding` with why."""
    try:
        audios = run()
    except EngineError as error:
        missing = [name for name in ("given", "expected", "cure") if not str(getattr(error, name)).strip()]
        if missing:
            return "finding", f"{type(error).__name__} without {missing[0]}"
        return "refused", type(error).__name__
    except Exception:  # noqa: BLE001 - this study exists to find whatever else is raised
        return "finding", traceback.format_exc(limit=-4)
    for audio in audios:
        samples = audio.samples
        if samples.dtype != np.float32 or not len(samples) or not np.isfinite(samples).all():
            return "finding", f"audio {samples.dtype} {samples.shape}, finite {np.isfinite(samples).all()}"
        if audio.seconds > LONGEST_SECONDS:
            return "finding", f"{audio.seconds:.0f} s of audio"
    return "audio", ""


def fuzz(
    minutes: float, seed: int, only: str | None, progress: Progress
) -> tuple[dict[str, Counter[str]], list[dict[str, str]]]:
    """Run cases of every kind in turn until the time is over, or the one that is named.

    Returns:
        How often each kind came to which outcome, and the findings.
    """
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in fuzz_cases.KINDS}
    findings: list[dict[str, str]] = []
    bar = progress.add_task("cases", total=minutes * 60)
    end = time.monotonic() + minutes * 60
    LOG.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, LOG.open("w", encoding="utf8") as log:
        stage = fuzz_cases.Stage.open(Path(folder))
        for kind, number in _names(only):
            if time.monotonic() > end:
                break
            name = f"{kind}/{number}"
            print(name, file=log, flush=True)
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=log)
            run = fuzz_cases.KINDS[kind](stage, random.Random(f"{seed}/{name}"))
            result, why = outcome(run)
            faulthandler.cancel_dump_traceback_later()
            counts[kind][result if result != "refused" else f"refused: {why}"] += 1
            if result == "finding":
                findings.append({"case": name, "why": why})
            left = end - time.monotonic()
            progress.update(bar, completed=minutes * 60 - left, description=f"{name}, {len(findings)} found")
    return counts, findings


def _names(only: str | None) -> Any:
    """Every kind in turn with numbers that rise, or the one case that is named."""
    if only is not None:
        kind, _, number = only.partition("/")
        return [(kind, int(number))]
    return ((kind, number) for number in itertools.count() for kind in fuzz_cases.KINDS)


def main(
    minutes: Annotated[float, typer.Option(help="how long")] = 10.0,
    seed: Annotated[int, typer.Option(help="other cases for another one")] = 0,
    only: Annotated[str | None, typer.Option(help="one case by its name, as a finding gives it")] = None,
    out: Annotated[Path | None, typer.Option(help="where the record goes")] = None,
) -> None:
    """Feed the engine what it was not made for; exit 1 where it answered with neither audio nor an error."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        counts, findings = fuzz(minutes, seed, only, progress)
    for kind, results in counts.items():
        console.print(f"{kind:8} " + ", ".join(f"{name} {count}" for name, count in sorted(results.items())))
    for finding in findings:
        console.print(f"\n{finding['case']}\n{finding['why']}")
    record = {
        **provenance(SCHEMA_VERSION, fuzz_cases.CHECKPOINT),
        "seed": seed,
        "minutes": minutes,
        "cases": {kind: dict(sorted(results.items())) for kind, results in counts.items()},
        "findings": findings,
    }
    if out is not None and only is None:
        write_atomically(out, json.dumps(record, indent=1) + "\n")
    console.print(f"{sum(results.total() for results in counts.values())} cases, {len(findings)} findings")
    raise typer.Exit(1 if findings else 0)


if __name__ == "__main__":
    typer.run(main)
