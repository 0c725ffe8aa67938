"""What machine is this: a stable key that chooses a baseline, and facts that explain its timings.

Only the standard library is imported at the top, so that `noxfile.py` can ask `is_jetson()` before anything
is installed. Every reader takes a root path: `/`, or a recorded tree.
"""

from __future__ import annotations

import dataclasses
import math
import os
import platform
import re
import sys
from collections.abc import Mapping
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

ROOT = Path("/")
FULL_POWER = "MAXN"
UNKNOWN_MODE = "unknown"
PACKAGES = ("torch", "torchaudio", "f5-tts", "vocos", "numpy")
CPU_FEATURES = (
    "avx2", "avx512f", "avx512_bf16", "avx512_fp16", "avx512_vnni", "avx_vnni",
    "amx_bf16", "amx_int8", "asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve",
)  # fmt: skip
"""Names as Linux spells them in /proc/cpuinfo: vectors, half precision and 8-bit products."""

_COMMON_WORDS = {"nvidia", "developer", "development", "kit", "engineering", "reference", "cpu", "processor"}
_MB = 1024.0


@dataclasses.dataclass(frozen=True)
class Machine:
    """One machine as timings see it.

    Attributes:
        board: the device tree's model of a Jetson, empty elsewhere.
        cpu: the CPU's model name.
        architecture: `x86_64`, `aarch64`, or what `platform.machine()` says.
        cores: logical cores this process may use (affinity and control group counted).
        memory_mb: total memory, MiB.
        gpus: names of the NVIDIA GPUs.
        power_mode: nvpmodel's name of the mode; `unknown` where a Jetson hides it, empty elsewhere.
        virtual: the CPU says that it runs under a hypervisor.
        features: what of `CPU_FEATURES` the CPU has.
        versions: Python, kernel, driver, L4T and packages. Metadata: they are no part of the key.
    """

    board: str
    cpu: str
    architecture: str
    cores: int
    memory_mb: int
    gpus: tuple[str, ...]
    power_mode: str
    virtual: bool
    features: tuple[str, ...]
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)

    @property
    def key(self) -> str:
        """The name of this machine's baseline file, without `.json`.

        A Jetson is its board: `jetson-agx-orin`. Its full power mode MAXN adds nothing; any other adds its
        name (`jetson-agx-orin-30w`), as does a mode that could not be read (`jetson-agx-orin-unknown`), so a
        slower mode never meets the full mode's limits. Others are CPU, architecture, cores and GPUs.
        """
        if self.board:
            mode = "" if self.power_mode == FULL_POWER else self.power_mode.removeprefix("MODE_")
            return _slug(self.board, mode)
        return _slug(self.cpu, self.architecture, f"{self.cores} core", *self.gpus, self.power_mode)

    @property
    def name(self) -> str:
        """The name for people."""
        return self.board or self.cpu or self.architecture

    def facts(self) -> dict[str, Any]:
        """Every attribute, ready for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }


def is_jetson(root: Path = ROOT) -> bool:
    """Whether this is a Jetson: by board, or by what NVIDIA's Linux leaves in /etc."""
    model, compatible = _board(root), text_or_empty(root / "proc/device-tree/compatible")
    return (
        "jetson" in model.lower() or "nvidia,tegra" in compatible or (root / "etc/nv_tegra_release").exists()
    )


def describe(root: Path = ROOT, nvml: Any = None) -> Machine:
    """Read the machine from the files under `root`; what is not there stays empty.

    Args:
        root: `/`, or a recorded tree.
        nvml: the module to ask for GPUs where the driver shows no files; `pynvml` on the machine itself.
    """
    jetson = is_jetson(root)
    info = text_or_empty(root / "proc/cpuinfo")
    flags = set(re.findall(r"\S+", " ".join(re.findall(r"(?m)^(?:flags|Features)\s*:(.*)$", info))))
    return Machine(
        board=(_board(root) or "Jetson") if jetson else "",
        cpu=_cpu_model(info),
        architecture=_architecture(info, flags),
        cores=_cores(root, info),
        memory_mb=meminfo_mb(root).get("MemTotal", 0),
        gpus=_gpus(root, jetson, nvml),
        power_mode=(power_mode(root) or UNKNOWN_MODE) if jetson else "",
        virtual="hypervisor" in flags,
        features=tuple(name for name in CPU_FEATURES if name in flags),
        versions=_versions(root),
    )


def power_modes(root: Path = ROOT) -> dict[int, str]:
    """The modes that /etc/nvpmodel.conf declares: number to name."""
    conf = text_or_empty(root / "etc/nvpmodel.conf")
    return {
        int(n): name for n, name in re.findall(r"(?m)^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>", conf)
    }


def power_mode(root: Path = ROOT) -> str:
    """The name of nvpmodel's present mode (`MAXN`, `MODE_30W`), or nothing where it cannot be read."""
    status = re.search(r"pmode:(\d+)", text_or_empty(root / "var/lib/nvpmodel/status"))
    if status is None:
        return ""
    number = int(status[1])  # zero-padded: pmode:0002
    return power_modes(root).get(number, f"MODE_{number}")


def meminfo_mb(root: Path = ROOT) -> dict[str, int]:
    """/proc/meminfo in MiB; empty where there is none."""
    rows = re.findall(r"(?m)^(\w+):\s+(\d+) kB", text_or_empty(root / "proc/meminfo"))
    return {name: int(value) // 1024 for name, value in rows}


def host_memory_mb() -> float:
    """Resident memory of this process, MiB."""
    import psutil

    return float(psutil.Process().memory_info().rss) / _MB**2


def host_peak_mb() -> float:
    """The most resident memory this process ever had, MiB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (_MB**2 if sys.platform == "darwin" else _MB)  # macOS counts bytes, Linux KiB


def device_memory_mb() -> float:
    """Memory that PyTorch holds on the current GPU, MiB; 0 without one. Never loads PyTorch."""
    torch = sys.modules.get("torch")
    return 0.0 if torch is None or not torch.cuda.is_initialized() else torch.cuda.memory_allocated() / _MB**2


def device_peak_mb() -> float:
    """The most memory that PyTorch ever held on the current GPU, MiB; 0 without one."""
    torch = sys.modules.get("torch")
    return (
        0.0
        if torch is None or not torch.cuda.is_initialized()
        else torch.cuda.max_memory_allocated() / _MB**2
    )


def package_version(name: str) -> str:
    """The installed version of a distribution, empty if it is not installed. Nothing is imported."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def read_text(path: Path) -> str:
    """The text of a small file of /proc or /sys, stripped of blanks and NULs.

    Read unbuffered: a sensor that is switched off answers EAGAIN, which only `os.read` reports as an error.

    Raises:
        OSError: missing, forbidden, or a sensor that is switched off.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(handle, 65536):
            parts.append(part)
    finally:
        os.close(handle)
    return b"".join(parts).decode("utf-8", "replace").strip("\0 \t\r\n")


def text_or_empty(path: Path) -> str:
    """`read_text`, where an unreadable file means that the machine does not have the thing."""
    try:
        return read_text(path)
    except OSError:
        return ""


def _board(root: Path) -> str:
    """The board's model. Containers hide the device tree but not soc0."""
    return text_or_empty(root / "proc/device-tree/model") or text_or_empty(root / "sys/devices/soc0/machine")


def _cpu_model(info: str) -> str:
    """The CPU's model name; on Arm cores without one, implementer and part."""
    if named := re.search(r"(?m)^model name\s*:\s*(\S.*)$", info):
        return named[1].split(" @ ")[0].strip()
    arm = re.findall(r"(?m)^CPU (?:implementer|part)\s*:\s*(\S+)", info)
    return f"Arm {' '.join(dict.fromkeys(arm))}" if arm else platform.processor()


def _architecture(info: str, flags: set[str]) -> str:
    """The instruction set of the tree that is read, not of the Python that reads it."""
    if "CPU implementer" in info:
        return "aarch64"
    return "x86_64" if "lm" in flags else platform.machine()


def _cores(root: Path, info: str) -> int:
    """Logical cores, less what affinity or a control group takes away."""
    counts = [len(re.findall(r"(?m)^processor\s*:", info)) or os.cpu_count() or 1]
    if root == ROOT and hasattr(os, "sched_getaffinity"):
        counts.append(len(os.sched_getaffinity(0)))
    if quota := re.fullmatch(r"(\d+) (\d+)", text_or_empty(root / "sys/fs/cgroup/cpu.max")):
        counts.append(math.ceil(int(quota[1]) / int(quota[2])))
    return min(counts)


def _gpus(root: Path, jetson: bool, nvml: Any) -> tuple[str, ...]:
    """GPU names from the driver's files, else from NVML on the machine itself."""
    files = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    names = [
        name[1].strip() for f in files if (name := re.search(r"(?m)^Model:\s*(\S.*)$", text_or_empty(f)))
    ]
    if names or jetson:
        return tuple(names) or ("integrated",)
    return _nvml_gpus(nvml) if nvml or root == ROOT else ()


def _nvml_gpus(nvml: Any) -> tuple[str, ...]:
    """GPU names from NVML; none where the library or the driver is missing."""
    try:
        nvml = nvml or import_module("pynvml")
    except ImportError:
        return ()
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        names = [nvml.nvmlDeviceGetName(handle) for handle in handles]
        nvml.nvmlShutdown()
    except nvml.NVMLError:
        return ()
    return tuple(name.decode() if isinstance(name, bytes) else name for name in names)


def _versions(root: Path) -> dict[str, str]:
    """Versions of what decides a timing; what is absent is left out."""
    driver = re.search(r"Kernel Module\D*([\d.]+)", text_or_empty(root / "proc/driver/nvidia/version"))
    release = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", text_or_empty(root / "etc/nv_tegra_release"))
    found = {
        "python": platform.python_version(),
        "kernel": text_or_empty(root / "proc/sys/kernel/osrelease"),
        "driver": driver[1] if driver else "",
        "l4t": f"{release[1]}.{release[2]}" if release else "",
        **{name: package_version(name) for name in PACKAGES},
    }
    return {name: version for name, version in found.items() if version}


def _slug(*parts: str) -> str:
    """Parts as one file name: lower case, hyphens, without words that every model name has."""
    words = re.findall(r"[a-z0-9_]+", " ".join(parts).lower().replace("(r)", " ").replace("(tm)", " "))
    return "-".join(word for word in words if word not in _COMMON_WORDS)[:100].strip("-_") or "machine"
