"""Clocks, governors, temperatures and throttling from the kernel's files under a root path."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.gate.data.snapshot import COLDEST, Clock, Snapshot, plausible
from engine.gate.machine import ROOT, power_mode, read_text, text_or_empty

CPU_SENSORS = ("coretemp", "k10temp", "zenpower")


def read_sysfs(root: Path = ROOT) -> Snapshot:
    """Clocks, governors, temperatures and throttling from the kernel's files."""
    zones = thermal_zones(root)
    return Snapshot(
        "sysfs",
        {
            "power_mode": "no /var/lib/nvpmodel/status",
            "cpu_clocks": "no cpufreq",
            "governors": "no cpufreq",
            "gpu_clocks": "no GPU under devfreq",
            "memory_clock": "the memory clock is readable by root only",
            "cpu_temperature": "no CPU sensor",
            "gpu_temperature": "no GPU sensor that is on",
            "throttling": "no throttle alerts among the cooling devices",
            "overcurrent_events": "no over-current counters",
        },
        power_mode=power_mode(root) or None,
        cpu_clocks=_cpu_clocks(root) or None,
        gpu_clocks=_gpu_clocks(root) or None,
        memory_clock=_memory_clock(root),
        governors=_governors(root) or None,
        cpu_temperature=_hottest(zones, "cpu", "x86_pkg_temp") or _hwmon_cpu(root),
        gpu_temperature=_hottest(zones, "gpu") or _hottest(zones, "tj"),  # tj: the hottest point of the chip
        throttling=_throttle_alerts(root),
        overcurrent_events=_overcurrent(root),
    )


def thermal_zones(root: Path) -> dict[str, float]:
    """Celsius by zone type. Zones that are switched off (EAGAIN, -256) are left out."""
    zones: dict[str, float] = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        heat = _number(zone / "temp")
        if heat is not None and plausible(heat / 1000) is not None:
            name = text_or_empty(zone / "type").lower()
            zones[name] = max(heat / 1000, zones.get(name, COLDEST))
    return zones


def _hottest(zones: Mapping[str, float], *prefixes: str) -> float | None:
    """The highest temperature among the zones whose type begins so (`gpu-thermal`, `GPU-therm`)."""
    return max((heat for name, heat in zones.items() if name.startswith(prefixes)), default=None)


def _hwmon_cpu(root: Path) -> float | None:
    """The hottest CPU sensor under hwmon."""
    folders = [
        f for f in (root / "sys/class/hwmon").glob("hwmon*") if text_or_empty(f / "name") in CPU_SENSORS
    ]
    values = [
        v / 1000 for folder in folders for f in folder.glob("temp*_input") if (v := _number(f)) is not None
    ]
    return max((v for v in values if plausible(v) is not None), default=None)


def _throttle_alerts(root: Path) -> tuple[str, ...] | None:
    """Cooling devices that are throttling a Tegra (a fan is none)."""
    devices = [
        (text_or_empty(d / "type"), _number(d / "cur_state"))
        for d in (root / "sys/class/thermal").glob("cooling_device*")
    ]
    alerts = [(name, state) for name, state in devices if name.endswith("-alert") and state is not None]
    return tuple(sorted(name for name, state in alerts if state)) if alerts else None


def _overcurrent(root: Path) -> int | None:
    """Under-voltage and over-current events since the last reboot (Orin: soctherm_oc)."""
    counts = [_number(f) for f in (root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt")]
    known = [int(count) for count in counts if count is not None]
    return sum(known) if known else None


def _cpufreq(root: Path) -> list[Path]:
    return sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))


def _governors(root: Path) -> tuple[str, ...]:
    """Every governor that some core has."""
    return tuple(sorted({name for f in _cpufreq(root) if (name := text_or_empty(f / "scaling_governor"))}))


def _cpu_clocks(root: Path) -> tuple[Clock, ...]:
    """One clock per core; kHz in the files."""
    names = ("scaling_cur_freq", "scaling_max_freq", "scaling_min_freq", "cpuinfo_max_freq")
    clocks = [_clock(folder.parent.name, [folder / name for name in names], 1e3) for folder in _cpufreq(root)]
    return tuple(clock for clock in clocks if clock)


def _gpu_clocks(root: Path) -> tuple[Clock, ...]:
    """The integrated GPU's clock; Hz in the files. The path moved twice between releases of L4T."""
    folders = [
        folder
        for pattern in (
            "sys/class/devfreq/*",
            "sys/devices/platform/*/devfreq/*",
            "sys/devices/platform/bus@0/*/devfreq/*",
        )
        for folder in sorted(root.glob(pattern))
        if re.search(r"\.(gpu|ga10b|gv11b|gp10b)$|^gpu", folder.name)
    ]
    clocks = {}
    for folder in folders:
        clock = _clock("GPU", [folder / name for name in ("cur_freq", "max_freq", "min_freq", "")], 1e6)
        steps = [float(step) / 1e6 for step in text_or_empty(folder / "available_frequencies").split()]
        if clock:
            clocks[folder.name] = dataclasses.replace(clock, hardware_max=max(steps, default=None))
    return tuple(clocks.values())


def _memory_clock(root: Path) -> Clock | None:
    """The memory controller's clock; Hz in the files, for root only. A locked rate cannot move."""
    emc = root / "sys/kernel/debug/bpmp/debug/clk/emc"
    clock = _clock("EMC", [emc / "rate", emc / "max_rate", emc / "min_rate", emc / "max_rate"], 1e6)
    locked = _number(emc / "mrq_rate_locked")
    return dataclasses.replace(clock, low=clock.current, high=clock.current) if clock and locked else clock


def _clock(name: str, files: Sequence[Path], unit: float) -> Clock | None:
    """A clock from its files of current, high, low and hardware's maximum, in `unit` a MHz."""
    current, high, low, most = (_number(file) for file in files)
    if current is None or high is None:
        return None
    return Clock(name, current / unit, high / unit, *(None if v is None else v / unit for v in (low, most)))


def _number(path: Path) -> float | None:
    """The number in a file; None for a missing file, a directory or a sensor that is switched off."""
    try:
        return float(read_text(path))
    except (OSError, ValueError):
        return None
