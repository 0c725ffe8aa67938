"""Pieces: one measure splits texts and says how long they are; nothing is cut inside a word."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Engine, Options, Voice, load, pieces, text
from engine.durations import Durations
from engine.errors import EngineError, OptionsError, ReferenceClipError, TextError
from engine.evidence import Clock
from engine.pieces import Pace
from engine.reference import Reference
from engine.requests import Request

SPEECH = st.text(st.sampled_from("abcde  ,.;!?。，中文é-'"), min_size=1, max_size=600)
WORDS = "The first sentence is here. And the second one, a little longer, follows it. Then comes a third! "


def pace(
    seconds: float = 4.0, longest: float = 14.0, speed: float = 1.0, table: Durations | None = None
) -> Pace:
    """A clip of fifteen bytes a second in a checkpoint of so many seconds."""
    frames = int(seconds * pieces.FRAMES_A_SECOND)
    reference = Reference(torch.zeros(1, frames + 1, 100), frames, "x" * int(15 * seconds), 1.0, seconds)
    return Pace(reference, table, speed, int(longest * pieces.FRAMES_A_SECOND))


@pytest.fixture(scope="module")
def box() -> Engine:
    """The voice in the box, whose table measures by phones."""
    return load("box", Options.fast_cpu(), device="cpu")


def planned(tts: Engine, words: str, **more: Any) -> list[pieces.Piece]:
    """The pieces of a text, nothing sampled."""
    return tts._plan(Request(words, **more), Clock("cpu")).pieces


@settings(max_examples=80)
@given(words=SPEECH, speed=st.sampled_from([0.3, 1.0, 3.0]))
def test_every_piece_fits_says_something_and_ends_at_a_word(words: str, speed: float) -> None:
    """Whatever the text: nothing is lost, no word is cut, no piece is of signs alone, or one sentence why."""
    words = " ".join(words.split())
    if not any(character.isalnum() for character in words):
        return
    measure = pace(speed=speed)
    try:
        made = pieces.split(words, measure)
    except TextError:
        assert max(map(len, re.findall(r"[^\s中文]+", words))) > 20
        return
    assert all(measure.fits(piece) and re.search(r"\w", piece) for piece in made)
    assert "".join(made).replace(" ", "") == pieces.capped(words).replace(" ", "")
    for left, right in itertools.pairwise(made):
        assert f"{left} {right}" in words or "中" in left + right or "文" in left + right


SPAM = [
    "gg wp " * 69, "1234567890 " * 30, "w " * 180, "%$#@&+=" * 52 + " a", "ok " * 138, WORDS * 20,
    "Hello" + "!" * 400, "Hello" + "!?" * 200, "hi " + "! " * 200, "a" + "_" * 300, "why " * 9 + "." * 99,
]  # fmt: skip


@pytest.mark.parametrize("words", SPAM, ids=lambda words: repr(words[:12]))
@pytest.mark.parametrize("speed", [0.3, 1.0])
def test_spam_is_pieces_of_what_the_checkpoint_was_trained_on(
    box: Engine, engine: Engine, words: str, speed: float
) -> None:
    """By phones and by bytes: no piece with its clip is longer, and each says something."""
    for tts in (box, engine):
        made = planned(tts, words, speed=speed)
        longest = tts.checkpoint.max_seconds * pieces.FRAMES_A_SECOND
        assert all(piece.frames <= longest and re.search(r"[^\W_]", piece.words) for piece in made)


def test_the_box_is_held_to_the_windows_of_its_training(box: Engine) -> None:
    """Fourteen seconds of clip and speech."""
    assert box.checkpoint.max_seconds == 14


@pytest.mark.parametrize("words", ["w" * 400, "7" * 415, "w" * 400 + " and more", "x" * 5_000])
def test_a_word_that_nothing_holds_is_one_sentence(engine: Engine, words: str) -> None:
    """It is not cut in the middle, and never a raw error from torch."""
    raw = load("box", Options(reading="raw", nfe=5), device="cpu")
    for tts in (raw, engine):
        with pytest.raises(TextError, match=r"characters without a blank that take \d+ s.*Break the word up"):
            tts.synthesize(words)


def test_signs_in_a_row_are_kept_to_a_few_and_that_is_said(engine: Engine, voice: Voice) -> None:
    """Four hundred exclamation marks take no more time than three."""
    spam = engine.synthesize("Hello" + "!" * 400, voice)
    assert spam.seconds == engine.synthesize("Hello!!!", voice).seconds
    assert spam.warnings == ("397 signs in a row with others are not spoken",)
    assert engine.synthesize("Hello there!", voice).warnings == ()


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("Wait... what?!", "Wait... what?!"),
        ("no" + "." * 50, "no..."),
        ("a ---------- b", "a --- b"),
        ("%$#@&+=%$#@&+= a", "%$#@&+=% a"),
        ("hi ! ! ! ! ! ! you", "hi ! ! ! you"),
        ("你好……世界！！！！！", "你好……世界！！！"),
        ("don't, well-known 3.5", "don't, well-known 3.5"),
    ],
)
def test_what_is_kept_of_signs(words: str, kept: str) -> None:
    """Punctuation stays what it is; floods of it go."""
    assert pieces.capped(words) == kept
    assert pieces.capped(kept) == kept


def test_pieces_are_about_as_long_as_each_other() -> None:
    """No scrap of a word is left for the last one."""
    measure = pace()
    for count in range(12, 60):
        made = pieces.split(" ".join(["word"] * count) + " Ok!", measure)
        lengths = [measure.weigh(piece) for piece in made]
        assert min(lengths) > 0.6 * max(lengths)


def test_a_cut_is_where_a_sentence_ends_rather_than_in_it() -> None:
    """Equal length matters less than that."""
    made = pieces.split(WORDS * 4, pace())
    assert len(made) > 1
    assert all(piece[-1] in ".!" for piece in made)


def test_pieces_joined_in_the_best_way_cost_no_more_than_any_other() -> None:
    """A slow search over all ways to cut agrees with the dynamic programme."""
    measure = pace(seconds=8.0)
    words = "Ab cd. Efghij klm, nopq rstu vwxyz! A bc def ghij. Klmno pqrst uvw, xyz abc defgh."
    units = list(pieces._units(words, measure, measure.room))
    weights = [measure.weigh(unit) for unit, _ in units]
    room = measure.room / 3
    aim = sum(weights) / -(-sum(weights) // room)

    def cost(cuts: tuple[int, ...]) -> float:
        ends = [0, *cuts, len(units)]
        parts = [sum(weights[a:b]) for a, b in itertools.pairwise(ends)]
        if max(parts) > room:
            return float("inf")
        return sum((1 - part / aim) ** 2 for part in parts) + sum(units[cut - 1][1] for cut in cuts)

    ways = (cuts for count in range(8) for cuts in itertools.combinations(range(1, len(units)), count))
    best = min(ways, key=cost)
    ends = [0, *best, len(units)]
    expected = ["".join(unit for unit, _ in units[a:b]).strip() for a, b in itertools.pairwise(ends)]
    assert pieces._balanced(units, measure, room) == expected


@given(st.text(st.sampled_from("ab .,中"), min_size=1, max_size=40), st.sampled_from([0.5, 1.0, 2.0]))
def test_length_grows_with_the_text_and_shrinks_with_the_speed(words: str, speed: float) -> None:
    """Under ten bytes too, where upstream makes nine bytes three times as long as ten."""
    words = "a" + words
    slow, fast = pace(speed=speed), pace(speed=speed * 1.3)
    assert slow.sequence(words)[1] <= slow.sequence(words + "b")[1]
    assert fast.sequence(words)[1] <= slow.sequence(words)[1]


def test_speed_acts_on_a_word_or_two(engine: Engine, voice: Voice) -> None:
    """And one byte more does not make it shorter."""
    seconds = [engine.synthesize(words, voice).seconds for words in ("Hi", "Good luck", "Good luck!")]
    assert seconds == sorted(seconds)
    assert engine.synthesize("Hi", voice, speed=2.0).seconds < 0.6 * engine.synthesize("Hi", voice).seconds


def clip(seconds: float, pauses: bool) -> Any:
    """Noise of so many seconds, with a silence in every third one."""
    rate = 16_000
    wave = np.random.default_rng(0).normal(0, 0.1, int(seconds * rate)).astype(np.float32)
    if pauses:
        for start in range(3, int(seconds), 3):
            wave[start * rate : int((start + 0.4) * rate)] = 0
    return wave, rate


def test_a_clip_that_leaves_no_room_is_cut_at_a_silence_with_its_words(
    tiny: Callable[..., Engine], engine: Engine
) -> None:
    """The words before the silence stay, and so does room for a sentence, at any speed."""
    wave, rate = clip(19.5, pauses=True)
    clause = "a clause of some length that takes three s,"
    voice = Voice(wave, " ".join([clause] * 6), rate)
    for speed in (1.0, 0.3):
        made = planned(engine, "for watching, thanks", voice=voice, speed=speed)
        words = " ".join(piece.words for piece in made)
        assert words == "for watching, thanks"
        (reference,) = {piece.reference for piece in made}
        assert reference.seconds <= engine.checkpoint.max_seconds - pieces.ROOM_SECONDS
        assert voice.text.startswith(reference.text)
        assert all(piece.frames <= 22 * pieces.FRAMES_A_SECOND for piece in made)


def test_a_clip_without_a_silence_that_leaves_no_room_is_refused(engine: Engine) -> None:
    """Rather than have words cut inside."""
    wave, rate = clip(19.5, pauses=False)
    with pytest.raises(ReferenceClipError, match="no pause"):
        engine.synthesize("Thanks for watching.", Voice(wave, "words " * 50, rate))


@given(SPEECH, st.integers(30, 200))
def test_a_beginning_is_a_good_one_or_none(words: str, limit: int) -> None:
    """Of a third of its limit at least, with something left to say, and never a part of a word."""
    head = pieces.beginning(words, limit)
    assert words.startswith(head)
    if head:
        assert limit // 3 <= len(head.rstrip().encode()) <= limit
        assert len(words[len(head) :].encode()) >= text.SHORT_BYTES
        assert not (head[-1].isalnum() and head[-1].isascii() and words[len(head)] in "abcde'é")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("One two three. Four five six seven eight nine ten eleven", "One two three. "),
        ("One two three, four five six seven eight nine ten eleven", "One two three, "),
        ("Abcd efgh ijkl mnop qrst uvwx yzab cdef", "Abcd efgh ijkl mnop qrst uvwx "),
        ("你好世界你好世界你好世界你好世界你好世界", "你好世界你好世界你好"),
        ("a" * 60, ""),
        ("Short enough.", ""),
    ],
)
def test_a_beginning_ends_at_the_best_place(words: str, expected: str) -> None:
    """A sentence before a clause before a word before a character; of a long word there is none."""
    assert pieces.beginning(words, 30) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 1.5), ("seed", True), ("speed", "1"), ("speed", float("nan")), ("fade", -1), ("fade", 5),
        ("pause", -0.1), ("pause", None), ("trim", 1), ("duration", 0), ("duration", "x"), ("nfe", 0),
        ("nfe", 2.0), ("cfg_strength", -1), ("cfg_strength", "2"),
    ],
)  # fmt: skip
def test_a_number_of_a_request_that_is_none_is_refused_by_name(engine: Engine, name: str, value: Any) -> None:
    """With what was expected."""
    with pytest.raises(OptionsError, match=f"{name}="):
        engine.synthesize("Hello there.", **{name: value})


def test_numbers_of_numpy_are_numbers(engine: Engine, voice: Voice) -> None:
    """What they spell is what is said."""
    words = "Hello there, chat!"
    given = {"seed": np.int64(3), "speed": np.float32(1), "nfe": np.int32(3), "cfg_strength": np.float64(1)}
    expected = engine.synthesize(words, voice, seed=3, speed=1, nfe=3, cfg_strength=1.0)
    assert engine.synthesize(words, voice, **given).samples.tobytes() == expected.samples.tobytes()  # type: ignore[arg-type]


def test_a_request_differs_in_steps_and_guidance(tiny: Callable[..., Engine], voice: Voice) -> None:
    """To the byte what an engine loaded with these gives, alone and in a batch beside others."""
    words = "Hello there, chat!"
    expected = tiny(nfe=5, cfg_strength=1.0).synthesize(words, voice).samples.tobytes()
    one = tiny(nfe=3)
    plain = one.synthesize(words, voice).samples.tobytes()
    assert one.synthesize(words, voice, nfe=5, cfg_strength=1.0).samples.tobytes() == expected
    both = one.synthesize_batch([Request(words, voice), Request(words, voice, nfe=5, cfg_strength=1.0)])
    assert [audio.samples.tobytes() for audio in both] == [plain, expected]
    assert {proof.proven for proof in one.evidence().values()} == {True}


def test_options_of_an_engine_cannot_be_set(engine: Engine) -> None:
    """They would be half honoured."""
    with pytest.raises(AttributeError):
        engine.options = Options()  # type: ignore[misc]


@pytest.mark.parametrize("wanted", [1.5, 3.0, 20.0])
def test_a_duration_is_met(engine: Engine, wanted: float) -> None:
    """To within a few frames a piece, over several pieces as well."""
    words = WORDS * 3 if wanted == 20.0 else "Hello there, all of you in chat!"
    assert engine.synthesize(words, duration=wanted).seconds == pytest.approx(wanted, abs=0.15)
    with pytest.raises(OptionsError, match="speed"):
        engine.synthesize(words, duration=wanted, speed=1.2)


def test_a_duration_that_no_speed_reaches_is_refused(engine: Engine) -> None:
    """With the ones that are reached."""
    with pytest.raises(OptionsError, match=r"duration=300.*seconds for these words"):
        engine.synthesize("Hello there.", duration=300)


def test_fade_and_pause_are_between_pieces(engine: Engine) -> None:
    """Upstream's cross-fade by default, another, or silence; a stream gives the same."""
    count = len(planned(engine, WORDS * 4))
    plain, hard, paused = (
        engine.synthesize(WORDS * 4, **more) for more in ({}, {"fade": 0.0}, {"pause": 0.5})
    )
    assert hard.seconds - plain.seconds == pytest.approx(0.15 * (count - 1), abs=1e-3)
    assert paused.seconds - hard.seconds == pytest.approx(0.5 * (count - 1), abs=1e-3)
    streamed = [piece.samples for piece in engine.stream(WORDS * 4, pause=0.5)]
    assert np.concatenate(streamed).tobytes() == paused.samples.tobytes()


def test_long_silences_are_shortened_and_speech_is_not() -> None:
    """To half a second at either side, as upstream's `remove_silence` does."""
    from engine.requests import shorten_silences

    rate, rng = 24_000, np.random.default_rng(0)
    loud = rng.normal(0, 0.1, rate).astype(np.float32)
    still = np.zeros(3 * rate, np.float32)
    found = shorten_silences(np.concatenate([loud, still, loud, still[: rate // 2]]))
    assert len(found) / rate == pytest.approx(3.5, abs=0.03)
    assert np.array_equal(shorten_silences(loud), loud)
    assert np.array_equal(shorten_silences(still), still)


@pytest.mark.parametrize("words", ["你好世界" * 100, "สวัสดี" * 60])
def test_scripts_without_blanks_are_cut_between_characters(words: str) -> None:
    """Where there is no word to cut inside of."""
    measure = pace()
    made = pieces.split(words, measure)
    assert "".join(made) == words
    assert all(measure.fits(piece) for piece in made)


def test_a_fork_is_told_at_once(tiny: Callable[..., Engine], voice: Voice, monkeypatch: Any) -> None:
    """Torch's threads do not outlive it, and waiting for them would never end."""
    import os

    one = tiny()
    one.synthesize("Hello.", voice)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(EngineError, match=r"fork.*spawn"):
        one.synthesize("Hello.", voice)
