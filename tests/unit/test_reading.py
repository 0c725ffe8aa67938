"""Chat read aloud: pinned pairs, and what holds for any text."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from engine import reading, text
from engine.errors import TextError

PAIRS = [
    tuple(line.split("\t"))
    for line in Path(__file__).with_name("readings.tsv").read_text(encoding="utf8").splitlines()
]
BITS = (
    "1 2 10 0 007 1,000 3.5 .5 1/2 - + x * / : = < > <3 ( ) $ € % # @ &amp; &lt; ½ ² "
    "° °C km µm st th am p.m. U.S.A. Dr. St. FBI HELLO USA us a ooooo hahahaha www. "
    "http://a.b/c foo.com x@y.zz @me_2 #Tag :) xD ^ ^^ T_T ~ × − – , . ! ' \" 你好 年 个 第 "
    "％ ： 2024-03-05 3:30 12:60 v1.2 5k 3M 1st II IV Jan 😂 π ٣ ¯\\_(ツ)_/¯ lol afk"
).split()
CHAT = st.lists(st.tuples(st.sampled_from(BITS), st.sampled_from(["", " "])), max_size=8).map(
    lambda bits: "".join(bit + blank for bit, blank in bits)
)
ANY = st.one_of(CHAT, st.text(max_size=40))

SMALL = {
    word: number
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen".split()
    )
} | {
    word: 10 * tens
    for tens, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)
}
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}


def value(words: str) -> str:
    """The number that English words say, in figures: an own reader, the other way round."""
    whole, _, decimals = words.partition(" point ")
    total = current = 0
    for word in whole.split():
        if word == "hundred":
            current *= 100
        elif word in SCALES:
            total, current = total + current * SCALES[word], 0
        elif word != "and":
            current += SMALL[word]
    return str(total + current) + (
        "." + "".join(str(SMALL[word]) for word in decimals.split()) if decimals else ""
    )


def test_chat_is_read_as_pinned() -> None:
    """What people type, and what they would say."""
    wrong = {written: found for written, read in PAIRS if (found := reading.chat(written)) != read}
    assert not wrong


def test_there_are_enough_pairs() -> None:
    """Of English and Chinese, and none twice."""
    assert len(dict(PAIRS)) == len(PAIRS) >= 150
    assert sum(bool(re.search("[\u4e00-\u9fff]", written)) for written, _ in PAIRS) >= 15


@given(ANY)
@example("&amp;lt;3")
@example("usa")
def test_reading_what_was_read_changes_nothing(words: str) -> None:
    """Twice is once; no figure is left, and the text is not longer than so many times."""
    read = reading.chat(words)
    assert reading.chat(read) == read
    assert not any(character.isdecimal() for character in read)
    assert len(read) <= reading.LONGER * len(words)


WHOLE = st.integers(0, 10**15 - 1)


@given(WHOLE, st.text("0123456789", max_size=4), st.booleans())
def test_a_number_keeps_its_value(whole: int, decimals: str, grouped: bool) -> None:
    """Alone and among what people write beside it, with commas or without."""
    written = f"{whole:,}" if grouped else str(whole)
    plain = str(whole) + (f".{decimals}" if decimals else "")
    written += f".{decimals}" if decimals else ""
    assert value(reading.chat(written)) == plain
    for before, after, said in (
        ("I saw ", " of them", ("I saw ", " of them")),
        ("-", "", ("minus ", "")),
        ("", "%", ("", " percent")),
        ("#", "", ("number ", "")),
        ("it is ", " km.", ("it is ", r" kilometers?\.")),
        ("€", "M", ("", " million euros")),
        ("a\N{FACE WITH TEARS OF JOY}", "", ("a\N{FACE WITH TEARS OF JOY}", "")),
    ):
        found = re.fullmatch(f"{said[0]}(.*){said[1]}", reading.chat(before + written + after))
        assert found, (before, written, after)
        assert value(found[1]) == plain


@given(WHOLE)
def test_a_chinese_number_keeps_its_value(whole: int) -> None:
    """Read back by the library's own other half."""
    from cn2an import cn2an

    assert cn2an(reading.chat(f"有{whole}人").strip("有人").replace("两", "二"), "smart") == whole


@given(st.text("0123456789", min_size=1, max_size=30))
def test_digits_of_no_quantity_are_said_one_by_one(digits: str) -> None:
    """Leading zeros and more than fifteen of them."""
    if len(digits) > 15 or (len(digits) > 1 and digits[0] == "0"):
        assert "".join(str(SMALL[word]) for word in reading.chat(digits).split()) == digits


@given(ANY)
@example("¯\\_(ツ)_/¯")
@example("\udcff")
@example("0" * 5000)
def test_no_text_raises_anything_but_a_text_error(words: str) -> None:
    """With any languages, read or raw."""
    for frontend in (
        text.Frontend("box", ("en",), reading.chat, str.isascii),
        text.Frontend("base", ("en", "zh")),
        text.Frontend(reading=reading.chat),
    ):
        try:
            prepared = frontend.prepare(words)
        except TextError:
            continue
        assert prepared.text == " ".join(prepared.text.split())
        assert any(character.isalnum() for character in prepared.text)


def test_plain_words_import_no_library() -> None:
    """Libraries for figures, Chinese and spelling come with the first text that needs them."""
    libraries = {"num2words", "cn2an", "spellchecker", "anyascii"}
    script = (
        "import sys; from engine import reading; reading.chat('hello chat, nice stream');"
        f"print(sorted({libraries!r} & set(sys.modules))); reading.chat('10 people');"
        f"print(sorted({libraries!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['num2words']"]
