"""The fuzz session: the same seed makes the same cases, and what is neither audio nor an error is found."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np

from engine.errors import TextError
from tests.studies import fuzz, fuzz_cases


def audio(samples: Any, seconds: float = 1.0) -> Any:
    """What a case gives back."""
    return SimpleNamespace(samples=samples, seconds=seconds)


def test_what_is_neither_audio_nor_a_clear_error_is_a_finding() -> None:
    """A raw exception, an error without a cure, samples of the wrong kind, none, NaN, or far too many."""
    good = np.ones(10, np.float32)

    def raising(error: Exception) -> Any:
        def run() -> Any:
            raise error

        return run

    assert fuzz.outcome(lambda: [audio(good)]) == ("audio", "")
    assert fuzz.outcome(raising(TextError("a", "b", "c"))) == ("refused", "TextError")
    for run in (
        raising(ValueError("raw")),
        raising(TextError("a", "b", " ")),
        lambda: [audio(good.astype(np.float64))],
        lambda: [audio(good), audio(good[:0])],
        lambda: [audio(good * np.nan)],
        lambda: [audio(good, 1e4)],
    ):
        assert fuzz.outcome(run)[0] == "finding"


def test_a_case_follows_from_its_seed() -> None:
    """So that one that failed can be run again by itself."""
    made = [fuzz_cases._text(random.Random(f"1/text/{number}")) for number in range(50)]
    assert made == [fuzz_cases._text(random.Random(f"1/text/{number}")) for number in range(50)]
    assert len(set(made)) > 40
    assert list(fuzz._names("clip/7")) == [("clip", 7)]


def test_damage_is_of_every_kind() -> None:
    """Cut short, changed, doubled, noise, and none."""
    content = bytes(range(256)) * 40
    made = [fuzz_cases._damaged(content, random.Random(number)) for number in range(200)]
    assert content in made
    assert content + content in made
    assert any(len(one) < len(content) and one != b"" for one in made)
    assert any(len(one) == len(content) and one != content for one in made)
