"""Is this machine fit to measure: load, memory, threads, packages, strangers, on any machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.gate.data.machine_state import Preflight
from engine.gate.data.snapshot import Readings, Snapshot
from engine.gate.machine import describe
from engine.gate.preflight import check as preflight
from tests.unit.gate.trees import machines
from tests.unit.gate.trees.looking import PACKAGES, look, look_after_block, named, seen
from tests.unit.gate.trees.machines import plant


def test_a_plain_pc_is_fit_though_little_can_be_read(tmp_path: Path) -> None:
    """What a virtual machine hides is unknown, with the reason, and no obstacle."""
    result = look(tmp_path, machines.plain_pc())
    assert result.fit
    assert named(result, "CPU governor").observed == "sysfs: no cpufreq"
    assert seen(result)["CPU temperature"] == "unknown"
    assert not any("GPU" in check or "clock" in check for check in seen(result))


def test_what_others_use_decides_over_the_lagging_average(tmp_path: Path) -> None:
    """The load average alone is unfit only where nothing better is known."""
    expected: list[tuple[float | None, float, str | None, str]] = [
        (0.09, 0.1, "ok", "ok"),
        (0.10, 0.1, "warning", "ok"),
        (0.60, 0.1, "unfit", "ok"),
        (0.09, 0.6, "ok", "warning"),
        (0.09, 9.0, "ok", "warning"),  # it was busy a minute ago
        (0.90, 9.0, "unfit", "unfit"),
        (None, 9.0, None, "unfit"),
        (None, 0.1, None, "ok"),
    ]
    for busy, load, others, average in expected:
        files = {**machines.plain_pc(), "proc/loadavg": f"{load * 8:.2f} 0 0 1/1 1\n"}
        found = seen(look(tmp_path, files, busy=busy))
        assert (found.get("CPU used by others"), found["load per core"]) == (others, average)


def test_one_burdened_core_of_two_is_told_and_leaves_the_decision_to_the_control(tmp_path: Path) -> None:
    """Live pairs are made for such a machine; where most of the CPU is gone nothing is decided."""
    files = {**machines.orin(), "proc/loadavg": "99.0 0 0 1/1 1\n"}
    burdened = look_after_block(tmp_path, files, busy=0.5)
    assert burdened.fit
    assert named(burdened, "CPU used by others").observed == "50% of the CPU during the block"
    assert "load per core" not in seen(burdened)  # it is still that of our own processes, which have ended
    assert not look_after_block(tmp_path, files, busy=0.7).fit
    stranger = Snapshot("jtop", gpu_processes=("trainer (77)",))
    assert seen(look_after_block(tmp_path, files, extra=stranger))["GPU used by others"] == "unfit"


def test_after_a_block_only_what_may_have_changed_is_looked_at(tmp_path: Path) -> None:
    """Cheap, and the same findings by the same names as before the run."""
    before, after = look(tmp_path, machines.orin()), look_after_block(tmp_path, machines.orin())
    assert after.block == 3
    assert seen(after).keys() == {
        "CPU clocks", "GPU clocks", "memory clock", "CPU temperature", "GPU temperature", "throttling",
        "power supply", "CPU used by others", "GPU used by others",
    }  # fmt: skip
    assert seen(after).items() <= seen(before).items()


@pytest.mark.parametrize(
    ("files", "check", "status"),
    [
        (machines.memory(2999), "free memory", "warning"),
        (machines.memory(3000), "free memory", "ok"),
        (machines.memory(1499), "free memory", "unfit"),
        (machines.memory(9000, swap_used_mb=63), "swap", "ok"),
        (machines.memory(9000, swap_used_mb=64), "swap", "warning"),
        ({"proc/meminfo": ""}, "free memory", "unknown"),
        ({"proc/meminfo": ""}, "swap", "unknown"),
        ({"proc/loadavg": ""}, "load per core", "unknown"),
    ],
)
def test_memory_and_swap_are_judged(tmp_path: Path, files: dict[str, str], check: str, status: str) -> None:
    """Bands at their edges, and unknown where the kernel says nothing."""
    assert seen(look(tmp_path, {**machines.plain_pc(), **files}))[check] == status


@pytest.mark.parametrize(("free", "status"), [(1000, "ok"), (999, "warning"), (199, "unfit")])
def test_a_full_disk_cannot_hold_records(tmp_path: Path, free: int, status: str) -> None:
    """Records are written at the end: better to know at the start."""
    assert (
        seen(look(tmp_path, machines.plain_pc(), extra=Snapshot("x", disk_free_mb=free)))["free disk"]
        == status
    )


@pytest.mark.parametrize(
    ("text", "torch_threads", "status"),
    [
        ("", None, "ok"),
        ("", 4, "ok"),  # PyTorch counts physical cores
        ("", 9, "unfit"),
        ("8", None, "ok"),
        ("4", None, "warning"),
        ("16", None, "unfit"),
        ("0", None, "unfit"),
        ("many", None, "unfit"),
    ],
)
def test_threads_are_held_against_the_cores(
    tmp_path: Path, text: str, torch_threads: int | None, status: str
) -> None:
    """Too many fight, and too few measure another machine."""
    torch = SimpleNamespace(get_num_threads=lambda: torch_threads) if torch_threads else None
    result = look(tmp_path, machines.plain_pc(), environ={"OMP_NUM_THREADS": text}, torch=torch)
    assert seen(result)["threads"] == status


def test_a_gpu_that_pytorch_cannot_see_warns(tmp_path: Path) -> None:
    """A CPU wheel on a Jetson leaves the GPU idle without a word."""
    blind = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False), get_num_threads=lambda: 8)
    assert seen(look(tmp_path, machines.orin(), torch=blind))["PyTorch and GPU"] == "warning"
    seeing = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: True), get_num_threads=lambda: 8)
    assert "PyTorch and GPU" not in seen(look(tmp_path, machines.orin(), torch=seeing))


def test_missing_packages_are_unfit(tmp_path: Path) -> None:
    """There is nothing to measure without them."""
    machine = dataclasses.replace(describe(plant(tmp_path, machines.plain_pc())), versions={"torch": "2"})
    finding = named(preflight.check(machine, tmp_path, busy=lambda: 0.0), "packages")
    assert (finding.status, finding.cure) == ("unfit", "pip install f5-tts vocos")


def test_a_jetson_is_never_told_to_take_torch_from_the_registry(tmp_path: Path) -> None:
    """That one would replace NVIDIA's own, or not run at all."""
    machine = dataclasses.replace(describe(plant(tmp_path, machines.orin())), versions={})
    finding = named(preflight.check(machine, tmp_path, busy=lambda: 0.0), "packages")
    assert (finding.status, finding.observed) == ("unfit", "without torch, f5-tts, vocos")
    assert "NVIDIA" in finding.cure


@pytest.mark.parametrize(("governor", "status"), [("performance", "ok"), ("powersave", "warning")])
def test_the_governor_of_a_pc_is_a_warning(tmp_path: Path, governor: str, status: str) -> None:
    """Modern drivers boost well enough to measure, with more noise."""
    files = {**machines.desktop(), **machines.cpufreq(8, 1, 1, 2, 2, governor)}
    result = look(tmp_path, files)
    assert seen(result)["CPU governor"] == status
    assert result.fit


def test_a_pc_has_its_cpu_sensor_under_hwmon(tmp_path: Path) -> None:
    """The hottest core counts."""
    assert named(look(tmp_path, machines.desktop()), "CPU temperature").observed == "55.0 C"


@pytest.mark.parametrize(
    ("processes", "status"),
    [
        ((), "ok"),
        (("Xorg (9)",), "warning"),
        (("not visible here (9)",), "warning"),
        (("python (7)", "Xorg (9)"), "unfit"),
    ],
)
def test_strangers_on_the_gpu_are_unfit(tmp_path: Path, processes: tuple[str, ...], status: str) -> None:
    """A display server is a small noise; another job is not."""
    finding = named(
        look(tmp_path, machines.orin(), extra=Snapshot("jtop", gpu_processes=processes)), "GPU used by others"
    )
    assert (finding.status, finding.source) == (status, "jtop")


def test_the_first_source_that_knows_is_believed(tmp_path: Path) -> None:
    """jtop stands before sysfs, and is named."""
    finding = named(
        look(tmp_path, machines.orin(), extra=Snapshot("jtop", power_mode="MODE_30W")), "power mode"
    )
    assert (finding.status, finding.observed, finding.source) == ("unfit", "MODE_30W", "jtop")


def test_every_source_that_cannot_be_read_says_why() -> None:
    """Unknown carries all reasons, in order."""
    readings = Readings(
        [Snapshot("a", {"swap_used_mb": "gone"}), Snapshot("b"), Snapshot("c", {"swap_used_mb": "shut"})]
    )
    assert readings.first("swap_used_mb") == (None, "a: gone; c: shut")
    assert readings.first("governors") == (None, "no source has it")


@pytest.mark.parametrize(
    ("found", "throttling", "capped"),
    [
        (Snapshot("NVML", throttling=("hardware slowdown",), power_capped=False), "unfit", None),
        (Snapshot("NVML", throttling=(), power_capped=True), "ok", "warning"),
        (Snapshot("NVML", throttling=(), power_capped=False), "ok", None),
    ],
)
def test_throttling_is_unfit_and_a_power_cap_warns(
    tmp_path: Path, found: Snapshot, throttling: str, capped: str | None
) -> None:
    """A capped GPU still measures, with more noise."""
    statuses = seen(look(tmp_path, machines.desktop(), extra=found))
    assert (statuses["throttling"], statuses.get("power limit")) == (throttling, capped)


def test_the_reference_is_one_of_the_findings(tmp_path: Path) -> None:
    """A transcript of another clip makes the whole preflight unfit."""
    machine = dataclasses.replace(describe(plant(tmp_path, machines.plain_pc())), versions=PACKAGES)
    result = preflight.check(
        machine, tmp_path, environ={}, busy=lambda: 0.0, modules={}, reference=("Hello", 60.0)
    )
    assert [finding.check for finding in result.having("unfit")] == ["reference text"]


def test_a_preflight_survives_its_record(tmp_path: Path) -> None:
    """Written as JSON and read again, it is the same and still unfit."""
    result = look(tmp_path, machines.orin(locked=False))
    again = Preflight.model_validate_json(result.model_dump_json())
    assert again == result
    assert not again.fit


def test_every_finding_that_is_not_ok_has_a_cure_or_a_reason(tmp_path: Path) -> None:
    """Nobody is left with a bare red word."""
    hot = {**machines.orin(locked=False, celsius=90, throttled=True), "var/lib/nvpmodel/status": "pmode:0001"}
    for finding in look(tmp_path, hot, busy=0.9).findings:
        assert finding.status == "ok" or finding.cure or finding.status == "unknown"
        assert finding.observed
        assert finding.expected
