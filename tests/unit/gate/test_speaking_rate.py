"""A transcript that cannot be what its clip says is caught by its speaking rate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.gate.preflight.speaking_rate import check_reference


@pytest.mark.parametrize(
    ("text", "seconds", "status"),
    [
        ("Some call me nature, others call me mother nature.", 5.3, "ok"),
        ("对，这就是我，万人敬仰的太乙真人。", 4.0, "ok"),
        ("Some call me nature.", 30.0, "unfit"),
        ("Some call me nature, others call me mother nature. " * 5, 5.3, "unfit"),
        ("Some call me nature, others call me mother nature.", 10.0, "warning"),
        ("对，这就是我，万人敬仰的太乙真人。", 30.0, "unfit"),
        ("", 5.0, "unfit"),
        ("... !?", 5.0, "unfit"),
        ("Hello there", 0.0, "unfit"),
        ("Hello there", float("nan"), "unfit"),
    ],
)
def test_a_transcript_that_cannot_be_the_clip_is_unfit(text: str, seconds: float, status: str) -> None:
    """Letters and syllables a second, by script."""
    assert check_reference(text, seconds).status == status


@pytest.mark.parametrize(
    ("text", "edges"), [("a" * 66, (2.2, 3.0, 11.0, 22.0)), ("太" * 24, (2.0, 3.0, 12.0, 24.0))]
)
def test_the_bands_of_each_script_have_their_edges(text: str, edges: tuple[float, ...]) -> None:
    """Edges belong to the better side, and whatever is not ok has a cure."""
    shortest, short, long, longest = edges
    expected = {shortest - 0.1: "unfit", shortest: "warning", short - 0.1: "warning", short: "ok"}
    expected |= {long: "ok", long + 0.1: "warning", longest: "warning", longest + 0.1: "unfit"}
    found = {seconds: check_reference(text, seconds) for seconds in expected}
    assert {seconds: finding.status for seconds, finding in found.items()} == expected
    assert all(bool(finding.cure) is (finding.status != "ok") for finding in found.values())


def test_letters_syllables_and_digits_are_counted_apart() -> None:
    """Blanks, punctuation and marks take no time."""
    found = check_reference("Room 42, 太乙! カナ 한", 4.0)
    assert found.observed == "4 letters and 7 syllables or digits in 4.0 s"
    assert found.expected == "0.7 to 8.3 s"


WORDS = st.text(alphabet="abc déñ 对这真 한국 カナ 123 ,.", min_size=1, max_size=80)


@given(text=WORDS, seconds=st.floats(0.1, 60.0), factor=st.integers(2, 5))
def test_the_speaking_rate_does_not_depend_on_length(text: str, seconds: float, factor: int) -> None:
    """The same speech twice as long, in twice the time, is judged alike."""
    seconds = round(seconds * 8) / 8 + 0.01  # no text's bound falls on these
    one, many = (
        check_reference(text, seconds),
        check_reference(text * factor, seconds * factor),
    )
    assert one.status == many.status


@given(text=WORDS, seconds=st.floats(0.1, 60.0))
def test_only_a_stretch_of_lengths_is_plausible(text: str, seconds: float) -> None:
    """Punctuation changes nothing, and an unfit clip made more extreme stays unfit."""
    found = check_reference(text, seconds)
    assert check_reference(f"  {text}!?", seconds).status == found.status
    if found.status == "unfit":
        assert "unfit" in {check_reference(text, seconds * k).status for k in (0.5, 2.0)}
