"""vocoder_bench: a part's gain is worth its share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.audio import Timings
from tests.studies.vocoder_bench import Gain, gain


@given(share=st.floats(0.001, 0.999), ratio=st.floats(1.001, 1000))
def test_the_whole_gains_less_than_the_part_and_than_its_share_allows(share: float, ratio: float) -> None:
    """Amdahl's law."""
    found = Gain(share, ratio, 1.0)
    assert 1 < found.possible < min(ratio, found.ceiling)


def test_half_of_the_time_made_twice_as_fast_gives_a_third() -> None:
    """By hand."""
    assert Gain(0.5, 2.0, 1.0).possible == pytest.approx(4 / 3)
    assert Gain(0.5, 2.0, 1.0).ceiling == 2


def test_a_gain_is_the_median_of_pairs() -> None:
    """One request in three met a busy machine."""
    before = [Timings(0, 0, 3, 1, 4), Timings(0, 0, 3, 1, 4), Timings(0, 0, 3, 9, 12)]
    after = [Timings(0, 0, 3, 0.5, 3.5)] * 3
    assert gain(before, after) == Gain(share=0.25, ratio=2.0, whole=pytest.approx(4 / 3.5))
