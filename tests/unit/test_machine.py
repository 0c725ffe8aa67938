"""What machine is this: the key that chooses a baseline, and the facts beside it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.gate import machine
from engine.gate.machine import Machine, describe, is_jetson
from tests.unit.gate.trees import machines
from tests.unit.gate.trees.machines import plant


def test_an_agx_orin_in_maxn_finds_its_committed_baseline(tmp_path: Path) -> None:
    """The key of the board in full power is the name of the file."""
    assert describe(plant(tmp_path, machines.orin())).key == "jetson-agx-orin"


def test_another_power_mode_is_another_machine(tmp_path: Path) -> None:
    """A slower or unreadable mode never meets the limits of MAXN."""
    for status, mode, key in (
        ("pmode:0002\n", "MODE_30W", "jetson-agx-orin-30w"),
        ("pmode:0010\n", "MODE_10", "jetson-agx-orin-10"),
        ("", "unknown", "jetson-agx-orin-unknown"),
    ):
        found = describe(plant(tmp_path, {**machines.orin(), "var/lib/nvpmodel/status": status}))
        assert (found.power_mode, found.key) == (mode, key)


def test_the_full_mode_is_found_by_name_not_by_number(tmp_path: Path) -> None:
    """On boards where MAXN_SUPER is mode 2, it is no MAXN."""
    conf = "< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"
    files = {**machines.orin(), "etc/nvpmodel.conf": conf, "var/lib/nvpmodel/status": "pmode:0002"}
    assert describe(plant(tmp_path, files)).key == "jetson-agx-orin-maxn_super"


def test_an_orin_is_described_whole(tmp_path: Path) -> None:
    """Board, cores, memory, features and L4T come from the tree."""
    found = describe(plant(tmp_path, machines.orin()))
    assert found.board == "NVIDIA Jetson AGX Orin Developer Kit"
    assert (found.architecture, found.cores, found.memory_mb) == ("aarch64", 12, 62_800)
    assert found.cpu == "Arm 0x41 0xd42"
    assert found.features == ("asimd", "asimdhp", "asimddp")
    assert found.versions["l4t"] == "36.4.3"
    assert not found.virtual


def test_a_plain_pc_is_its_cpu_architecture_and_cores(tmp_path: Path) -> None:
    """No board, no mode, no GPU: the key says what is left."""
    found = describe(plant(tmp_path, machines.plain_pc()))
    assert found.key == "intel-xeon-gold-6248-x86_64-8-core"
    assert (found.gpus, found.power_mode, found.virtual) == ((), "", True)
    assert found.features == ("avx2", "avx512f")


def test_a_gpu_is_part_of_the_key_and_its_driver_is_not(tmp_path: Path) -> None:
    """Drivers change under the same machine; they are metadata."""
    found = describe(plant(tmp_path, machines.desktop()))
    assert found.gpus == ("NVIDIA GeForce RTX 4090",)
    assert found.key.endswith("geforce-rtx-4090")
    assert found.versions["driver"] == "550.54.14"
    assert "550" not in found.key


class FakeNvml:
    """As much of pynvml as is asked; without a driver it refuses to start."""

    class NVMLError(Exception):
        """NVML's error."""

    def __init__(self, *names: str | bytes) -> None:
        self.names = names

    def nvmlInit(self) -> None:
        if not self.names:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlShutdown(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, index: int) -> str | bytes:
        return self.names[index]


def test_nvml_names_the_gpus_where_the_driver_shows_no_files(tmp_path: Path) -> None:
    """A container may hide the files; old bindings answer in bytes; no driver is no GPU."""
    plant(tmp_path, machines.plain_pc())
    assert describe(tmp_path, FakeNvml("NVIDIA H100", b"NVIDIA H100")).gpus == ("NVIDIA H100", "NVIDIA H100")
    assert describe(tmp_path, FakeNvml()).gpus == ()


def test_people_see_the_board_or_the_cpu(tmp_path: Path) -> None:
    """Whatever the machine calls itself."""
    for files, name in (
        (machines.orin(), "NVIDIA Jetson AGX Orin Developer Kit"),
        (machines.plain_pc(), "Intel(R) Xeon(R) Gold 6248 CPU"),
    ):
        assert describe(plant(tmp_path / name, files)).name == name


def test_a_control_group_takes_cores_away(tmp_path: Path) -> None:
    """A container with half the cores is another machine."""
    files = {**machines.plain_pc(), "sys/fs/cgroup/cpu.max": "350000 100000\n"}
    assert describe(plant(tmp_path, files)).cores == 4


def test_any_one_trace_of_a_jetson_is_enough(tmp_path: Path) -> None:
    """Containers hide some files: torch must stay NVIDIA's even then."""
    for kept, jetson in (
        ("proc/device-tree/model", True),
        ("proc/device-tree/compatible", True),
        ("etc/nv_tegra_release", True),
        ("proc/cpuinfo", False),
    ):
        assert is_jetson(plant(tmp_path / kept, {kept: machines.orin()[kept]})) is jetson


def test_a_container_that_hides_the_device_tree_keeps_the_board(tmp_path: Path) -> None:
    """The board's name is also under soc0."""
    files = {k: v for k, v in machines.orin().items() if "device-tree" not in k}
    files["sys/devices/soc0/machine"] = "NVIDIA Jetson AGX Orin Developer Kit\n"
    assert describe(plant(tmp_path, files)).key == "jetson-agx-orin"


def test_an_empty_tree_is_a_machine_without_facts(tmp_path: Path) -> None:
    """Nothing readable is no error, and no Jetson."""
    found = describe(tmp_path)
    assert not is_jetson(tmp_path)
    assert found.key
    assert found.cores >= 1


def test_this_machine_is_described() -> None:
    """The real root works too, and its facts are JSON."""
    found = describe()
    assert found.cores >= 1
    assert found.memory_mb > 0
    assert json.loads(json.dumps(found.facts()))["cpu"] == found.cpu
    assert found.versions["torch"]


def test_versions_do_not_make_another_machine(tmp_path: Path) -> None:
    """Two machines are equal when only a package differs."""
    one = describe(plant(tmp_path, machines.plain_pc()))
    other = Machine(**{**vars(one), "versions": {"torch": "0.0"}})
    assert one == other
    assert one.key == other.key


@given(cpu=st.text(max_size=200), gpus=st.lists(st.text(max_size=80), max_size=9), mode=st.text(max_size=40))
def test_any_key_is_a_plain_file_name(cpu: str, gpus: list[str], mode: str) -> None:
    """Whatever a vendor writes, the key has no separator, no blank, and a bounded length."""
    for board in ("", cpu):
        key = Machine(board, cpu, "x86_64", 4, 1, tuple(gpus), mode, False, ()).key
        assert re.fullmatch(r"[a-z0-9_][a-z0-9_-]{0,99}", key)


def test_a_missing_file_is_an_error_only_where_it_is_asked_for(tmp_path: Path) -> None:
    """read_text raises, text_or_empty does not."""
    with pytest.raises(FileNotFoundError):
        machine.read_text(tmp_path / "none")
    assert machine.text_or_empty(tmp_path / "none") == ""


def test_memory_is_measured_and_grows() -> None:
    """Resident memory follows an allocation, and the peak is no less."""
    before = machine.host_memory_mb()
    block = bytearray(b"x") * (64 << 20)
    assert machine.host_memory_mb() - before > 32
    assert machine.host_peak_mb() >= before
    assert len(block) == 64 << 20


def test_device_memory_is_zero_without_a_gpu() -> None:
    """Nothing is loaded to find out that nothing is there."""
    assert machine.device_memory_mb() >= 0.0
    assert machine.device_peak_mb() >= machine.device_memory_mb()


def test_importing_the_module_needs_the_standard_library_only() -> None:
    """The task runner asks is_jetson() before anything is installed."""
    root = str(Path(machine.__file__).parents[2])
    code = f"import sys; sys.path.insert(0, {root!r}); import engine.gate.machine"
    subprocess.run([sys.executable, "-S", "-c", code], check=True)
