"""What preflight looks at, one function a subject: each judges readings by a band and names the cure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.gate.data.machine_state import Finding, Status
from engine.gate.data.snapshot import Clock, Readings
from engine.gate.machine import FULL_POWER, Machine, power_modes

TEMPERATURE = (75.0, 85.0)
"""Celsius: warning, unfit. An Orin slows itself down a little above."""
LOAD_PER_CORE = (0.5, 0.67)
"""Warning, unfit: runnable processes per core, over a minute."""
OTHERS_CPU = (0.10, 0.60)
"""Warning, unfit: the share of the whole CPU that others used. Live pairs share what others do to them, and
the A/A control sees what is left; with most of the CPU gone, little of the time is the engine's own."""
MEMORY_MB = (3000, 1500)
DISK_MB = (1000, 200)
SWAP_MB = 64
CLOCK_TOLERANCE = 0.03
"""A clock within this share of its limit is at its limit: governors step, counters round."""
VENDOR_TORCH = "Install the PyTorch that NVIDIA ships for this L4T"
DISPLAY_SERVERS = ("Xorg", "Xwayland", "gnome-shell")

Band = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Scene:
    """What the checks look at."""

    machine: Machine
    root: Path
    readings: Readings
    environ: Mapping[str, str]
    after_block: bool
    busy: float | None
    torch: Any

    def judged(
        self, check: str, field: str, expected: str, cure: str, judge: Callable[..., tuple[Status, str]]
    ) -> Finding:
        """The finding on one field, or `unknown` with every source's reason."""
        value, source = self.readings.first(field)
        if value is None:
            return Finding(check=check, status="unknown", observed=source, expected=expected)
        status, observed = judge(value)
        cure = "" if status == "ok" else cure
        return Finding(
            check=check, status=status, observed=observed, expected=expected, cure=cure, source=source
        )


def _band(value: float, band: Band) -> Status:
    """The status of a value that is better low."""
    return "unfit" if value >= band[1] else "warning" if value >= band[0] else "ok"


def _power_mode(scene: Scene) -> Iterable[Finding]:
    if not scene.machine.board:
        return
    number = next((n for n, name in power_modes(scene.root).items() if name == FULL_POWER), 0)
    finding = scene.judged(
        "power mode",
        "power_mode",
        FULL_POWER,
        f"sudo nvpmodel -m {number}",
        lambda mode: ("ok" if mode == FULL_POWER else "unfit", mode),
    )
    yield _required(finding, "In a container, mount /var/lib/nvpmodel and /etc/nvpmodel.conf")


def _clocks(scene: Scene) -> Iterable[Finding]:
    """Locked clocks on a Jetson. Other GPUs seldom reach their nominal maximum: `throttling` judges them."""
    if not scene.machine.board:
        return
    for check, field in (
        ("CPU clocks", "cpu_clocks"),
        ("GPU clocks", "gpu_clocks"),
        ("memory clock", "memory_clock"),
    ):
        finding = scene.judged(
            check,
            field,
            "locked at maximum",
            "sudo jetson_clocks",
            lambda found: _judge_clocks((found,) if isinstance(found, Clock) else found, scene.after_block),
        )
        # The memory's clock is for root only, so not to know it is no obstacle.
        yield finding if field == "memory_clock" else _required(finding, "Run on the Jetson itself")


def _judge_clocks(clocks: Sequence[Clock], after_block: bool) -> tuple[Status, str]:
    """Unlocked or capped is unfit; one below its limit is throttled, if it had work a moment ago."""
    rows: list[tuple[Status, str]] = []
    for clock in clocks:
        top = clock.hardware_max or clock.high
        if clock.low is None or clock.low < clock.high:
            low = 0 if clock.low is None else clock.low
            rows.append(("unfit", f"{clock.name} free, {low:.0f} to {clock.high:.0f} MHz"))
        elif clock.high < top * (1 - CLOCK_TOLERANCE):
            rows.append(("unfit", f"{clock.name} capped at {clock.high:.0f} of {top:.0f} MHz"))
        elif after_block and clock.current < clock.high * (1 - CLOCK_TOLERANCE):
            rows.append(("unfit", f"{clock.name} throttled to {clock.current:.0f} of {clock.high:.0f} MHz"))
        else:
            rows.append(("ok", f"{clock.name} {clock.current:.0f} of {clock.high:.0f} MHz"))
    bad = [row for row in rows if row[0] != "ok"]
    status, text = (bad or rows)[0]
    others = len(bad or rows) - 1
    return status, text + (f" (and {others} more)" if others else "")


def _governor(scene: Scene) -> Iterable[Finding]:
    if scene.machine.board:
        return  # locked clocks leave a governor nothing to choose
    yield scene.judged(
        "CPU governor",
        "governors",
        "performance",
        "sudo cpupower frequency-set -g performance",
        lambda found: ("ok" if set(found) == {"performance"} else "warning", ", ".join(found)),
    )


def _temperatures(scene: Scene) -> Iterable[Finding]:
    parts = ("CPU", "GPU") if scene.machine.gpus else ("CPU",)
    for part in parts:
        yield scene.judged(
            f"{part} temperature",
            f"{part.lower()}_temperature",
            f"below {TEMPERATURE[0]:.0f} C",
            "Let it cool down, and clean the fan",
            lambda heat: (_band(heat, TEMPERATURE), f"{heat:.1f} C"),
        )


def _throttling(scene: Scene) -> Iterable[Finding]:
    if not scene.machine.gpus:
        return
    yield scene.judged(
        "throttling",
        "throttling",
        "none",
        "Let it cool down, and check the power supply",
        lambda reasons: ("unfit" if reasons else "ok", ", ".join(reasons) or "none"),
    )
    capped, source = scene.readings.first("power_capped")
    if capped:
        yield Finding(
            check="power limit",
            status="warning",
            observed="it holds the clocks down",
            expected="not reached",
            cure="Raise it: sudo nvidia-smi -pl WATTS",
            source=source,
        )
    if scene.machine.board:
        yield scene.judged(
            "power supply",
            "overcurrent_events",
            "no over-current event",
            "Use the board's own supply; watch whether the count grows during a run",
            lambda count: ("warning" if count else "ok", f"{count} events"),
        )


def _load(scene: Scene) -> Iterable[Finding]:
    """The load average lags, and counts this process; what others use decides where it is known."""
    cure = "Stop the other work: top"
    quiet = scene.busy is not None and _band(scene.busy, OTHERS_CPU) != "unfit"
    if scene.busy is not None:
        status = _band(scene.busy, OTHERS_CPU)
        yield Finding(
            check="CPU used by others",
            status=status,
            observed=f"{scene.busy:.0%} of the CPU {'during the block' if scene.after_block else 'now'}",
            expected=f"below {OTHERS_CPU[0]:.0%}",
            cure="" if status == "ok" else cure,
            source="/proc/stat",
        )
    if scene.after_block:
        return  # the average is still that of our own processes
    yield scene.judged(
        "load per core",
        "load_per_core",
        f"below {LOAD_PER_CORE[0]}",
        "Wait a minute: the average lags" if quiet else cure,
        lambda load: (_lagging(_band(load, LOAD_PER_CORE), quiet), f"{load:.2f} over a minute"),
    )


def _lagging(status: Status, quiet: bool) -> Status:
    """A high load average is unfit, unless the CPU is known to be quiet by now."""
    return "warning" if status == "unfit" and quiet else status


def _gpu_processes(scene: Scene) -> Iterable[Finding]:
    if not scene.machine.gpus:
        return

    def judge(found: Sequence[str]) -> tuple[Status, str]:
        harmless = (*DISPLAY_SERVERS, "not visible here")  # in a container our own process has another number
        strangers = [name for name in found if not name.startswith(harmless)]
        return "unfit" if strangers else "warning" if found else "ok", ", ".join(strangers or found) or "none"

    yield scene.judged(
        "GPU used by others", "gpu_processes", "no other process", "Stop them: kill PID", judge
    )


def _memory_and_disk(scene: Scene) -> Iterable[Finding]:
    for check, field, (enough, least), cure in (
        ("free memory", "memory_available_mb", MEMORY_MB, "Stop other programs"),
        ("free disk", "disk_free_mb", DISK_MB, "Delete old files; records are written here"),
    ):
        yield scene.judged(
            check,
            field,
            f"at least {enough} MiB",
            cure,
            lambda mb, a=enough, b=least: ("unfit" if mb < b else "warning" if mb < a else "ok", f"{mb} MiB"),
        )
    yield scene.judged(
        "swap",
        "swap_used_mb",
        f"below {SWAP_MB} MiB used",
        "sudo swapoff -a && sudo swapon -a",
        lambda mb: ("warning" if mb >= SWAP_MB else "ok", f"{mb} MiB used"),
    )


def _threads(scene: Scene) -> Iterable[Finding]:
    """More threads than cores fight each other; a limit below the cores changes what is measured."""
    text, cores = scene.environ.get("OMP_NUM_THREADS", ""), scene.machine.cores
    torch = scene.torch
    finding = {"check": "threads", "expected": f"at most {cores}, one a core"}
    if text and (not text.isdigit() or int(text) == 0):
        observed, cure = f"OMP_NUM_THREADS={text!r}", "unset OMP_NUM_THREADS"
        yield Finding(status="unfit", observed=observed, cure=cure, source="environment", **finding)
        return
    count = int(text) if text else torch.get_num_threads() if torch else cores
    source = "environment" if text else "PyTorch" if torch else "PyTorch's default"
    status: Status = "unfit" if count > cores else "warning" if text and count < cores else "ok"
    cure = "" if status == "ok" else f"export OMP_NUM_THREADS={cores}"
    yield Finding(status=status, observed=f"{count}", cure=cure, source=source, **finding)


def _gpu_used(scene: Scene) -> Iterable[Finding]:
    """A PyTorch built without CUDA leaves the GPU idle, silently."""
    if scene.machine.gpus and scene.torch is not None and not scene.torch.cuda.is_available():
        yield Finding(
            check="PyTorch and GPU",
            status="warning",
            observed="PyTorch sees no GPU",
            expected=", ".join(scene.machine.gpus),
            cure=VENDOR_TORCH if scene.machine.board else "Install a CUDA PyTorch",
            source="PyTorch",
        )


def _packages(scene: Scene) -> Iterable[Finding]:
    versions = scene.machine.versions
    missing = [name for name in ("torch", "f5-tts", "vocos") if name not in versions]
    shown = ", ".join(f"{name} {versions[name]}" for name in ("torch", "f5-tts", "vocos") if name in versions)
    cure = f"pip install {' '.join(missing)}" if missing else ""
    if scene.machine.board and "torch" in missing:
        cure = VENDOR_TORCH
    yield Finding(
        check="packages",
        status="unfit" if missing else "ok",
        observed=f"without {', '.join(missing)}" if missing else shown,
        expected="all installed",
        cure=cure,
        source="metadata",
    )


def _required(finding: Finding, cure: str) -> Finding:
    """What a Jetson must show. Not to know it is unfit: the figures would have no meaning."""
    return (
        finding
        if finding.status != "unknown"
        else finding.model_copy(update={"status": "unfit", "cure": cure})
    )


CHECKS: tuple[Callable[[Scene], Iterable[Finding]], ...] = (
    _power_mode,
    _clocks,
    _governor,
    _temperatures,
    _throttling,
    _load,
    _gpu_processes,
    _memory_and_disk,
    _threads,
    _gpu_used,
    _packages,
)

AFTER_BLOCK: tuple[Callable[[Scene], Iterable[Finding]], ...] = (
    _clocks,
    _temperatures,
    _throttling,
    _load,
    _gpu_processes,
)
"""What may change while the gate measures, and is cheap to look at."""
