"""Readers of the machine's state: jtop, NVML, sysfs and /proc, in this order.

Each reader fills what it can of one `Snapshot` and says why the rest is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.gate.data.snapshot import Readings, Snapshot, plausible
from engine.gate.machine import ROOT, is_jetson, meminfo_mb, text_or_empty
from engine.gate.preflight.sysfs import read_sysfs

SLOWDOWNS = {
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake slowdown",
}
"""NVML's clock event reasons that mean throttling. Idle (0x1), set clocks (0x2) and sync (0x10) do not."""
POWER_CAP = 0x4

JTOP_FIELDS = ("power_mode", "cpu_temperature", "gpu_temperature", "gpu_processes")
NVML_FIELDS = ("gpu_temperature", "throttling", "power_capped", "gpu_processes")


def read(root: Path = ROOT, disk: Path | None = None) -> Readings:
    """All sources of this machine; of a recorded tree only what files hold."""
    live = [read_nvml()] if root == ROOT else []
    if root == ROOT and is_jetson():
        live.insert(0, read_jtop())
    return Readings([*live, read_sysfs(root), read_proc(root), read_disk(disk or Path.cwd())])


def read_jtop(module: Any = None) -> Snapshot:
    """The board as the jetson-stats service (`jtop` 4) sees it. sysfs has more on clocks."""
    try:
        jtop = module or import_module("jtop")
    except ImportError:
        return Snapshot("jtop", dict.fromkeys(JTOP_FIELDS, "not installed"))
    try:
        with jtop.jtop() as board:
            if not board.ok():
                return Snapshot("jtop", dict.fromkeys(JTOP_FIELDS, "its service sent nothing"))
            mode = str(board.nvpmodel.name).replace(" ", "_") if board.nvpmodel else None
            return Snapshot(
                "jtop",
                dict.fromkeys(JTOP_FIELDS, "not shown, or the sensor is off"),
                power_mode=mode,
                cpu_temperature=_jtop_temperature(board.temperature, "cpu"),
                gpu_temperature=_jtop_temperature(board.temperature, "gpu"),
                gpu_processes=_others((row[0], row[-1]) for row in board.processes),
            )
    except (jtop.JtopException, OSError) as problem:
        reason = (str(problem).splitlines() or [type(problem).__name__])[0]
    except (AttributeError, KeyError) as problem:
        reason = f"not jetson-stats 4: {problem}"
    return Snapshot("jtop", dict.fromkeys(JTOP_FIELDS, reason))


def read_nvml(module: Any = None) -> Snapshot:
    """The NVIDIA driver's view, the worst of all GPUs. Orin's driver answers only names."""
    try:
        nvml = module or import_module("pynvml")
    except ImportError:
        return Snapshot("NVML", dict.fromkeys(NVML_FIELDS, "pynvml is not installed"))
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as problem:
        return Snapshot("NVML", dict.fromkeys(NVML_FIELDS, str(problem)))
    try:
        gpus = _ask(
            nvml, lambda: [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        )
        if not gpus:
            return Snapshot("NVML", dict.fromkeys(NVML_FIELDS, "it opens no GPU"))
        heat = _ask(
            nvml, lambda: max(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU) for gpu in gpus)
        )
        reasons = _ask(nvml, lambda: _throttle_bits(nvml, gpus))
        return Snapshot(
            "NVML",
            dict.fromkeys(NVML_FIELDS, "not supported by this GPU's driver"),
            gpu_temperature=plausible(heat),
            throttling=None
            if reasons is None
            else tuple(name for bit, name in SLOWDOWNS.items() if reasons & bit),
            power_capped=None if reasons is None else bool(reasons & POWER_CAP),
            gpu_processes=_ask(nvml, lambda: _nvml_processes(nvml, gpus)),
        )
    finally:
        nvml.nvmlShutdown()


def read_proc(root: Path = ROOT) -> Snapshot:
    """Load, memory and swap. Load is of the whole machine, so it is divided by all of its cores."""
    load = text_or_empty(root / "proc/loadavg").split()
    cores = len(re.findall(r"(?m)^processor\s*:", text_or_empty(root / "proc/cpuinfo")))
    memory = meminfo_mb(root)
    swap = memory["SwapTotal"] - memory["SwapFree"] if {"SwapTotal", "SwapFree"} <= memory.keys() else None
    return Snapshot(
        "/proc",
        {
            "load_per_core": "no /proc/loadavg",
            "memory_available_mb": "no /proc/meminfo",
            "swap_used_mb": "no /proc/meminfo",
        },
        load_per_core=float(load[0]) / cores if load and cores else None,
        memory_available_mb=memory.get("MemAvailable"),
        swap_used_mb=swap,
    )


def read_disk(folder: Path) -> Snapshot:
    """Free space where records are written."""
    return Snapshot("statvfs", disk_free_mb=shutil.disk_usage(folder).free // 2**20)


class CpuMeter:
    """The share (0 to 1) of the whole CPU that other processes used since it was asked last.

    Asked after each block it tells of the whole block, not of a moment beside it. This process and the
    processes that it started and has waited for are not others; time that a hypervisor gives to other guests
    is.
    """

    def __init__(self, counters: Callable[[], tuple[float, float, float]] | None = None) -> None:
        """Begin now. `counters`: CPU seconds so far: all, idle ones, and this process's own."""
        self._counters = counters or cpu_counters
        self._before = self._counters()

    def __call__(self) -> float | None:
        """The share since the last call; None where the kernel counts nothing (some sandboxes)."""
        now = self._counters()
        total, idle, own = (after - earlier for after, earlier in zip(now, self._before, strict=True))
        self._before = now
        return None if total <= 0 else min(1.0, max(0.0, (total - idle - own) / total))


def other_cpu_use(
    window: float = 0.5,
    sleep: Callable[[float], object] = time.sleep,
    counters: Callable[[], tuple[float, float, float]] | None = None,
) -> float | None:
    """The share (0 to 1) of the whole CPU that other processes use now, watched for `window` seconds.

    The load average lags by a minute and counts this process; this does neither.

    Args:
        window: seconds to watch.
        sleep: how to wait.
        counters: as for `CpuMeter`.
    """
    meter = CpuMeter(counters)
    sleep(window)
    return meter()


def cpu_counters() -> tuple[float, float, float]:
    """CPU seconds since the start: of all cores, of them idle, and of them this process's own and those of
    the processes that it has waited for."""
    import psutil

    times, own = psutil.cpu_times(), os.times()
    guests = getattr(times, "guest", 0.0) + getattr(
        times, "guest_nice", 0.0
    )  # counted in user and nice already
    idle = times.idle + getattr(times, "iowait", 0.0)
    return sum(times) - guests, idle, own.user + own.system + own.children_user + own.children_system


def _jtop_temperature(sensors: Mapping[str, Any], name: str) -> float | None:
    """One of jtop's sensors; its name's case and shape changed between releases."""
    for key, value in sensors.items():
        if key.lower() == name:
            return plausible(value["temp"] if isinstance(value, Mapping) else value)
    return None


def _throttle_bits(nvml: Any, gpus: Sequence[Any]) -> int:
    """Clock event reasons of all GPUs; old bindings call them throttle reasons."""
    ask = (
        getattr(nvml, "nvmlDeviceGetCurrentClocksEventReasons", None)
        or nvml.nvmlDeviceGetCurrentClocksThrottleReasons
    )
    bits = 0
    for gpu in gpus:
        bits |= int(ask(gpu))
    return bits


def _nvml_processes(nvml: Any, gpus: Sequence[Any]) -> tuple[str, ...]:
    """Compute processes of others; those of a hidden process table are `not visible here`."""
    import psutil

    def named(pid: int) -> tuple[int, str]:
        try:
            return pid, psutil.Process(pid).name()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return pid, "not visible here"

    return _others(named(p.pid) for gpu in gpus for p in nvml.nvmlDeviceGetComputeRunningProcesses(gpu))


def _others(processes: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    """`name (pid)` of every process but this one, once each."""
    return tuple(dict.fromkeys(f"{name} ({pid})" for pid, name in processes if int(pid) != os.getpid()))


def _ask(nvml: Any, question: Callable[[], Any]) -> Any:
    """NVML's answer, or None where the driver does not support the question."""
    try:
        return question()
    except nvml.NVMLError:
        return None
