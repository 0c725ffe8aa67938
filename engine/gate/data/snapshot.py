"""What one source of the machine's state could read, and several sources asked in order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

COLDEST, HOTTEST = -40.0, 150.0
"""Celsius. A reading outside is a sensor that is switched off (Tegra reports -256)."""


@dataclasses.dataclass(frozen=True)
class Clock:
    """One clock domain, MHz. `low` and `high` are the limits that the driver may choose between."""

    name: str
    current: float
    high: float
    low: float | None = None
    hardware_max: float | None = None


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What one source could read; None is unreadable, and `missing` says why, by field."""

    source: str
    missing: Mapping[str, str] = dataclasses.field(default_factory=dict)
    power_mode: str | None = None
    cpu_clocks: tuple[Clock, ...] | None = None
    gpu_clocks: tuple[Clock, ...] | None = None
    memory_clock: Clock | None = None
    governors: tuple[str, ...] | None = None
    cpu_temperature: float | None = None
    gpu_temperature: float | None = None
    throttling: tuple[str, ...] | None = None
    power_capped: bool | None = None
    overcurrent_events: int | None = None
    gpu_processes: tuple[str, ...] | None = None
    load_per_core: float | None = None
    memory_available_mb: int | None = None
    swap_used_mb: int | None = None
    disk_free_mb: int | None = None


class Readings:
    """Several snapshots asked in order."""

    def __init__(self, snapshots: Sequence[Snapshot]) -> None:
        self.snapshots = tuple(snapshots)

    def first(self, field: str) -> tuple[Any, str]:
        """The first source's value of `field` and its name, or None and every source's reason."""
        for snapshot in self.snapshots:
            value = getattr(snapshot, field)
            if value is not None:
                return value, snapshot.source
        reasons = [f"{s.source}: {s.missing[field]}" for s in self.snapshots if field in s.missing]
        return None, "; ".join(reasons) or "no source has it"


def plausible(celsius: float | None) -> float | None:
    """The temperature, or None where it is the mark of a sensor that is switched off."""
    return float(celsius) if celsius is not None and COLDEST < celsius < HOTTEST else None
