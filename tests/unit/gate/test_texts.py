"""The pinned texts: enough, diverse, and left out by name where a checkpoint cannot speak them."""

from __future__ import annotations

import collections
import unicodedata

import pytest

from engine import text
from engine.errors import UsageError
from engine.gate.data.texts import CASES, QUICK, choose
from engine.gate.quality.judges.words import languages, plain

VOICES = ("slt", "rms", "awb", "kal16")


def test_the_set_is_large_and_diverse() -> None:
    """At least 24 cases, 20 of them English, in all kinds, and several by each of four voices."""
    english = [case for case in CASES if case.language == "en"]
    kinds = {case.kind for case in CASES}
    voices = collections.Counter(case.spoken_by(VOICES) for case in english)
    assert len(CASES) >= 24
    assert len(english) >= 20
    assert kinds == {"chat", "sentence", "long", "number", "question", "name", "chinese", "mixed", "emoji"}
    assert min(voices[voice] for voice in VOICES) >= 4


def test_no_two_cases_are_the_same() -> None:
    """Names, seeds, texts and so hashes differ."""
    for values in zip(*((case.name, case.seed, case.text, case.sha256) for case in CASES), strict=True):
        assert len(set(values)) == len(CASES)


def test_a_case_is_what_it_says() -> None:
    """Its language is that of its letters, it can be spoken, it has words, and emoji where it says so."""
    for case in CASES:
        found = languages(case.text)
        assert case.language == ("mixed" if len(found) > 1 else next(iter(found))), case.name
        assert plain(text.normalise(case.text)) == plain(case.text) != [], case.name
        emoji = any(unicodedata.category(char) == "So" for char in case.text)
        assert emoji == (case.kind == "emoji"), case.name


def test_the_hash_follows_what_changes_the_result() -> None:
    """Text, voice and seed, and not the name."""
    case = CASES[0]
    for change in ({"text": "Other."}, {"voice": 1}, {"seed": 1}):
        assert case.model_copy(update=change).sha256 != case.sha256
    assert case.model_copy(update={"name": "other", "kind": "long"}).sha256 == case.sha256


def test_what_a_checkpoint_does_not_speak_is_left_out_by_name() -> None:
    """English alone: every other case has its sentence; nothing is lost."""
    chosen = choose(("en",))
    assert {case.language for case in chosen.cases} == {"en"}
    assert len(chosen.cases) + len(chosen.skipped) == len(CASES)
    assert "zh hello: left out, the checkpoint does not speak zh" in chosen.skipped
    assert any(line.startswith("mixed game: left out") and "en and zh" in line for line in chosen.skipped)


def test_a_checkpoint_of_both_or_unknown_languages_speaks_all() -> None:
    """In the pinned order."""
    for spoken in (("en", "zh"), ("zh", "en", "de"), ()):
        assert choose(spoken) == (CASES, ())


def test_the_quick_set_has_each_of_four_voices_twice() -> None:
    """And is English, so that every checkpoint speaks it."""
    chosen = choose(("en",), QUICK)
    assert not chosen.skipped
    assert set(collections.Counter(case.spoken_by(VOICES) for case in chosen.cases).values()) == {2}


def test_fewer_voices_take_turns() -> None:
    """A checkpoint with one clip speaks all in it, one with three in each."""
    assert {case.spoken_by(["only"]) for case in CASES} == {"only"}
    assert {case.spoken_by(["a", "b", "c"]) for case in CASES} == {"a", "b", "c"}


def test_an_unknown_case_is_refused() -> None:
    """The message names those that there are."""
    with pytest.raises(UsageError, match=r"'nothing'.*kitchen"):
        choose(("en",), ["hello", "nothing"])


def test_a_checkpoint_that_speaks_no_case_is_refused() -> None:
    """An empty set would pass anything."""
    with pytest.raises(UsageError, match="languages de"):
        choose(("de",))
