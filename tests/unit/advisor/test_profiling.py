"""Profiles: stages add up, operators are ranked, memory is watched."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.advisor import profiling
from engine.advisor.profiling import Profile
from engine.audio import Audio, Timings
from engine.errors import UsageError
from engine.synthesis import Engine

TEXT = "Good evening."


@pytest.fixture(scope="module")
def found(engine: Engine) -> Profile:
    """One profile that many tests look at."""
    return profiling.profile(engine, TEXT, rounds=1)


def test_the_stages_add_up_to_the_whole(found: Profile) -> None:
    """No second is lost between them, and the RTF is of the same round."""
    assert sum(found.stages.values()) == pytest.approx(found.seconds)
    assert found.rtf == pytest.approx(found.seconds / found.audio_seconds)


def test_a_profile_says_what_was_profiled(found: Profile) -> None:
    """Checkpoint, options and text."""
    assert (found.checkpoint, found.options, found.text) == ("seeded-tiny", "nfe=2", TEXT)


def test_operators_hold_the_attention_and_all_of_the_time(found: Profile) -> None:
    """Ranked, with shares that add up, and with what surely ran among them."""
    assert sum(one.share for one in found.operators) == pytest.approx(1)
    assert any("scaled_dot_product" in one.name and one.calls == 8 for one in found.operators)
    assert [one.seconds for one in found.operators] == sorted(
        (one.seconds for one in found.operators), reverse=True
    )


def test_memory_is_a_timeline_and_its_peak(found: Profile) -> None:
    """From the start on, in order."""
    times, readings = zip(*found.memory, strict=True)
    assert list(times) == sorted(times)
    assert found.peak_mb == max(readings) > 0


@given(totals=st.lists(st.floats(0.1, 100), min_size=1, max_size=7))
def test_the_middle_round_counts(totals: list[float]) -> None:
    """As many rounds are slower as are faster, or one more."""
    rounds = [Audio(np.zeros(24_000), 24_000, Timings(0, 0, t, 0, t), np.zeros((1, 100))) for t in totals]
    middle = profiling.median_round(rounds).timings.total
    assert middle == sorted(totals)[(len(totals) - 1) // 2]


@given(rows=st.lists(st.tuples(st.text(max_size=5), st.floats(0, 10), st.integers(1, 99))))
def test_ranking_leaves_out_only_what_took_no_time(rows: list[tuple[str, float, int]]) -> None:
    """Largest first; shares add up to one."""
    ranked = profiling.ranked(rows)
    assert len(ranked) == sum(seconds > 0 for _, seconds, _ in rows)
    assert [one.seconds for one in ranked] == sorted((one.seconds for one in ranked), reverse=True)
    assert not ranked or sum(one.share for one in ranked) == pytest.approx(1)


def test_sampling_reads_at_both_ends_and_between() -> None:
    """The first reading is before the work and the last after it; the thread is gone then."""
    seen = threading.Event()
    readings: list[float] = []

    def read() -> float:
        readings.append(float(len(readings)))
        if len(readings) >= 3:
            seen.set()
        return readings[-1]

    before = threading.active_count()
    with profiling.sampled(read, every=0.001) as found:
        assert seen.wait(10)
    assert [value for _, value in found] == readings
    assert len(found) >= 4
    assert threading.active_count() == before


def test_no_rounds_are_refused(engine: Engine) -> None:
    """There would be no time to report."""
    with pytest.raises(UsageError, match="rounds=0"):
        profiling.profile(engine, TEXT, rounds=0)
