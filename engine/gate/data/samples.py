"""The immutable record of one gate run: raw times, options, machine, versions, verdict. Written once."""

from __future__ import annotations

import datetime
import json
import uuid
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.errors import BaselineError, UsageError
from engine.gate.data.files import reason, write_atomically
from engine.gate.data.machine_state import AfterBlock, Preflight
from engine.gate.data.outputs import Quality
from engine.gate.data.plan import Plan
from engine.gate.data.workloads import (
    Frozen,
    Name,
    NonNegative,
    Positive,
    Sha256,
    Workload,
    check_same,
    sha256_of,
)
from engine.gate.machine import Machine

SCHEMA_VERSION = 1
RECORDS = Path("build/records")
CONTROL = "A/A control"
Arm = Literal["base", "candidate"]
ARMS: tuple[Arm, ...] = ("base", "candidate")
ExitCode = Literal[0, 1, 2, 3]
ABBA: tuple[Arm, ...] = ("base", "candidate", "candidate", "base")
BAAB: tuple[Arm, ...] = ("candidate", "base", "base", "candidate")


class EditedError(BaselineError):
    """Samples no longer match their checksum: somebody changed them after the measurement."""


class Call(Frozen):
    """One timed `synthesize`: wall seconds, seconds of audio, memory after it (MiB), hash of the samples."""

    seconds: Positive
    audio_seconds: Positive
    host_mb: Positive
    device_mb: NonNegative | None = None
    stages: dict[str, NonNegative] = Field(default_factory=dict)
    output: Sha256

    @property
    def rtf(self) -> float:
        """Real-time factor: wall seconds per second of audio."""
        return self.seconds / self.audio_seconds


class Series(Frozen):
    """One workload in one process. Warm-up calls stand apart and are never averaged in."""

    workload: Name
    warmup: tuple[Call, ...] = ()
    calls: Annotated[tuple[Call, ...], Field(min_length=1)]
    compile_seconds: NonNegative = 0.0


class Observed(Frozen):
    """What one toggle did in one process, and whether that agrees with its option (see `Engine.evidence`).

    `proven` is None where nothing could be observed.
    """

    proven: bool | None
    observed: str


class Process(Frozen):
    """One process of one arm: the unit of independence. `block` counts blocks, `position` the place in it."""

    arm: Arm
    block: Annotated[int, Field(ge=0)]
    position: Annotated[int, Field(ge=0)]
    load_seconds: NonNegative = 0.0
    series: Annotated[tuple[Series, ...], Field(min_length=1)]
    evidence: dict[str, Observed] = Field(default_factory=dict)
    peak_host_mb: NonNegative | None = None
    peak_device_mb: NonNegative | None = None


class Side(Frozen):
    """What one arm is: revision, options that differ from the reference, checkpoint, versions, workloads."""

    revision: str
    dirty: bool
    options: dict[str, bool | int | float | str] = Field(default_factory=dict)
    checkpoint: Name
    trained: bool
    versions: dict[str, str]
    workloads: Annotated[tuple[Workload, ...], Field(min_length=1)]

    @property
    def hashes(self) -> dict[str, str]:
        """Workload name to content hash."""
        return {workload.name: workload.sha256 for workload in self.workloads}


class Judgement(Frozen):
    """One question answered: what was asked, the answer, its exit code, and a sentence for people.

    `value` is the point estimate, `low` and `high` its interval and `limit` the bound it was
    held to, all in `unit`.
    """

    question: Name
    outcome: Name
    code: ExitCode
    sentence: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    unit: str = ""


class Row(Frozen):
    """The verdict on one workload: the candidate's figures over its steady calls, and every question asked.

    `cv` is that of the medians of processes, or of the calls where there is one process. `growth` is in
    MiB per call, the steeper of host and device. None: too few samples to tell.
    """

    workload: Name
    mean_rtf: Positive
    worst_rtf: Positive
    cv: NonNegative | None
    growth: float | None
    judgements: tuple[Judgement, ...]
    code: ExitCode


class Verdict(Frozen):
    """The verdict on the run: speed by workload and over all of them (`whole`), `quality`, and on the run
    itself (`trust`).

    `notes` are said aloud whatever the outcome.
    """

    rows: tuple[Row, ...]
    whole: tuple[Judgement, ...]
    quality: tuple[Judgement, ...] = ()
    trust: tuple[Judgement, ...]
    notes: tuple[str, ...]
    code: ExitCode

    @property
    def judgements(self) -> tuple[tuple[str, Judgement], ...]:
        """Every answer with its place: the workload, "run" or "quality"."""
        rows = [(row.workload, judgement) for row in self.rows for judgement in row.judgements]
        groups = (("run", self.whole), ("quality", self.quality), ("run", self.trust))
        return (*rows, *((place, judgement) for place, group in groups for judgement in group))


class Run(Frozen):
    """Everything one run measured, and under what conditions. Raw samples, so that it can be judged again.

    `preflight` was before the first process, `after_blocks` what could be seen again when a block had ended.
    `threshold` (0.2: 20 % slower) overrides the baseline's limit of the time ratio. With a base, every block
    holds four processes, base and candidate as ABBA or BAAB. `quality` is None where it was not judged.
    """

    schema_version: Literal[1] = 1
    timestamp: datetime.datetime
    machine_key: Name
    machine: Machine
    preflight: Preflight
    after_blocks: tuple[AfterBlock, ...] = ()
    forced: bool = False
    plan: Plan
    threshold: Positive | None = None
    candidate: Side
    base: Side | None = None
    processes: Annotated[tuple[Process, ...], Field(min_length=1)]
    quality: Quality | None = None
    verdict: Verdict | None = None

    @model_validator(mode="after")
    def _is_coherent(self) -> Run:
        if self.timestamp.utcoffset() != datetime.timedelta(0):
            raise ValueError("timestamp must be in UTC")
        for process in self.processes:
            side = self.side(process.arm)
            if side is None:
                raise ValueError(f"a process of arm {process.arm!r}, but the run has no such side")
            if [series.workload for series in process.series] != [
                workload.name for workload in side.workloads
            ]:
                raise ValueError(f"a process of arm {process.arm!r} ran other workloads than its side names")
        blocks = self._arms()
        if [after.block for after in self.after_blocks] not in ([], list(blocks)):
            raise ValueError("the machine was not looked at once after each block")
        for block, arms in blocks.items():
            if self.base is not None and arms not in (ABBA, BAAB):
                raise ValueError(f"block {block} ran {', '.join(arms)}: neither ABBA nor BAAB")
        return self

    def _arms(self) -> dict[int, tuple[Arm, ...]]:
        """The arms of each block, in the order in which they ran."""
        ordered = sorted(self.processes, key=lambda process: (process.block, process.position))
        return {
            block: tuple(process.arm for process in group)
            for block, group in groupby(ordered, lambda p: p.block)
        }

    @property
    def fit(self) -> bool:
        """Whether the machine was fit from the start to the end."""
        return self.preflight.fit and all(after.fit for after in self.after_blocks)

    def side(self, arm: Arm) -> Side | None:
        """The description of one arm."""
        return self.candidate if arm == "candidate" else self.base

    def series(self, arm: Arm, workload: str) -> tuple[tuple[Process, Series], ...]:
        """One arm's series of one workload, by block and position, each with its process."""
        ordered = sorted(self.processes, key=lambda process: (process.block, process.position))
        return tuple(
            (process, series)
            for process in ordered
            if process.arm == arm
            for series in process.series
            if series.workload == workload
        )

    def outputs(self, arm: Arm, workload: str) -> set[str]:
        """Hashes of everything that one arm said when it was timed, warm-up included."""
        series = (one for _, one in self.series(arm, workload))
        return {call.output for one in series for call in (*one.warmup, *one.calls)}

    def check_comparable(self) -> None:
        """Raise unless both arms spoke the same workloads.

        Raises:
            BaselineError: a workload vanished or changed between the arms; the message names it.
        """
        if self.base is not None:
            check_same(self.base.hashes, self.candidate.hashes, "the base", "the candidate")


def write(run: Run, directory: Path = RECORDS, keep: int = 100) -> Path:
    """Write `run` under a new name with its time in it; keep the newest `keep` records. Returns the path.

    Raises:
        UsageError: `keep` is below 1. OutputError: the directory or file cannot be written.
    """
    if keep < 1:
        raise UsageError(f"keep={keep}", "at least 1 record kept", "Pass 1 or more")
    content = run.model_dump(mode="json")
    stamp = run.timestamp.strftime("%Y%m%dT%H%M%S.%fZ")
    path = directory / f"run-{stamp}-{uuid.uuid4().hex[:12]}.json"
    write_atomically(path, json.dumps({"sha256": sha256_of(content), "run": content}))
    others = sorted(one for one in directory.glob("run-*.json") if one != path)
    for old in others[: max(0, len(others) + 1 - keep)]:
        old.unlink(missing_ok=True)  # another writer may have been quicker
    return path


def read(path: Path) -> Run:
    """The run recorded at `path`.

    Raises:
        EditedError: the content does not match its checksum.
        BaselineError: missing, unreadable or of another schema.
    """
    try:
        envelope = json.loads(path.read_text(encoding="utf-8"))
        content, sha256 = envelope["run"], envelope["sha256"]
        if sha256_of(content) != sha256:
            raise EditedError(
                f"record {path} does not match its checksum",
                "a record as it was measured",
                "Restore the file or measure again; samples are never edited",
            )
        return Run.model_validate_json(json.dumps(content))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BaselineError(
            f"record {path}: {reason(error)}",
            f"a readable run record of schema version {SCHEMA_VERSION}",
            "Measure again, or read it with the version that wrote it",
        ) from error
