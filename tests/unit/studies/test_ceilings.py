"""Ceilings: the best of repeats, only formats that work, nothing that is no rate."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import DeviceError, UsageError
from tests.studies import ceilings
from tests.studies.ceilings import PATIENCE_S, REPEATS, Ceilings, best


class Clock:
    """A clock that only `run` moves, by the next of some seconds."""

    def __init__(self, taken: Iterator[float]) -> None:
        self.now, self.runs, self._taken = 0.0, 0, taken

    def run(self) -> None:
        self.runs += 1
        self.now += next(self._taken)

    def __call__(self) -> float:
        return self.now


@given(taken=st.lists(st.floats(0.001, 0.05), min_size=REPEATS + 1, max_size=REPEATS + 1))
def test_the_fastest_run_counts_and_the_first_does_not(taken: list[float]) -> None:
    """A first run warms up, even if it happens to be the fastest."""
    clock = Clock(iter(taken))
    assert best(clock.run, clock=clock) == pytest.approx(min(taken[1:]), abs=1e-9)
    assert clock.runs == REPEATS + 1


def test_long_runs_are_not_repeated_for_ever() -> None:
    """Once patience is over no further run begins."""
    clock = Clock(itertools.repeat(2 * PATIENCE_S))
    assert best(clock.run, clock=clock) == pytest.approx(2 * PATIENCE_S)
    assert clock.runs == 2


def test_the_device_is_waited_for_before_the_clock_is_read() -> None:
    """Work that was only started is not timed as done."""
    clock = Clock(itertools.repeat(0.0))

    def wait() -> None:
        clock.now += 0.01

    assert best(clock.run, wait, clock) == pytest.approx(0.01)


def test_this_machine_has_ceilings_above_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """fp32 works everywhere; small products keep the test short."""
    monkeypatch.setattr(ceilings, "SIZES", {"cpu": (128,)})
    monkeypatch.setattr(ceilings, "BUFFER_MB", {"cpu": 4})
    found = ceilings.measure("cpu")
    assert found.flops["fp32"] > 0
    assert found.bandwidth > 0
    assert found.threads >= 1
    assert found.fastest in found.flops


def test_a_format_that_does_not_work_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel's error is the answer to the question."""
    product = ceilings._product

    def broken(name: str, size: int, device: str) -> object:
        if name == "fp16":
            raise RuntimeError("not implemented for 'Half'")
        return product(name, size, device)

    monkeypatch.setattr(ceilings, "SIZES", {"cpu": (64,)})
    monkeypatch.setattr(ceilings, "BUFFER_MB", {"cpu": 4})
    monkeypatch.setattr(ceilings, "_product", broken)
    found = ceilings.measure()
    assert "fp16" not in found.flops
    assert "fp32" in found.flops


def test_an_unknown_device_is_refused() -> None:
    """The message names what was given."""
    for device in (
        "tpu",
        "",
    ):
        with pytest.raises(DeviceError, match=f"device='{device}'"):
            ceilings.measure(device)


def test_what_is_no_rate_is_refused() -> None:
    """Zero, NaN and nothing at all are no ceilings."""
    for flops, bandwidth in (
        ({}, 1.0),
        ({"fp32": 0.0}, 1.0),
        ({"fp32": 1.0}, float("nan")),
        ({"fp32": -1.0}, 1.0),
    ):
        with pytest.raises(UsageError):
            Ceilings("here", "cpu", 1, flops, bandwidth)
