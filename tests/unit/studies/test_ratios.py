"""Ratios of paired times."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UsageError
from tests.studies.ratios import ratio_of


@given(
    st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=2, max_size=8),
    st.floats(0.01, 100),
)
def test_a_ratio_is_mirrored_by_a_swap_and_blind_to_the_unit(
    pairs: list[tuple[float, float]], unit: float
) -> None:
    """Swapping the sides inverts ratio and interval; measuring in other units changes nothing."""
    after, before = zip(*pairs, strict=True)
    there, back = ratio_of(after, before), ratio_of(before, after)
    np.testing.assert_allclose([there.ratio, there.low], [1 / back.ratio, 1 / back.high], rtol=1e-6)
    scaled = ratio_of([unit * one for one in after], [unit * one for one in before])
    np.testing.assert_allclose([scaled.ratio, scaled.high], [there.ratio, there.high], rtol=1e-6)


def test_one_block_has_no_interval() -> None:
    """A single pair cannot say how sure it is, so it is refused."""
    with pytest.raises(UsageError, match="two or more"):
        ratio_of([1.0], [2.0])
