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


@given(
    st.text(st.characters(categories=("Lu", "Ll", "Nd", "Po"), max_codepoint=0x17F), min_size=1, max_size=60)
)
def test_normalising_keeps_every_letter_digit_and_punctuation_mark(words: str) -> None:
    """What upstream's users write comes out as NFC has it."""
    composed = unicodedata.normalize("NFC", words)
    if not any(unicodedata.category(character)[0] in "LN" for character in composed):
        return
    assert text.normalise(words) == " ".join(composed.split())


@pytest.mark.parametrize(
    ("words", "spoken"),
    [
        ("  Hello,\n\tworld  ", "Hello, world"),
        ("Hi 👋🏽 chat ❤️!", "Hi chat !"),
        ("1️⃣ place", "1 place"),
        ("zero\u200bwidth", "zero width"),
        ("gg😂nice", "gg nice"),
        ("10🎉20", "10 20"),
        ("a\x00b", "a b"),
        ("hello❤️world", "hello world"),
        ("2^10", "2^10"),
        ("soft\u00adhyphen", "softhyphen"),
        ("\ud83d\ude00 hi", "hi"),
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


def test_a_voice_of_unknown_languages_takes_any_script() -> None:
    """It decides for itself, and so does one of a language that nobody described."""
    for languages in ((), ("tlh",), ("en", "zh", "ru")):
        assert text.check_language("Hello 你好 Привет", languages, "v") == ""


@pytest.mark.parametrize(
    "words",
    [
        "Привет",
        "the word for today is да, everybody",
        "नमस्ते",
        "สวัสดี",
        "こんにちは",
        "カタカナ",
        "שלום",
        "안녕",
    ],
)
def test_a_script_that_no_language_of_the_voice_uses_is_refused(words: str) -> None:
    """By name, with a cure; that a vocabulary has the letters does not say that anybody trained them."""
    with pytest.raises(TextError, match=r"'v' speaks English and Chinese only.*Send English or Chinese"):
        text.Frontend("v", ("en", "zh")).prepare(words)


@pytest.mark.parametrize(
    ("words", "spoken", "warned"),
    [
        ("nice ¯\\_(ツ)_/¯", "nice \\_( )_/", "'ツ' is not spoken"),
        ("gg ツ", "gg", "'ツ' is not spoken"),
        ("ok 好", "ok", "'好' is not spoken"),
        ("Hawaiʻi", "Hawai'i", "'ʻ' is spoken as \"'\""),
        ("Straße", "Strasse", "'ß' is spoken as 'ss'"),
        ("ø", "o", "'ø' is spoken as 'o'"),
        ("Łódź", "Lodz", "'Ł' is spoken as 'L'"),
        ("5 µm", "5 um", "'µ' is spoken as 'u'"),
        ("the letter π is here", "the letter is here", "'π' is not spoken"),
    ],
)
def test_a_letter_that_the_model_lacks_is_said_otherwise_or_skipped_with_a_warning(
    words: str, spoken: str, warned: str
) -> None:
    """Nothing is silence with success."""
    prepared = text.Frontend("box", ("en",), known=str.isascii).prepare(words)
    assert prepared.text == spoken
    assert warned in prepared.warnings


def test_too_many_unknown_letters_are_refused_and_a_few_are_told() -> None:
    """A tenth of them may be missing."""
    frontend = text.Frontend("v", (), known=lambda letter: letter not in "жд")
    assert frontend.prepare("twenty letters and one ж").warnings == ("'ж' is not spoken",)
    with pytest.raises(TextError, match=r"'жд', which 'v' does not know.*at most 10%"):
        frontend.prepare("only ждждж here")


@pytest.mark.parametrize(
    ("words", "plain"),
    [
        ("𝐇𝐞𝐥𝐥𝐨 𝓬𝓱𝓪𝓽", "Hello chat"),
        ("ＧＧ　ＷＰ", "GG WP"),
        ("１２３", "123"),
        ("ﬁne", "fine"),
        ("①②", "1 2"),
        ("10①", "10 1"),
        ("Ⓗⓔⓛⓛⓞ", "Hello"),
        ("🅷🅸", "HI"),
        ("ʜᴇʟʟᴏ", "hello"),
        ("ᴴᵉˡˡᵒ", "Hello"),
        ("٣ and ४٫५", "3 and 4.5"),
        ("Ⅷ", "8"),
        ("x² and ½", "x² and ½"),
        ("№5, ℃ and ™…", "№5, ℃ and ™…"),
        ("你好，世界！", "你好，世界！"),
        ("e" + "\u0301" * 50 + "t" + "\u0316" * 50, "é\u0301\u0301t\u0316\u0316"),
    ],
)
def test_letters_that_only_look_otherwise_are_folded(words: str, plain: str) -> None:
    """Signs, superscripts, fractions and Chinese punctuation are what upstream's users write: they stay."""
    assert text.normalise(words) == plain


def test_bytes_of_a_command_line_are_letters_or_an_error() -> None:
    """UTF-8 in a C locale is understood; Latin-1 is not dropped in silence."""
    assert text.normalise("Stra\udcc3\udc9fe") == "Straße"
    with pytest.raises(TextError, match="not UTF-8"):
        text.normalise("caf\udce9")


def test_a_reading_of_ones_own_must_give_a_text_of_bearable_length() -> None:
    """Whatever else it gives is named."""
    for reading, named in (
        (lambda words: None, "NoneType"),
        (lambda words: words * 30_000, "60000 characters"),
    ):
        with pytest.raises(TextError, match=named):
            text.Frontend(reading=reading).prepare("hi")  # type: ignore[arg-type]


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
