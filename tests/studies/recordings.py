"""Recordings of real machines: the live pairs of identical code, block by block, for calibration to replay.

Each is a file in baselines/recordings, made by `nox -s study -- live-pairs`.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from engine.errors import BaselineError
from engine.gate.data.files import reason, write_atomically
from engine.gate.data.samples import ARMS, Call, Process, Series, in_blocks
from engine.gate.data.workloads import Frozen, Name, NonNegative, Positive
from engine.gate.machine import Machine
from engine.gate.measure.compare import seconds
from engine.gate.stats.calls import Floats

FOLDER = Path("baselines/recordings")
FOUR = 4
"""Processes of a block: two that were called the base, then two that were called the candidate."""
DIGITS = 5

Four = Annotated[tuple[NonNegative, ...], Field(min_length=FOUR, max_length=FOUR)]


class RecordedBlock(Frozen):
    """One block: seconds of each call by workload and process, and what each process did once."""

    calls: dict[Name, Annotated[tuple[tuple[Positive, ...], ...], Field(min_length=FOUR, max_length=FOUR)]]
    load_seconds: Four
    first_call_seconds: Four


class Recording(Frozen):
    """Blocks of identical code on one machine. `burden` is what else ran there."""

    schema_version: Literal[1] = 1
    recorded_at: datetime.datetime
    machine: Machine
    burden: str
    revision: str
    checkpoint: Name
    options: str
    threads: Annotated[int, Field(ge=1)]
    blocks: Annotated[tuple[RecordedBlock, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _blocks_are_alike(self) -> Recording:
        shapes = {
            tuple((name, tuple(map(len, rows))) for name, rows in block.calls.items())
            for block in self.blocks
        }
        if len(shapes) != 1 or any(len(set(lengths)) != 1 for _, lengths in next(iter(shapes))):
            raise ValueError("blocks of unequal workloads or rounds")
        return self

    @property
    def workloads(self) -> tuple[str, ...]:
        """The names of the workloads, in their order."""
        return tuple(self.blocks[0].calls)

    def logs(self, workload: str) -> Floats:
        """Log seconds of one workload: [blocks, 4 processes, rounds]."""
        logs: Floats = np.log([block.calls[workload] for block in self.blocks])
        return logs

    def processes(self) -> tuple[Process, ...]:
        """The processes as `measure.compare` takes them; of each call only its seconds are real."""
        return tuple(
            Process(
                arm=ARMS[place // 2],
                block=number,
                twin=place % 2,
                load_seconds=block.load_seconds[place],
                first_call_seconds=block.first_call_seconds[place],
                series=tuple(
                    Series(workload=name, calls=tuple(_call(value) for value in rows[place]))
                    for name, rows in block.calls.items()
                ),
            )
            for number, block in enumerate(self.blocks)
            for place in range(FOUR)
        )


def blocks_of(processes: tuple[Process, ...]) -> tuple[RecordedBlock, ...]:
    """Blocks of four processes as they are recorded: steady calls only, to five digits."""
    return tuple(
        RecordedBlock(
            calls={
                series.workload: tuple(_rounded(seconds(process, series.workload)) for process in block)
                for series in block[0].series
            },
            load_seconds=_rounded([process.load_seconds for process in block]),
            first_call_seconds=_rounded([process.first_call_seconds for process in block]),
        )
        for block in in_blocks(processes).values()
    )


def write(recording: Recording, path: Path) -> None:
    """Write a recording, a block a line.

    Raises:
        OutputError: the folder or file cannot be written.
    """
    content = recording.model_dump(mode="json")
    rows = ",\n  ".join(json.dumps(block) for block in content.pop("blocks"))
    head = json.dumps(content, indent=1).removesuffix("\n}")
    write_atomically(path, f'{head},\n "blocks": [\n  {rows}\n ]\n}}\n')


def read(path: Path) -> Recording:
    """The recording at `path`.

    Raises:
        BaselineError: missing, unreadable or of another schema.
    """
    try:
        return Recording.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaselineError(
            f"recording {path}: {reason(error)}", "a recording of live pairs", "Restore it from git"
        ) from error


def _rounded(values: Floats | list[float]) -> tuple[float, ...]:
    return tuple(float(f"{value:.{DIGITS}g}") for value in values)


def _call(value: float) -> Call:
    return Call(seconds=value, audio_seconds=1.0, host_mb=1.0, output="0" * 64, seed=0, place=0)
