"""Where somebody speaks in a recording, found by energy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine import activity

RATE = 8000


def tone(seconds: float, level: float = -20.0) -> Any:
    """A sine of that RMS level in dBFS."""
    t = np.arange(int(seconds * RATE)) / RATE
    return (np.sqrt(2) * 10 ** (level / 20) * np.sin(2 * np.pi * 200 * t)).astype(np.float32)


@given(
    st.lists(st.tuples(st.floats(0, 2), st.sampled_from([-90.0, -45.0, -30.0, -20.0])), max_size=6),
    st.integers(0, 100),
)
def test_what_is_cut_out_is_what_is_missing(parts: list[tuple[float, float]], seed: int) -> None:
    """For any sequence of levels lengths add up, and without a long pause the same samples come back."""
    samples = np.concatenate([np.zeros(seed, np.float32), *(tone(*part) for part in parts)])
    kept, removed = activity.without_long_pauses(samples, RATE)
    assert len(kept) / RATE + removed == pytest.approx(len(samples) / RATE)
    assert (kept is samples) == (removed == 0)
    assert kept.dtype == np.float32
    assert activity.active(samples, RATE).shape == (len(samples) // (RATE // 100),)


@given(arrays.arrays(np.float32, st.integers(0, 3000), elements=st.floats(-1, 1, width=32)))
def test_any_samples_have_activity_and_a_level(samples: Any) -> None:
    """Nothing fails for noise, silence, or nothing at all."""
    activity.without_long_pauses(samples, RATE)
    assert activity.speech_level(samples, RATE) <= 0.1


@pytest.mark.parametrize("level", [-50.0, -20.0, -6.0])
def test_pauses_do_not_count_in_the_level_of_speech(level: float) -> None:
    """The level is that of the loud parts, however long the silence between them is."""
    samples = np.concatenate([tone(1, level), np.zeros(3 * RATE, np.float32), tone(1, level)])
    assert activity.speech_level(samples, RATE) == pytest.approx(level, abs=0.1)


@pytest.mark.parametrize(("pause", "left"), [(0.5, 2.5), (1.0, 3.0), (1.5, 2.2), (4.0, 2.2)])
def test_a_pause_of_up_to_a_second_stays(pause: float, left: float) -> None:
    """People pause between two sentences; of a longer pause a tenth of a second stays on either side."""
    samples = np.concatenate([tone(1), np.zeros(int(pause * RATE), np.float32), tone(1)])
    kept, _ = activity.without_long_pauses(samples, RATE)
    assert len(kept) / RATE == pytest.approx(left, abs=0.03)


def test_a_cut_makes_no_click() -> None:
    """The two sides of a cut are faded into each other: no step is much larger than those of the hum."""
    hum = 0.01 * np.sin(2 * np.pi * 37 * np.arange(3 * RATE) / RATE)
    kept, removed = activity.without_long_pauses(
        np.concatenate([tone(1), hum.astype(np.float32), tone(1)]), RATE
    )
    assert removed > 2
    quiet = kept[RATE + RATE // 50 : RATE + RATE // 100 * 17]
    assert np.abs(np.diff(quiet)).max() < 3 * np.abs(np.diff(hum)).max()
