"""Preflight of a recorded tree on an otherwise quiet and well-equipped machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.gate.data.machine_state import AfterBlock, Finding, Preflight
from engine.gate.data.snapshot import Readings, Snapshot
from engine.gate.machine import describe
from engine.gate.preflight import check as preflight
from engine.gate.preflight import readers
from tests.unit.gate.trees.machines import plant

PACKAGES = {"torch": "2", "f5-tts": "1", "vocos": "0"}


def look(
    root: Path,
    files: Mapping[str, str],
    *,
    extra: Snapshot | None = None,
    environ: Mapping[str, str] | None = None,
    busy: float | None = 0.0,
    torch: Any = None,
) -> Preflight:
    """The preflight of a tree on a quiet machine with everything installed and room on the disk."""
    machine = dataclasses.replace(describe(plant(root, files)), versions=PACKAGES)
    tree = readers.read(root).snapshots[:-1]  # not this computer's disk
    room = Snapshot("test", disk_free_mb=50_000)
    return preflight.check(
        machine,
        root,
        readings=Readings([*([extra] if extra else []), *tree, room]),
        environ=environ or {},
        busy=lambda: busy,
        modules={"torch": torch} if torch else {},
    )


def look_after_block(
    root: Path, files: Mapping[str, str], *, busy: float | None = 0.0, extra: Snapshot | None = None
) -> AfterBlock:
    """What is seen of a tree when a block has ended."""
    machine = describe(plant(root, files))

    def read(root: Path) -> Readings:
        return Readings([*([extra] if extra else []), *readers.read(root).snapshots])

    return preflight.after_block(3, machine, root, read=read, busy=lambda: busy)


def named(result: Preflight, check: str) -> Finding:
    """The finding of that name."""
    return next(finding for finding in result.findings if finding.check == check)


def seen(result: Preflight) -> dict[str, str]:
    """Check to status."""
    return {finding.check: finding.status for finding in result.findings}
