"""Trimming a reference clip: at a pause, with its words, or not at all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.durations import Durations
from engine.errors import OptionsError, ReferenceClipError
from engine.evidence import Observations
from engine.optimizations import reference_seconds
from engine.options import Options
from engine.reference import Voice
from tests.unit.parts import parts

RATE = 16_000
A_BYTE = 0.06
"""Seconds that a byte of text lasts in these clips."""


def clip(*parts: float) -> np.ndarray:
    """Noise and silence in turn, of so many seconds each."""
    rng = np.random.default_rng(0)
    waves = [
        rng.normal(0, 0.0 if index % 2 else 0.1, round(seconds * RATE)) for index, seconds in enumerate(parts)
    ]
    return np.concatenate(waves).astype(np.float32)


def speech(*clauses: str, pause: float = 0.3) -> Voice:
    """A clip in which every byte lasts as long, with a pause behind each clause."""
    parts: list[float] = []
    for clause in clauses:
        parts += [A_BYTE * len(clause.encode()), pause]
    return Voice(clip(*parts[:-1]), " ".join(clauses), RATE)


CLAUSES = ("When I was young,", "my father kept a garden behind the house.", "Every spring he planted beans.")


def test_off_hands_back_the_parts_themselves() -> None:
    """Off means untouched."""
    whole = parts()
    assert reference_seconds.apply(whole, Options(), Observations()) is whole


def test_a_length_that_the_checkpoint_cuts_to_anyway_is_refused() -> None:
    """It could never be seen to work."""
    checkpoint = SimpleNamespace(name="box", max_seconds=14.0)
    with pytest.raises(OptionsError, match="reference_seconds=9"):
        reference_seconds.apply(parts(checkpoint=checkpoint), Options(reference_seconds=9), Observations())


def test_a_clip_that_fits_is_the_clip_itself() -> None:
    """Not one sample of it is read into another."""
    voice = speech(*CLAUSES)
    assert reference_seconds.shorten(voice, 10.0, None) is voice


@pytest.mark.parametrize(
    ("seconds", "kept"), [(1.5, 1), (3.0, 1), (4.5, 2), (5.5, 2)], ids=lambda value: str(value)
)
def test_the_cut_is_in_the_last_pause_that_fits(seconds: float, kept: int) -> None:
    """The words that are kept are those before it, and the samples end in the pause."""
    voice = speech(*CLAUSES)
    shorter = reference_seconds.shorten(voice, seconds, None)
    assert shorter.text == " ".join(CLAUSES[:kept]).rstrip(".,")
    samples, rate = shorter.read()
    spoken = A_BYTE * len(shorter.text.encode())
    assert rate == RATE
    assert spoken <= len(samples) / rate <= seconds
    assert np.array_equal(samples, voice.read()[0][: len(samples)])


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.integers(5, 40), min_size=2, max_size=5), st.floats(0.15, 0.8), st.floats(1, 8), st.integers()
)
@example([5, 5, 5, 5], 0.5, 2.0, 0)  # the second pause is nearer to its own clause than to the third
def test_what_is_kept_ends_where_its_clause_ends(
    lengths: list[int], pause: float, seconds: float, seed: int
) -> None:
    """Whatever the clauses: behind the words, before the next ones; or refused."""
    clauses = ["x" * length + "," for length in lengths]
    voice = speech(*clauses, pause=pause)
    try:
        shorter = reference_seconds.shorten(voice, seconds, None)
    except ReferenceClipError:
        return
    if shorter is voice:
        return
    kept = shorter.text.count("x")
    number = [sum(lengths[: n + 1]) for n in range(len(lengths))].index(kept) + 1
    end = A_BYTE * sum(length + 1 for length in lengths[:number]) + pause * (number - 1)
    assert end - 0.02 <= len(shorter.audio) / RATE <= min(seconds, end + pause) + 0.02  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "voice",
    [
        speech("When I was young my father kept a garden behind the house"),
        Voice(clip(4.0), " ".join(CLAUSES), RATE),
        Voice(clip(2.0, 0.3, 3.0), "No punctuation in a clip that has a pause", RATE),
        Voice(clip(4.5, 0.3, 0.5), "Too, early for a pause that is so late in it here", RATE),
        Voice(clip(0.5, 0.3, 4.0), "Yes, this would leave half a second of the clip only here", RATE),
    ],
    ids=["no comma", "no pause", "no punctuation", "elsewhere", "too short"],
)
def test_a_clip_without_a_pause_where_its_words_have_one_is_refused(voice: Voice) -> None:
    """Rather than cut through a word, or at words that are not those."""
    with pytest.raises(ReferenceClipError, match="no pause"):
        reference_seconds.shorten(voice, 3.0, None)


def test_the_voices_own_table_says_how_long_the_words_before_are() -> None:
    """Two pauses fit by bytes; the table knows that the first clause is short to say."""
    words = "aaaaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbbbb."
    table = Durations({"a" * 20: "a", "b" * 20: "b"}, {}, {}, {"a": 10.0, "b": 30.0, "": 5.0})
    voice = Voice(clip(1.2, 0.2, 1.2, 0.3, 2.4), words, RATE)
    assert len(reference_seconds.shorten(voice, 4.0, None).audio) / RATE == pytest.approx(2.75, abs=0.02)
    assert len(reference_seconds.shorten(voice, 4.0, table).audio) / RATE == pytest.approx(1.3, abs=0.02)


def test_chinese_is_cut_at_its_own_punctuation() -> None:
    """No blank stands behind it."""
    voice = Voice(clip(1.5, 0.3, 3.0), "你好世界，今天天气真的非常好啊", RATE)
    assert reference_seconds.shorten(voice, 3.0, None).text == "你好世界"


def test_closures_and_edges_are_no_pauses() -> None:
    """Silences of less than a tenth of a second, and those before and behind the speech."""
    found = reference_seconds.find_pauses(clip(0.5, 0.08, 0.5, 0.2, 0.5, 0.4), RATE)
    assert found == [(pytest.approx(1.08, abs=0.02), pytest.approx(1.28, abs=0.02))]


def test_the_proof_is_the_longest_clip_conditioned_on() -> None:
    """Cut and short enough: proven. Nothing to cut: unknown. One that went past: disproven."""
    on, observed = Options(reference_seconds=3), Observations()
    verdicts = [reference_seconds.evidence(on, observed).proven]
    observed.add("requests")
    observed.most("longest reference ms", 2900)
    verdicts.append(reference_seconds.evidence(on, observed).proven)
    prepare: Any = lambda voice: voice  # noqa: E731
    reference_seconds.Shortened(prepare, 3, None, observed)(speech(*CLAUSES))
    verdicts.append(reference_seconds.evidence(on, observed).proven)
    observed.most("longest reference ms", 5000)
    verdicts.append(reference_seconds.evidence(on, observed).proven)
    assert verdicts == [None, None, True, False]
    assert reference_seconds.evidence(Options(), observed).proven is False


def test_less_than_a_second_is_refused() -> None:
    """A voice cannot be had from it."""
    with pytest.raises(OptionsError, match="reference_seconds"):
        Options(reference_seconds=0.5)
