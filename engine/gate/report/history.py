"""Recorded runs over time, and where they changed, found by Apache Otava. A report, never the gate.

    python -m engine.gate.report.history [FOLDER ...]

Otava (https://otava.apache.org) lives in an environment of its own, because it pins numpy: `nox -s history`.
It looks for changes of the mean that persist, by E-divisive means (doi:10.1080/01621459.2013.849605) and a
t-test. One series is one machine, checkpoint and set of options; a workload gives its RTF, its worst call and
its growth, the run its first call, its peak memory, and how it sounded: MOS, speaker similarity and CER.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from engine.errors import EngineError, UsageError
from engine.gate.baselines.select import BASELINES
from engine.gate.data import samples
from engine.gate.data.samples import RECORDS, Run
from engine.gate.data.workloads import sha256_of
from engine.gate.report import sound_figures

DEFAULT_FOLDERS = (BASELINES / "runs", RECORDS)
"""The runs that are committed, and those made here."""

LEAST_RUNS = 4
"""Fewer runs have no point at which they could have changed."""


class Line(NamedTuple):
    """One series: times [runs] in seconds since 1970, commits, and by metric its values [runs].

    A value is NaN where a run did not measure it.
    """

    name: str
    times: list[int]
    commits: list[str]
    metrics: dict[str, list[float]]


Analyse = Callable[[Line], str]


def read(*folders: Path) -> list[Run]:
    """Every judged run in `folders`, oldest first; one that lies in two of them counts once.

    Raises:
        UsageError: there is none. BaselineError: a record cannot be read, or was edited.
    """
    paths = [path for folder in folders for path in folder.glob("run-*.json")]
    runs = {run.timestamp: run for path in paths if (run := samples.read(path)).verdict}
    if not runs:
        names = " or ".join(map(str, folders))
        raise UsageError(f"no records in {names}", "records of the gate", "Run it first: nox -s perf")
    return [runs[when] for when in sorted(runs)]


def lines(runs: Iterable[Run]) -> list[Line]:
    """Runs in series that may be compared: same machine, checkpoint, options, and workloads by hash."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        side = run.candidate
        options = " ".join(f"{name}={value}" for name, value in side.options.items()) or "reference"
        pins = sha256_of(side.hashes)[:8]
        groups.setdefault(f"{run.machine_key}, {side.checkpoint}, {options}, {pins}", []).append(run)
    return [_line(name, group) for name, group in groups.items()]


def _line(name: str, runs: Sequence[Run]) -> Line:
    rows = [
        {figures.workload: figures for figures in run.verdict.figures if figures.arm == "candidate"}
        for run in runs
        if run.verdict
    ]
    metrics: dict[str, list[float]] = {}
    for workload in rows[0]:
        metrics[f"{workload}.mean_rtf"] = [row[workload].mean_rtf for row in rows]
        metrics[f"{workload}.worst_rtf"] = [row[workload].worst_rtf for row in rows]
        metrics[f"{workload}.growth"] = [_known(row[workload].growth) for row in rows]
    for figure_name, figure in RUN_FIGURES.items():
        metrics[figure_name] = [_known(figure(run)) for run in runs]
    commits = [run.candidate.revision[:10] + ("+" if run.candidate.dirty else "") for run in runs]
    return Line(name, [int(run.timestamp.timestamp()) for run in runs], commits, metrics)


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _process_mean(field: str) -> Callable[[Run], float | None]:
    """The mean of a field over the candidate's processes that have it."""

    def figure(run: Run) -> float | None:
        values = [getattr(process, field) for process in run.processes if process.arm == "candidate"]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    return figure


def _sound(question: str) -> Callable[[Run], float | None]:
    """What the candidate scored on a question of sound."""

    def figure(run: Run) -> float | None:
        if run.quality is None:
            return None
        return sound_figures.overall(question, list(run.quality.candidate.scores.values()))

    return figure


RUN_FIGURES: Mapping[str, Callable[[Run], float | None]] = {
    "first_call_seconds": _process_mean("first_call_seconds"),
    "peak_host_mb": _process_mean("peak_host_mb"),
    "peak_device_mb": _process_mean("peak_device_mb"),
    "MOS": _sound("MOS"),
    "speaker": _sound("speaker"),
    "CER": _sound("CER"),
}
"""What a run gives besides its workloads."""

BETTER_HIGH = ("MOS", "speaker")


def analyse(line: Line) -> str:
    """The series as Otava prints it, a rule wherever it changed.

    Raises:
        UsageError: Otava is not installed here.
    """
    try:
        from otava.report import Report, ReportType
        from otava.series import Metric, Series
    except ImportError as error:
        raise UsageError(
            f"no Apache Otava ({error})", "its own environment", "Run: nox -s history"
        ) from error
    data = {name: values for name, values in line.metrics.items() if np.isfinite(values).all()}
    metrics = {name: Metric(direction=1 if name in BETTER_HIGH else -1) for name in data}
    series = Series(line.name, None, line.times, metrics, data, {"commit": line.commits})
    found = series.analyze().change_points_by_time
    return f"{Report(series, found).produce_report(line.name, ReportType.LOG)}\n{len(found)} drift points"


def elsewhere(root: Path, *folders: Path) -> str | None:
    """What Otava says of `folders`, from this environment or the one that `nox -s history` made in `root`.

    None: Otava is in neither.

    Raises:
        UsageError: it is there, and the report fails.
    """
    own = root / ".nox" / "history" / "bin" / "python"
    python = Path(sys.executable) if importlib.util.find_spec("otava") else own
    if not python.exists():
        return None
    command = [
        str(python),
        "-m",
        "engine.gate.report.history",
        *(str(folder.resolve()) for folder in folders),
    ]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(
            done.stderr.strip(), "a folder of readable records", "Run it by hand: nox -s history"
        )
    return done.stdout


def write(found: Iterable[Line], out: TextIO, analysis: Analyse = analyse) -> None:
    """Write every series with its drift points; series that are too short are named."""
    for line in found:
        out.write(f"{line.name}\n")
        runs = len(line.times)
        short = f"{runs} runs: at least {LEAST_RUNS} are needed to see a change"
        out.write((analysis(line) if runs >= LEAST_RUNS else short) + "\n\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Report on folders of records; exits 0 whatever changed, 2 where there is nothing to read."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.gate.report.history", description="Drift points in recorded runs."
    )
    parser.add_argument(
        "folders",
        type=Path,
        nargs="*",
        default=DEFAULT_FOLDERS,
        help="default: the runs committed and made here",
    )
    try:
        write(lines(read(*parser.parse_args(arguments).folders)), sys.stdout)
    except EngineError as error:
        sys.stderr.write(f"history: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
