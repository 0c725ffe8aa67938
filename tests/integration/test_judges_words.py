"""Words: what counts as a word, how errors are counted, and what the recognisers hear."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.gate.quality.judges import MissingJudge
from engine.gate.quality.judges.numbers import spell
from engine.gate.quality.judges.words import Words, errors, languages, open_recogniser, plain

SENTENCES = st.lists(st.sampled_from("a be sea dog every".split()), min_size=1, max_size=7)


def test_numbers_are_spelt_out() -> None:
    """The plain English way: no "and", telephone numbers digit by digit."""
    for digits, words in (
        ("0", "zero"),
        ("7", "seven"),
        ("13", "thirteen"),
        ("25", "twenty five"),
        ("40", "forty"),
        ("100", "one hundred"),
        ("1,500", "one thousand five hundred"),
        ("2024", "two thousand twenty four"),
        ("1000007", "one million seven"),
        ("3.5", "three point five"),
        ("10.", "ten"),
        ("007", "zero zero seven"),
        ("5551234567890", "five five five one two three four five six seven eight nine zero"),
        ("1st", "first"),
        ("22nd", "twenty second"),
        ("3rd", "third"),
        ("20th", "twentieth"),
        ("14th", "fourteenth"),
        ("112th", "one hundred twelfth"),
    ):
        assert " ".join(spell(digits)) == words


@given(st.integers(0, 10**12 - 1))
@settings(deadline=None)
def test_a_spelt_number_reads_back(number: int) -> None:
    """Adding up the words gives the number again."""
    ones = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    ones += "sixteen seventeen eighteen nineteen"
    values = {word: value for value, word in enumerate(ones.split())}
    values |= {
        word: 10 * at
        for at, word in enumerate("ten twenty thirty forty fifty sixty seventy eighty ninety".split(), 1)
        if at > 1
    }
    scales = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
    total = group = 0
    for word in spell(str(number)):
        if word == "hundred":
            group *= 100
        elif word in scales:
            total, group = total + group * scales[word], 0
        else:
            group += values[word]
    assert total + group == number


def test_plain_words_are_what_is_said() -> None:
    """Case, punctuation, accents and emoji go; numbers and Chinese characters are words."""
    for text, words in (
        ("Hello, CHAT!", "hello chat"),
        ("Don’t stop, it's 5 o'clock.", "don't stop it's five o'clock"),
        ("That shot was amazing 🔥🔥🔥, do it again.", "that shot was amazing do it again"),
        ("I love this ❤️ song", "i love this song"),
        ("Only 25 points, 50% more.", "only twenty five points fifty percent more"),
        ("Café naïve", "cafe naive"),
        ("this 游戏 is fun", "this 游 戏 is fun"),
        ("...", ""),
    ):
        assert " ".join(plain(text)) == words


@given(st.text(max_size=60))
@settings(deadline=None)
def test_plain_is_settled_after_one_pass(text: str) -> None:
    """Plain words of plain words are the same words, for any text."""
    assert plain(" ".join(plain(text))) == plain(text)


def test_a_text_is_in_the_languages_of_its_letters() -> None:
    """By script, so that a recogniser is only asked about what it can hear."""
    for text, expected in (
        ("Hello 25", {"en"}),
        ("25!", {"en"}),
        ("你好，25", {"zh"}),
        ("这个 game", {"en", "zh"}),
        ("привет", {"other"}),
    ):
        assert languages(text) == expected


def edits(one: list[str], other: list[str]) -> int:
    """Levenshtein distance, the textbook recursion."""
    if not one or not other:
        return len(one) + len(other)
    return min(
        edits(one[1:], other) + 1,
        edits(one, other[1:]) + 1,
        edits(one[1:], other[1:]) + (one[0] != other[0]),
    )


@given(SENTENCES, st.lists(st.sampled_from("a be sea dog every".split()), max_size=5))
@settings(max_examples=40, deadline=None)
def test_errors_are_the_fewest_edits(said: list[str], heard: list[str]) -> None:
    """Words against a slow recursion, and the rates against the counts."""
    found = errors(" ".join(said), " ".join(heard))
    assert found.word_edits == edits(said, heard)
    assert (found.words, found.chars) == (len(said), len(" ".join(said)))
    assert found.wer == found.word_edits / len(said)
    assert found.cer == found.char_edits / found.chars
    assert len(found.dropped) >= len(said) - len(heard)


def test_dropped_words_are_those_with_nothing_in_their_place() -> None:
    """A deletion is dropped, a substitution is not."""
    found = errors("Please play this song one more time", "please play that song one more")
    assert found.dropped == ("time",)
    assert found.word_edits == 2


def test_nothing_heard_drops_every_word() -> None:
    """Silence is all words dropped, a rate of exactly 1."""
    found = errors("Hello chat", "")
    assert (found.dropped, found.wer, found.cer) == (("hello", "chat"), 1.0, 1.0)


def test_a_text_without_words_is_refused() -> None:
    """There is nothing that a rate could be a share of."""
    with pytest.raises(UsageError, match="no words"):
        errors("🔥!", "hello")


def test_pocketsphinx_hears_english_whatever_came_before() -> None:
    """The clip in the f5-tts package is understood, and the same after another clip was heard."""
    pytest.importorskip("pocketsphinx")
    import soundfile

    from engine import upstream

    samples, rate = soundfile.read(upstream.shipped("infer/examples/basic/basic_ref_en.wav"), dtype="float32")
    assert rate == 24_000
    judge = Words()
    first = judge.hear(samples)
    found = errors("Some call me nature, others call me mother nature.", first)
    assert found.wer < 0.5
    judge.hear(0.1 * np.random.default_rng(0).standard_normal(24_000).astype(np.float32))
    assert judge.hear(samples) == first


def test_silence_is_no_words() -> None:
    """Nothing said, nothing heard."""
    pytest.importorskip("pocketsphinx")
    assert plain(Words().hear(np.zeros(12_000, np.float32))) == []


def test_an_unknown_recogniser_is_refused() -> None:
    """The message names those that there are."""
    for name in (
        "",
        "sphinx",
        "whisper",
        "whisper:",
        "pocketsphinx:en",
    ):
        with pytest.raises(UsageError, match="faster-whisper:MODEL"):
            open_recogniser(name)


def test_a_whisper_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cure is that package, not the extra."""
    for name in (
        "whisper:tiny",
        "faster-whisper:tiny",
    ):
        monkeypatch.setitem(sys.modules, name.split(":")[0].replace("-", "_"), None)
        with pytest.raises(MissingJudge, match=r"pip install (openai|faster)-whisper") as caught:
            open_recogniser(name)
        assert caught.value.judge == "words"


def test_either_whisper_is_asked_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their interfaces differ: a dictionary of one, segments of the other; both hear 16 kHz, unsampled."""
    asked = []

    def transcribe(samples: np.ndarray, temperature: float) -> object:
        asked.append((len(samples), temperature))
        return answers.pop()

    model = types.SimpleNamespace(transcribe=transcribe)
    segment = types.SimpleNamespace
    answers: list[object] = [([segment(text="Hello"), segment(text="chat")], None), {"text": "Hello chat"}]
    monkeypatch.setitem(sys.modules, "whisper", types.SimpleNamespace(load_model=lambda *a, **k: model))
    monkeypatch.setitem(
        sys.modules, "faster_whisper", types.SimpleNamespace(WhisperModel=lambda *a, **k: model)
    )
    for name in ("whisper:tiny", "faster-whisper:tiny"):
        judge = open_recogniser(name)
        assert judge.languages == ("en", "zh")
        assert judge.hear(np.zeros(24_000, np.float32)) == "Hello chat"
    assert asked == [(16_000, 0.0)] * 2
