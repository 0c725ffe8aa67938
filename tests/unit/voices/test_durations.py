"""The text front end of a voice: words to phones, phones to frames."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import durations
from engine.durations import Durations
from engine.errors import CheckpointError

TABLE = Durations(
    words={"hello": "hɛlO", "chat": "čæt", "streamer": "stɹimɜ"},
    letters={
        "[h]": "h",
        "[a]": "æ",
        "[t]": "t",
        "[i]": "ɪ",
        "[p]": "p",
        "p[h]a": "",
        "[p]h": "f",
        "#[a]t": "A",
    },
    names={"g": "Ji", "t": "ti"},
    frames={"": 6.0, "t": 4.0, "ɛ": 8.5, ".": 7.5, ",": 11.0, ".h4": 5.25, "æt2": 14.0},
)
words = st.lists(
    st.sampled_from(["hello", "chat", "hat", "GG", "tip", "hello,", "chat!"]), min_size=1, max_size=12
)


def test_words_become_phones() -> None:
    """Lexicon first, then letter names for words without a vowel, then the letter rules."""
    for text, said in (
        ("Hello chat!", ".hɛlOčæt."),
        ("Hello, chat", ".hɛlO,čæt."),
        ("Hello -- chat... ", ".hɛlO,čæt."),
        ("hello-chat", ".hɛlOčæt."),
        ("hello - chat", ".hɛlO,čæt."),
        ("hello \u2014 chat", ".hɛlO,čæt."),
        ("GG", ".JiJi."),
        ("streamer's", ".stɹimɜz."),
        ("'hello'", ".hɛlO."),
        ("hit", ".hɪt."),
        ("at", ".At."),
        ("pha", ".fæ."),
        ("", ".."),
    ):
        assert TABLE.phones(list(text)) == said


@given(words, st.integers(40, 900))
def test_a_clip_takes_exactly_its_frames(text: list[str], frames: int) -> None:
    """Whatever the clip's length, its phones fill it to the frame, and what follows starts with a silence."""
    opening = list("Hello chat. ")
    tokens = TABLE.spread(opening, frames, list(" ".join(text)))
    assert _squeezed(tokens[:frames]) == TABLE.phones(opening)
    assert tokens[frames] == durations.EDGE


@given(words, st.floats(0.5, 3.0))
def test_repeating_keeps_order_and_pace(text: list[str], rate: float) -> None:
    """The number of tokens is the sum of the durations, rounded once; every phone keeps its place."""
    tokens = TABLE.expand(list(" ".join(text)), rate)
    said = TABLE.phones(list(" ".join(text)))
    assert len(tokens) == pytest.approx(rate * sum(TABLE.lengths(said)), abs=0.5001)
    assert _squeezed(tokens) == _squeezed(list(said))


def test_boundaries_fall_on_the_nearest_frame() -> None:
    """Rounding does not add up: each boundary is within half a frame of its time."""
    said = TABLE.phones(list("hello chat, hello chat, hello chat"))
    tokens = TABLE.expand(list("hello chat, hello chat, hello chat"), 1.13)
    time = at = 0.0
    for phone, length in zip(said, TABLE.lengths(said), strict=True):
        time += 1.13 * length
        while at < len(tokens) and tokens[int(at)] == phone:
            at += 1
        assert abs(at - time) <= 0.5


def test_speed_shortens_only_the_new_words() -> None:
    """Twice the speed halves the new words and leaves the clip alone."""
    slow, fast = (TABLE.spread(list("chat"), 100, list("hello chat"), speed) for speed in (1.0, 2.0))
    assert slow[:100] == fast[:100]
    assert len(fast) - 100 == pytest.approx((len(slow) - 100) / 2, abs=1)


def test_the_longest_known_context_decides() -> None:
    """A duration comes from the most telling context in the table and falls back step by step."""
    assert TABLE.lengths(".hæt.") == [7.5, 6.0, 14.0, 4.0, 7.5]
    assert TABLE.lengths(".ɛ.")[1] == 8.5


def test_a_foreign_table_is_named(tmp_path: Path) -> None:
    """A file that is no duration table raises an error with its path."""
    for content in (
        "",
        "{",
        "[]",
        '{"words": {}}',
        '{"words":{},"letters":{},"names":{},"frames":{"":"x"}}',
        '{"words":{},"letters":{},"names":{},"frames":{"a":30}}',
        '{"words":{},"letters":{},"names":{},"frames":{"":-1}}',
        '{"words":{},"letters":{},"names":{},"frames":{"":NaN}}',
        '{"words":{},"letters":{},"names":{},"frames":{"":1e300}}',
        '{"words":{"a":3},"letters":{},"names":{},"frames":{"":30}}',
    ):
        path = tmp_path / "durations.json"
        path.write_text(content)
        with pytest.raises(CheckpointError, match=r"durations\.json"):
            durations.load(path)


def test_tables_are_read_back(tmp_path: Path) -> None:
    """Frames are stored in tenths."""
    path = tmp_path / "durations.json"
    path.write_text(json.dumps({"words": {"a": "ə"}, "letters": {}, "names": {}, "frames": {"": 62}}))
    assert durations.load(path) == Durations({"a": "ə"}, {}, {}, {"": 6.2})


def _squeezed(tokens: list[str]) -> str:
    """Runs of one token as one."""
    return "".join(token for at, token in enumerate(tokens) if at == 0 or tokens[at - 1] != token)
