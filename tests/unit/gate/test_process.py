"""Real worker processes with a stand-in engine: the protocol, and what happens when a side breaks."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.gate.data.samples import Call
from engine.gate.data.workloads import SENTENCES
from engine.gate.measure import process as instrument
from engine.gate.measure.process import Material, Target
from tests.unit.gate import builders, fake_engine


def opened(folder: Path, extra: str = "", options: str = "reference", **changes: float):  # type: ignore[no-untyped-def]
    """An opener over the stand-in under `folder`, for both arms."""
    root = fake_engine.write(folder, extra)
    clip = folder / "clip.wav"
    clip.write_bytes(b"audio")
    target = Target(root, "0123456789ab", True, options)
    arms = {"base": target, "candidate": target}
    return instrument.opener(arms, Material("any", "any", clip, "Words."), **changes)  # type: ignore[arg-type]


def test_a_process_speaks_and_says_what_it_observed(tmp_path: Path) -> None:
    """A library that prints to stdout does not disturb it."""
    with opened(tmp_path) as open_worker, open_worker("candidate") as handle:
        calls = [handle.call(SENTENCES[0]) for _ in range(3)]
        spoken = [instrument.series("short", calls, compiled=False)]
        process = instrument.process("candidate", 0, 1, spoken, handle, handle.finish())
    assert len({call.output for call in calls}) == 1
    assert process.evidence["reference_cache"].proven is None
    assert process.peak_host_mb
    assert process.peak_host_mb > 1


@pytest.mark.parametrize(
    ("extra", "options", "last"),
    [
        ("raise RuntimeError('half a merge')", "reference", "half a merge"),
        ("", "unknown=1", "no such option"),
        ("def load(*a, **k): import os; os._exit(9)", "reference", "code 9"),
    ],
)
def test_a_broken_side_is_one_error_with_its_last_words(
    tmp_path: Path, extra: str, options: str, last: str
) -> None:
    """It names the arm, the revision, and what the process said last."""
    with (
        pytest.raises(UsageError, match=rf"(?s)the base \(0123456789\+, {options}\).*{last}"),
        opened(tmp_path, extra, options) as open_worker,
        open_worker("base"),
    ):
        pytest.fail("it must not come this far")


def test_a_side_that_hangs_is_ended(tmp_path: Path) -> None:
    """The time limit holds, and the error says that the process was killed."""
    hang = "import threading\ndef load(*a, **k): threading.Event().wait()"
    with (
        pytest.raises(UsageError, match="code -9"),
        opened(tmp_path, hang, timeout=0.2) as open_worker,
        open_worker("base"),
    ):
        pytest.fail("it must not come this far")


def test_another_engine_than_the_sides_own_is_refused(tmp_path: Path) -> None:
    """An installed engine that answers in place of the checkout would measure the wrong code."""
    lie = f"__file__ = {str(tmp_path / 'elsewhere' / 'engine' / '__init__.py')!r}"
    with (
        pytest.raises(UsageError, match="elsewhere"),
        opened(tmp_path, lie) as open_worker,
        open_worker("base"),
    ):
        pytest.fail("it must not come this far")


def calls(seconds: list[float]) -> list[Call]:
    """Calls that took so long."""
    return [builders.call(value / 4) for value in seconds]


def test_warm_up_stands_apart_and_compilation_is_what_it_cost() -> None:
    """Two slow calls before ten even ones: both are warm-up, and their excess is the compilation."""
    found = instrument.series("short", calls([30.0, 2.0, *[1.0] * 10]), compiled=True)
    assert [round(call.seconds, 6) for call in found.warmup] == [30.0, 2.0]
    assert found.compile_seconds == pytest.approx(30.0)
    assert instrument.series("short", calls([30.0, 2.0, *[1.0] * 10]), compiled=False).compile_seconds == 0


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=20))
def test_no_call_is_lost_between_warm_up_and_steady_state(seconds: list[float]) -> None:
    """Warm-up and calls together are what was measured, in its order."""
    found = instrument.series("short", calls(seconds), compiled=True)
    assert (*found.warmup, *found.calls) == tuple(calls(seconds))
