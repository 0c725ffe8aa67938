"""Readers of jtop, NVML and the CPU's counters: their units, their refusals, and what they leave unknown."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.gate.preflight import readers


class FakeNvml:
    """As much of pynvml as is asked; `refuse` names the functions that the driver does not support."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        """NVML's error."""

    def __init__(self, reasons: tuple[int, ...] = (0,), heat: int = 40, refuse: tuple[str, ...] = ()) -> None:
        self.reasons, self.heat, self.refuse, self.open = reasons, heat, refuse, False

    def _check(self, name: str) -> None:
        if name in self.refuse:
            raise self.NVMLError("Not Supported")

    def nvmlInit(self) -> None:
        """Open, or fail."""
        self._check("nvmlInit")
        self.open = True

    def nvmlShutdown(self) -> None:
        """Close."""
        self.open = False

    def nvmlDeviceGetCount(self) -> int:
        """As many as reasons."""
        return len(self.reasons)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        """The index."""
        self._check("handle")
        return index

    def nvmlDeviceGetTemperature(self, gpu: int, sensor: int) -> int:
        """Hotter by index."""
        self._check("temperature")
        return self.heat + gpu + sensor

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: int) -> int:
        """The old name of the question."""
        self._check("reasons")
        return self.reasons[gpu]

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: int) -> list[Any]:
        """This process and its parent."""
        self._check("processes")
        return [
            SimpleNamespace(pid=os.getpid()),
            SimpleNamespace(pid=os.getppid()),
            SimpleNamespace(pid=2**22 + 1),
        ]


def test_nvml_tells_the_worst_of_all_gpus() -> None:
    """Heat, slowdowns and strangers; this process is no stranger, and idle is no throttling."""
    nvml = FakeNvml(reasons=(0x1, 0x8 | 0x40 | 0x4))
    found = readers.read_nvml(nvml)
    assert found.gpu_temperature == 41
    assert found.throttling == ("hardware slowdown", "hardware thermal slowdown")
    assert found.power_capped is True
    assert found.gpu_processes is not None
    assert [name for name in found.gpu_processes if f"({os.getpid()})" in name] == []
    assert f"not visible here ({2**22 + 1})" in found.gpu_processes
    assert not nvml.open


@pytest.mark.parametrize("bits", [0x0, 0x1, 0x2, 0x10, 0x100])
def test_idle_and_set_clocks_are_no_throttling(bits: int) -> None:
    """Only slowdowns are."""
    found = readers.read_nvml(FakeNvml(reasons=(bits,)))
    assert (found.throttling, found.power_capped) == ((), False)


def test_newer_bindings_are_asked_by_the_new_name() -> None:
    """Throttle reasons were renamed event reasons."""
    nvml: Any = FakeNvml(refuse=("reasons",))
    nvml.nvmlDeviceGetCurrentClocksEventReasons = lambda gpu: 0x20
    assert readers.read_nvml(nvml).throttling == ("software thermal slowdown",)


def test_a_driver_that_supports_nothing_leaves_everything_unknown() -> None:
    """Orin's driver answers only names: no zero may come out of that."""
    found = readers.read_nvml(FakeNvml(refuse=("temperature", "reasons", "processes")))
    assert (found.gpu_temperature, found.throttling, found.power_capped, found.gpu_processes) == (None,) * 4
    assert "not supported" in found.missing["throttling"]


def test_nvml_that_opens_no_gpu_says_so() -> None:
    """None is there, or the handle is refused."""
    for nvml in (FakeNvml(reasons=()), FakeNvml(refuse=("handle",))):
        assert readers.read_nvml(nvml).missing["throttling"] == "it opens no GPU"


def test_nvml_without_a_driver_says_so() -> None:
    """Its own words are the reason."""
    assert readers.read_nvml(FakeNvml(refuse=("nvmlInit",))).missing["throttling"] == "Not Supported"


class RefusedError(Exception):
    """jtop's own exception."""


def jtop_module(board: Any = None, problem: Exception | None = None) -> Any:
    """A module like jtop: a context manager that yields the board, or raises."""

    class Manager:
        def __enter__(self) -> Any:
            if problem:
                raise problem
            return board

        def __exit__(self, *_: object) -> None:
            return None

    return SimpleNamespace(jtop=Manager, JtopException=RefusedError)


def board(**changes: Any) -> Any:
    """A board as jtop 4 shows it."""
    facts = {
        "ok": lambda: True,
        "nvpmodel": SimpleNamespace(name="MODE 30W"),
        "temperature": {"cpu": {"temp": 47.4, "online": True}, "GPU": {"temp": -256, "online": False}},
        "processes": [
            [os.getpid(), "me", "I", "Compute", 20, "S", 0.0, 1, 1, "python"],
            [4, "x", "I", "Compute", 20, "R", 0.0, 1, 1, "ffmpeg"],
        ],
    }
    return SimpleNamespace(**{**facts, **changes})


def test_jtop_is_read_in_its_own_words() -> None:
    """Names get nvpmodel's underscores, a sensor that is off stays unknown, we are no stranger."""
    found = readers.read_jtop(jtop_module(board()))
    assert found.power_mode == "MODE_30W"
    assert (found.cpu_temperature, found.gpu_temperature) == (47.4, None)
    assert found.gpu_processes == ("ffmpeg (4)",)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (
            jtop_module(problem=RefusedError("The service is not active.\nPlease run")),
            "The service is not active.",
        ),
        (jtop_module(problem=PermissionError("no group")), "no group"),
        (jtop_module(problem=ConnectionRefusedError()), "ConnectionRefusedError"),
        (jtop_module(board(ok=lambda: False)), "its service sent nothing"),
        (jtop_module(board(nvpmodel="MAXN")), "not jetson-stats 4: 'str' object has no attribute 'name'"),
    ],
)
def test_a_jtop_that_does_not_answer_says_why(module: Any, reason: str) -> None:
    """And sysfs is asked instead."""
    found = readers.read_jtop(module)
    assert found.power_mode is None
    assert found.missing["power_mode"] == reason


SECONDS = st.floats(0.0, 1e6)


@given(idle=SECONDS, own=SECONDS, others=SECONDS, start=SECONDS)
def test_the_cpu_of_others_is_what_is_neither_idle_nor_ours(
    idle: float, own: float, others: float, start: float
) -> None:
    """Counters run on from any start; the wait is the window."""
    total = idle + own + others
    states = iter([(start, start, start), (start + total, start + idle, start + own)])
    waited: list[float] = []
    share = readers.other_cpu_use(0.25, waited.append, lambda: next(states))
    assert waited == [0.25]
    if total < 1.0:
        assert share is None or 0.0 <= share <= 1.0
    else:
        assert share == pytest.approx(others / total, abs=1e-6)


def test_counters_that_stand_still_tell_nothing() -> None:
    """A sandbox that counts nothing is unknown, not idle."""
    assert readers.other_cpu_use(0.0, lambda _: None, lambda: (0.0, 0.0, 0.0)) is None


def test_a_meter_tells_of_all_time_since_it_was_asked_last() -> None:
    """A busy block is seen though others rest when it ends; the next block has its own share."""
    states = iter([(0.0, 0.0, 0.0), (100.0, 20.0, 30.0), (200.0, 70.0, 80.0), (200.0, 70.0, 80.0)])
    meter = readers.CpuMeter(lambda: next(states))
    assert [meter(), meter(), meter()] == [0.5, 0.0, None]


def test_processes_that_have_ended_are_our_own() -> None:
    """The gate's workers are no strangers once they were waited for."""
    before = readers.cpu_counters()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    children = os.times().children_user + os.times().children_system
    assert children > 0
    assert readers.cpu_counters()[2] >= before[2]
    assert readers.cpu_counters()[2] >= children


def test_this_machines_counters_hold_together() -> None:
    """Idle and own time are parts of all time."""
    total, idle, own = readers.cpu_counters()
    assert total >= idle >= 0.0
    assert own > 0.0
