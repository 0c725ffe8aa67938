"""The immutable record of one gate run: raw times, options, machine, versions, verdict. Written once."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.errors import BaselineError, UsageError
from engine.gate.data.files import reason, write_atomically
from engine.gate.data.machine_state import AfterBlock, Preflight
from engine.gate.data.outputs import Quality
from engine.gate.data.plan import Plan
from engine.gate.data.verdict import ARMS as ARMS
from engine.gate.data.verdict import Arm as Arm
from engine.gate.data.verdict import ExitCode as ExitCode
from engine.gate.data.verdict import Verdict as Verdict
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

SCHEMA_VERSION = 2
RECORDS = Path("build/records")
CONTROL = "A/A control"
Question = Literal["change", "toggles", "limits", "drift"]
Count = Annotated[int, Field(ge=0)]


class EditedError(BaselineError):
    """Samples no longer match their checksum: somebody changed them after the measurement."""


class Work(Frozen):
    """What one text costs, counted in an untimed call: the same on every run and every machine.

    `operators` were dispatched, `allocated_bytes` are those of the operators' fresh outputs, `evaluations`
    those of the transformer, and `rows` the rows of all its evaluations together (batch times guidance).
    """

    operators: Count
    flops: Count
    allocated_bytes: Count
    evaluations: Count
    rows: Count


class Call(Frozen):
    """One timed `synthesize`: wall seconds, seconds of audio, memory after it (MiB), hash of the samples.

    `seed` is what it was asked with, and `place` its place (from 0) among the processes of its round.
    """

    seconds: Positive
    audio_seconds: Positive
    host_mb: Positive
    device_mb: NonNegative | None = None
    stages: dict[str, NonNegative] = Field(default_factory=dict)
    output: Sha256
    seed: Count
    place: Annotated[int, Field(ge=0, le=3)]

    @property
    def rtf(self) -> float:
        """Real-time factor: wall seconds per second of audio."""
        return self.seconds / self.audio_seconds


class Series(Frozen):
    """One workload in one process. Warm-up calls stand apart and are never averaged in."""

    workload: Name
    warmup: tuple[Call, ...] = ()
    calls: Annotated[tuple[Call, ...], Field(min_length=1)]

    @property
    def seeds(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The seeds of the warm-up calls and of the calls, in their order."""
        return tuple(call.seed for call in self.warmup), tuple(call.seed for call in self.calls)


class Observed(Frozen):
    """What one toggle did in one process, and whether that agrees with its option (see `Engine.evidence`).

    `proven` is None where nothing could be observed.
    """

    proven: bool | None
    observed: str


class Process(Frozen):
    """One process of one arm: the unit of independence. `twin` tells processes of an arm in a block apart."""

    arm: Arm
    block: Count
    twin: Annotated[int, Field(ge=0, le=1)]
    load_seconds: NonNegative = 0.0
    first_call_seconds: NonNegative = 0.0
    series: Annotated[tuple[Series, ...], Field(min_length=1)]
    evidence: dict[str, Observed] = Field(default_factory=dict)
    peak_host_mb: NonNegative | None = None
    peak_device_mb: NonNegative | None = None


class Side(Frozen):
    """What one arm is: revision, options that differ from the reference, checkpoint, versions, workloads.

    `threads` is how many the engine computes with.
    """

    revision: str
    dirty: bool
    options: dict[str, bool | int | float | str] = Field(default_factory=dict)
    checkpoint: Name
    trained: bool
    versions: dict[str, str]
    threads: Annotated[int, Field(ge=1)]
    workloads: Annotated[tuple[Workload, ...], Field(min_length=1)]

    @property
    def hashes(self) -> dict[str, str]:
        """Workload name to content hash."""
        return {workload.name: workload.sha256 for workload in self.workloads}


class Run(Frozen):
    """Everything one run measured, and under what conditions. Raw samples, so that it can be judged again.

    `preflight` was before the first process, `after_blocks` what could be seen again when a block had ended.
    `threshold` (0.2: 20 % slower) overrides the baseline's limit of the time ratio. `questions` were asked,
    and `base_said` tells why this base was compared with. With a base, every block holds the same processes,
    two of each arm (twins 0 and 1) or one of each, whose calls are paired: call i of all has one seed.
    Without, each block is one process of the candidate. `quality` is None where it was not judged. `notes`
    are what people should know of the measurement.
    """

    schema_version: Literal[2] = 2
    timestamp: datetime.datetime
    machine_key: Name
    machine: Machine
    preflight: Preflight
    after_blocks: tuple[AfterBlock, ...] = ()
    forced: bool = False
    plan: Plan
    threshold: Positive | None = None
    questions: tuple[Question, ...]
    base_said: str = ""
    candidate: Side
    base: Side | None = None
    processes: Annotated[tuple[Process, ...], Field(min_length=1)]
    work: dict[Arm, dict[str, Work]] = Field(default_factory=dict)
    quality: Quality | None = None
    notes: tuple[str, ...] = ()
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
        blocks = in_blocks(self.processes)
        if [after.block for after in self.after_blocks] not in ([], list(blocks)):
            raise ValueError("the machine was not looked at once after each block")
        _check_blocks(blocks, self.base is not None)
        return self

    @property
    def fit(self) -> bool:
        """Whether the machine was fit from the start to the end."""
        return self.preflight.fit and all(after.fit for after in self.after_blocks)

    def side(self, arm: Arm) -> Side | None:
        """The description of one arm."""
        return self.candidate if arm == "candidate" else self.base

    def series(self, arm: Arm, workload: str) -> tuple[tuple[Process, Series], ...]:
        """One arm's series of one workload, by block and twin, each with its process."""
        return tuple(
            (process, series)
            for block in in_blocks(self.processes).values()
            for process in block
            if process.arm == arm
            for series in process.series
            if series.workload == workload
        )

    def calls(self, arm: Arm, workload: str) -> list[tuple[Call, ...]]:
        """The steady calls of one workload in each process of one arm, by block and twin."""
        return [series.calls for _, series in self.series(arm, workload)]

    def outputs(self, arm: Arm, workload: str) -> set[str]:
        """Hashes of everything that one arm said when it was timed, warm-up included."""
        return {
            call.output
            for _, series in self.series(arm, workload)
            for call in (*series.warmup, *series.calls)
        }

    def check_comparable(self) -> None:
        """Raise unless both arms spoke the same workloads.

        Raises:
            BaselineError: a workload vanished or changed between the arms; the message names it.
        """
        if self.base is not None:
            check_same(self.base.hashes, self.candidate.hashes, "the base", "the candidate")


def in_blocks(processes: Iterable[Process]) -> dict[int, tuple[Process, ...]]:
    """The processes of each block: the base's, then the candidate's, each by twin."""
    ordered = sorted(processes, key=lambda process: (process.block, process.arm, process.twin))
    return {block: tuple(group) for block, group in groupby(ordered, lambda process: process.block)}


def _check_blocks(blocks: Mapping[int, tuple[Process, ...]], based: bool) -> None:
    """Raise unless every block holds the same processes, and the calls within it are paired."""
    both, pair = (0, 1), (0,)
    layouts = [[(arm, twin) for arm in ARMS for twin in twins] for twins in (both, pair)]
    allowed = layouts if based else [[("candidate", 0)]]
    first = [(process.arm, process.twin) for process in next(iter(blocks.values()))]
    for number, block in blocks.items():
        members = [(process.arm, process.twin) for process in block]
        if members not in allowed or members != first:
            held = ", ".join(f"{arm} {twin}" for arm, twin in members)
            expected = "two of each arm, or one of each, in all blocks alike" if based else "one candidate"
            raise ValueError(f"block {number} holds the processes {held}: expected {expected}")
        for series in zip(*(process.series for process in block), strict=True):
            if len({each.seeds for each in series}) > 1:
                raise ValueError(f"block {number}: calls of {series[0].workload!r} are not paired by seed")


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
    others = sorted(other for other in directory.glob("run-*.json") if other != path)
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
        if content["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"another schema_version, {content['schema_version']}")
        return Run.model_validate_json(json.dumps(content))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BaselineError(
            f"record {path}: {reason(error)}",
            f"a readable run record of schema version {SCHEMA_VERSION}",
            "Measure again, or read it with the version that wrote it",
        ) from error
