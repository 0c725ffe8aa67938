"""How much memory is left for processes, and whether four of them fit at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.gate.machine import ROOT, meminfo_mb

MB = 2.0**20
ROOM = 1.1
"""Processes may need so many times the peak that was seen."""
DEVICE_CONTEXT_MB = 600.0
"""What CUDA itself takes of the device for each process."""


def available_mb(root: Path = ROOT) -> float | None:
    """Host memory that new processes can have, MiB: the system's, or the container's where that is less.

    None where neither tells.

    Args:
        root: `/`, or a recorded tree.
    """
    values = (meminfo_mb(root).get("MemAvailable"), _container(root / "sys/fs/cgroup"))
    limits = [float(value) for value in values if value is not None]
    return min(limits, default=None)


def holds_four(
    host_peaks: Sequence[float | None],
    device_peaks: Sequence[float | None],
    host_mb: float | None,
    device_mb: float | None,
) -> bool:
    """Whether two processes of each arm fit at once.

    Args:
        host_peaks: of one process of each arm, MiB; None where it is not known.
        device_peaks: the same of the device; None without one.
        host_mb: memory that was free before they started; None where it is not known.
        device_mb: memory of the device; None without one.
    """
    host = sum(peak or 0.0 for peak in host_peaks)
    device = sum((peak or 0.0) + DEVICE_CONTEXT_MB for peak in device_peaks)
    fits_host = host_mb is None or 2 * ROOM * host <= host_mb
    return fits_host and (device_mb is None or 2 * ROOM * device <= device_mb)


def _container(cgroup: Path) -> float | None:
    """What the container's limit leaves (cgroup v2), with the file cache, which gives way."""
    try:
        limit, used = ((cgroup / f"memory.{name}").read_text(encoding="ascii") for name in ("max", "current"))
        stat = (cgroup / "memory.stat").read_text(encoding="ascii").splitlines()
        cache = sum(int(line.split()[1]) for line in stat if line.startswith("inactive_file "))
        return None if limit.strip() == "max" else (int(limit) - int(used) + cache) / MB
    except (OSError, ValueError):
        return None
