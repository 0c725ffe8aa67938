"""A short first piece: cut where the text is longer, everything else split as before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import text
from engine.errors import OptionsError
from engine.evidence import Observations
from engine.optimizations import first_piece
from engine.options import Options

ON = Options(first_piece=30)
SPEECH = st.text(st.sampled_from("abc ,.;!?。，中é"), max_size=150)


def test_off_hands_back_the_splitter_itself() -> None:
    """Off means untouched."""
    assert first_piece.apply(text.split, Options(), Observations()) is text.split


@given(SPEECH, st.integers(30, 200))
def test_only_the_first_piece_is_cut(words: str, limit: int) -> None:
    """No character is dropped; behind the opening is what the splitter makes of the rest."""
    observed = Observations()
    pieces = first_piece.apply(text.split, ON, observed)(words, limit)
    assert "".join(pieces) == words
    if not observed.counts["openings cut"]:
        assert pieces == text.split(words, limit)
        return
    assert len(pieces[0].encode()) <= min(30, limit)
    assert pieces[1:] == text.split(words[len(pieces[0]) :], limit)


@pytest.mark.parametrize(
    ("options", "counts", "proven"),
    [
        (ON, {}, None),
        (ON, {"requests": 1, "longest first piece": 12}, None),
        (ON, {"requests": 1, "longest first piece": 12, "openings cut": 1}, True),
        (ON, {"requests": 2, "longest first piece": 90, "openings cut": 1}, False),
        (Options(), {"requests": 1, "longest first piece": 90}, True),
        (Options(), {"requests": 1, "longest first piece": 12, "openings cut": 1}, False),
    ],
)
def test_the_proof_is_the_longest_first_piece(
    options: Options, counts: dict[str, int], proven: bool | None
) -> None:
    """One that is too long disproves; a text that fits proves nothing."""
    observed = Observations()
    observed.counts.update(counts)
    assert first_piece.evidence(options, observed).proven is proven


@pytest.mark.parametrize("size", [1, 29])
def test_a_first_piece_of_a_word_or_two_is_refused(size: int) -> None:
    """It would be stretched."""
    with pytest.raises(OptionsError, match="first_piece"):
        Options(first_piece=size)
