"""Text: normalised and checked."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import text
from engine.errors import TextError


@given(st.text(max_size=200))
def test_normalised_text_is_clean_and_stays_as_it_is(words: str) -> None:
    """No control characters, no doubled blanks, something to say; a second pass changes nothing."""
    try:
        spoken = text.normalise(words)
    except TextError:
        return
    assert spoken == spoken.strip()
    assert "  " not in spoken
    assert not any(unicodedata.category(character)[0] == "C" for character in spoken)
    assert any(unicodedata.category(character)[0] in "LN" for character in spoken)
    assert text.normalise(spoken) == spoken
    spoken.encode()


@given(st.text(st.characters(categories=("Lu", "Ll", "Nd", "Po")), min_size=1, max_size=60))
def test_normalising_keeps_every_letter_digit_and_punctuation_mark(words: str) -> None:
    """What has a sound or shapes one is not dropped."""
    composed = unicodedata.normalize("NFC", words)
    if not any(unicodedata.category(character)[0] in "LN" for character in composed):
        return
    kept = [c for c in composed if unicodedata.category(c)[0] in "LNP" and not c.isspace()]
    assert [c for c in text.normalise(words) if c != " "] == [c for c in kept if c != " "]


@pytest.mark.parametrize(
    ("words", "spoken"),
    [
        ("  Hello,\n\tworld  ", "Hello, world"),
        ("Hi 👋🏽 chat ❤️!", "Hi chat !"),
        ("1️⃣ place", "1 place"),
        ("zero\u200bwidth", "zerowidth"),
        ("bell\x07", "bell"),
        ("half \ud800 pair", "half pair"),
        ("cafe\u0301", "café"),
        ("20 °C or 20 ℃", "20 °C or 20 ℃"),
        ("你好 world", "你好 world"),
    ],
)
def test_emoji_and_controls_are_skipped_and_blanks_run_together(words: str, spoken: str) -> None:
    """What cannot be pronounced is left out; what can be stays."""
    assert text.normalise(words) == spoken


@pytest.mark.parametrize("words", ["", "   ", "\n\t", "😀🎉", "\x00\x1b", "!?…", "\u200b", "—", "\ud83d"])
def test_nothing_to_say_is_refused(words: str) -> None:
    """Empty, blank, emoji-only and control-character text each get the same clear error."""
    with pytest.raises(TextError, match="something to pronounce"):
        text.normalise(words)


@pytest.mark.parametrize("words", [None, 7, b"hello", ["hello"]])
def test_text_that_is_no_string_is_refused(words: object) -> None:
    """The error names the type that was given."""
    with pytest.raises(TextError, match=type(words).__name__):
        text.normalise(words)  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [text.MAX_CHARACTERS + 1, 20_000])
def test_too_long_a_text_is_refused_with_its_length(length: int) -> None:
    """The limit itself is allowed."""
    with pytest.raises(TextError, match=str(length)):
        text.normalise("a" * length)
    assert len(text.normalise("a" * text.MAX_CHARACTERS)) == text.MAX_CHARACTERS


def test_an_english_voice_refuses_other_scripts() -> None:
    """The error shows the letters and names a voice that could."""
    with pytest.raises(TextError, match="你好") as caught:
        text.check_language("Hello 你好", ("en",), "box")
    assert "'box'" in caught.value.expected
    text.check_language("Café 20 °C, naïve?", ("en",), "box")


@pytest.mark.parametrize("languages", [(), ("en", "zh")])
def test_other_voices_take_any_script(languages: tuple[str, ...]) -> None:
    """A checkpoint of unknown or several languages decides for itself."""
    text.check_language("Hello 你好 Привет", languages, "v")


@pytest.mark.parametrize(
    ("given", "finished"),
    [
        ("Yes", "Yes.  "),
        ("Yes.", "Yes.  "),
        ("Yes. ", "Yes.  "),
        ("是的。", "是的。"),
        ("Yes!", "Yes!.  "),
        ("是", "是.  "),
    ],
)
def test_the_transcript_is_finished_as_upstream_does(given: str, finished: str) -> None:
    """Upstream's two functions each add a blank; the count of bytes sets the length of the speech."""
    assert text.finish_reference(given) == finished


@given(st.integers(1, 500), st.integers(1, 2000), st.integers(1, 500), st.floats(0.3, 3))
def test_frames_follow_the_clips_own_rate(units: int, frames: int, said: int, speed: float) -> None:
    """More text never takes fewer frames, faster speech never more."""
    estimate = text.estimate_frames(units, frames, said, speed)
    assert estimate == int(frames / units * said / speed)
    assert text.estimate_frames(units, frames, said + 1, speed) >= estimate
    assert text.estimate_frames(units, frames, said, speed * 2) <= estimate
