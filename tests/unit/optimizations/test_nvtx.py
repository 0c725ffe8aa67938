"""nvtx: every range that is opened is closed, and a torch without markers is refused."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import DeviceError
from engine.evidence import Observations
from engine.optimizations import nvtx
from engine.options import Options
from tests.unit.card import Markers
from tests.unit.parts import parts

ON = Options(nvtx=True)


def test_off_leaves_the_parts_alone() -> None:
    """The same object, nothing counted."""
    whole, observed = parts(), Observations()
    assert nvtx.apply(whole, Options(), observed) is whole
    assert not observed.counts


def test_ranges_nest_and_close_when_something_fails() -> None:
    """A range that stays open would swallow the rest of the timeline."""
    markers, observed = Markers(), Observations()
    ranges = nvtx.Ranges(markers, observed)
    with pytest.raises(ValueError, match="in vain"), ranges("sampling"), ranges("evaluation"):
        raise ValueError("in vain")
    assert markers.names == ["sampling", "sampling/evaluation"]
    assert markers.open == []


def test_a_torch_without_markers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it says."""

    class Absent:
        def mark(self, name: str) -> None:
            raise RuntimeError("NVTX functions not installed")

    monkeypatch.setattr(nvtx, "_nvtx", Absent)
    nvtx.check_device(Options(), "cpu")
    with pytest.raises(DeviceError, match="NVTX functions not installed"):
        nvtx.check_device(ON, "cuda")


def test_the_proof_is_a_range_for_every_stage_and_call() -> None:
    """None of them while it is off."""
    observed: Any = Observations()
    assert nvtx.evidence(ON, observed).proven is None
    observed.counts.update({"evaluations": 2, "calls": 2})
    assert nvtx.evidence(Options(), observed).proven is True
    assert nvtx.evidence(ON, observed).proven is False
    observed.counts.update({"range evaluation": 2, "range sampling": 1, "range vocoder": 1})
    assert nvtx.evidence(ON, observed).proven is True
    assert nvtx.evidence(Options(), observed).proven is False
