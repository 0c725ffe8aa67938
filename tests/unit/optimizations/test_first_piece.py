"""A short first piece: asked for and seen, or not."""

from __future__ import annotations

import pytest

from engine.errors import OptionsError
from engine.evidence import Observations
from engine.optimizations import first_piece
from engine.options import Options
from tests.unit.parts import parts

ON = Options(first_piece=30)


def test_off_hands_back_the_parts_themselves() -> None:
    """Off means untouched."""
    whole = parts()
    assert first_piece.apply(whole, Options(), Observations()) is whole
    assert first_piece.apply(whole, ON, Observations()).opening == 30


@pytest.mark.parametrize(
    ("options", "counts", "proven"),
    [
        (ON, {}, None),
        (ON, {"requests": 1}, None),
        (ON, {"requests": 1, "openings cut": 1}, True),
        (ON, {"requests": 2, "openings cut": 1, "openings missed": 1}, False),
        (Options(), {"requests": 1}, True),
        (Options(), {"requests": 1, "openings cut": 1}, False),
    ],
)
def test_the_proof_is_a_first_piece_that_was_cut(
    options: Options, counts: dict[str, int], proven: bool | None
) -> None:
    """One that could have been cut and was not disproves; a text that fits proves nothing."""
    observed = Observations()
    observed.counts.update(counts)
    assert first_piece.evidence(options, observed).proven is proven


@pytest.mark.parametrize("size", [1, 29])
def test_a_first_piece_of_a_word_or_two_is_refused(size: int) -> None:
    """It would be stretched."""
    with pytest.raises(OptionsError, match="first_piece"):
        Options(first_piece=size)
