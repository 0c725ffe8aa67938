"""Machines as the files a reader sees: path to text. Units are the kernel's (kHz, Hz, millidegrees)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

Files = dict[str, str]

CPU = "sys/devices/system/cpu"
GPU = "sys/devices/platform/bus@0/17000000.gpu/devfreq/17000000.gpu"
EMC = "sys/kernel/debug/bpmp/debug/clk/emc"
THERMAL = "sys/class/thermal"
CPU_MAX, CPU_MIN, GPU_MAX, GPU_MIN = 2201600, 729600, 1300500000, 306000000


def plant(root: Path, files: Mapping[str, str]) -> Path:
    """Write the files under `root` and return it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def memory(available_mb: int, swap_used_mb: int = 0, total_mb: int = 62_800) -> Files:
    """A /proc/meminfo with 8 GiB of swap."""
    swap = 8192 * 1024
    rows = {"MemTotal": total_mb * 1024, "MemAvailable": available_mb * 1024}
    rows |= {"SwapTotal": swap, "SwapFree": swap - swap_used_mb * 1024}
    return {"proc/meminfo": "".join(f"{name}: {value} kB\n" for name, value in rows.items())}


def cpufreq(cores: int, current: int, low: int, high: int, most: int, governor: str) -> Files:
    """The cpufreq folders of all cores, kHz."""
    names = {
        "scaling_cur_freq": current,
        "scaling_min_freq": low,
        "scaling_max_freq": high,
        "cpuinfo_max_freq": most,
        "scaling_governor": governor,
    }
    return {
        f"{CPU}/cpu{n}/cpufreq/{name}": f"{value}\n" for n in range(cores) for name, value in names.items()
    }


def orin(*, locked: bool = True, celsius: float = 47.5, throttled: bool = False) -> Files:
    """A Jetson AGX Orin developer kit with L4T 36.4 in MAXN; read as root, so the memory's clock is there."""
    gpu_now = 918000000 if throttled else GPU_MAX if locked else GPU_MIN
    cpu_low, gpu_low, cpu_now = (CPU_MAX, GPU_MAX, CPU_MAX) if locked else (CPU_MIN, GPU_MIN, CPU_MIN)
    core = (
        "processor\t: {n}\nFeatures\t: fp asimd asimdhp asimddp\n"
        "CPU implementer\t: 0x41\nCPU part\t: 0xd42\n\n"
    )
    zones = {
        "cpu-thermal": celsius + 1,
        "gpu-thermal": celsius,
        "cv0-thermal": -256.0,
        "tj-thermal": celsius + 2,
    }
    alerts = {"pwm-fan": 3, "cpu-throttle-alert": 0, "gpu-throttle-alert": int(throttled)}
    return {
        "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
        "proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0",
        "proc/cpuinfo": "".join(core.format(n=n) for n in range(12)),
        "proc/loadavg": "0.42 0.40 0.35 1/420 2345\n",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n",
        "etc/nvpmodel.conf": NVPMODEL,
        "var/lib/nvpmodel/status": "pmode:0000\n",
        f"{GPU}/cur_freq": f"{gpu_now}\n",
        f"{GPU}/max_freq": f"{GPU_MAX}\n",
        f"{GPU}/min_freq": f"{gpu_low}\n",
        f"{GPU}/available_frequencies": f"{GPU_MIN} 612000000 918000000 {GPU_MAX}\n",
        f"{EMC}/rate": "3199000000\n",
        f"{EMC}/max_rate": "3199000000\n",
        f"{EMC}/min_rate": "204000000\n",
        f"{EMC}/mrq_rate_locked": f"{int(locked)}\n",
        "sys/class/hwmon/hwmon3/name": "soctherm_oc\n",
        "sys/class/hwmon/hwmon3/oc1_event_cnt": "0\n",
        "sys/class/hwmon/hwmon3/oc3_event_cnt": "0\n",
        **memory(55_000),
        **cpufreq(12, cpu_now, cpu_low, CPU_MAX, CPU_MAX, "schedutil"),
        **{f"{THERMAL}/thermal_zone{i}/type": f"{name}\n" for i, name in enumerate(zones)},
        **{
            f"{THERMAL}/thermal_zone{i}/temp": f"{int(heat * 1000)}\n"
            for i, heat in enumerate(zones.values())
        },
        **{f"{THERMAL}/cooling_device{i}/type": f"{name}\n" for i, name in enumerate(alerts)},
        **{f"{THERMAL}/cooling_device{i}/cur_state": f"{state}\n" for i, state in enumerate(alerts.values())},
    }


def plain_pc() -> Files:
    """A virtual machine of 8 cores: no cpufreq, no thermal zones, no GPU."""
    core = (
        "processor\t: {n}\nmodel name\t: Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz\n"
        "flags\t\t: fpu lm avx2 avx512f hypervisor\n\n"
    )
    return {
        "proc/cpuinfo": "".join(core.format(n=n) for n in range(8)),
        "proc/loadavg": "0.10 0.20 0.30 1/100 1234\n",
        **memory(28_000, total_mb=32_000),
    }


def desktop() -> Files:
    """A PC with cpufreq, a CPU sensor and an NVIDIA GPU whose driver shows its files."""
    gpu = "proc/driver/nvidia"
    return {
        **plain_pc(),
        **cpufreq(8, 1200000, 800000, 4600000, 4600000, "powersave"),
        "sys/class/hwmon/hwmon0/name": "coretemp\n",
        "sys/class/hwmon/hwmon0/temp1_input": "52000\n",
        "sys/class/hwmon/hwmon0/temp2_input": "55000\n",
        f"{gpu}/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA GeForce RTX 4090\nIRQ:   \t\t 16\n",
        f"{gpu}/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 2024\n",
    }


NVPMODEL = """\
< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_0 /sys/devices/system/cpu/cpu0/online
# MAXN is the NONE power model to release all constraints
< POWER_MODEL ID=0 NAME=MAXN >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=MODE_15W >
< POWER_MODEL ID=2 NAME=MODE_30W >
< POWER_MODEL ID=3 NAME=MODE_50W >
< PM_CONFIG DEFAULT=2 >
"""
