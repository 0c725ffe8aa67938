"""How texts are read: asked for and seen, or not."""

from __future__ import annotations

import pytest

from engine import Engine, Options, load
from engine.errors import OptionsError
from engine.evidence import Clock, Observations
from engine.optimizations import reading
from engine.reading import chat, raw
from engine.requests import Request
from tests.unit.parts import parts


def test_auto_hands_back_the_parts_themselves() -> None:
    """What the checkpoint says stays."""
    whole = parts(reading=str.upper)
    assert reading.apply(whole, Options(), Observations()) is whole
    assert reading.apply(whole, Options(reading="raw"), Observations()).reading is raw
    assert reading.apply(whole, Options(reading="chat"), Observations()).reading is chat


@pytest.mark.parametrize(
    ("option", "texts", "proven"),
    [
        ("chat", [], None),
        ("chat", [("hi", "hi")], None),
        ("chat", [("lol @me", "lol me")], True),
        ("chat", [("10", "ten"), ("hi", "hi")], True),
        ("chat", [("10", "10")], False),
        ("chat", [("10 @me", "10 me")], False),
        ("raw", [("10", "10")], True),
        ("raw", [("10", "ten")], False),
        ("auto", [("10", "ten")], True),
    ],
)
def test_the_proof_is_what_became_of_the_texts(
    option: str, texts: list[tuple[str, str]], proven: bool | None
) -> None:
    """A figure that is left disproves chat; a text without anything to read proves nothing."""
    seen = Observations()
    for given, read in texts:
        reading.note(given, read, seen)
    assert reading.evidence(Options(reading=option), seen).proven is proven  # type: ignore[arg-type]


def planned(tts: Engine, words: str) -> tuple[str, tuple[str, ...]]:
    """The words of a request's pieces, and its warnings."""
    plan = tts._plan(Request(words), Clock("cpu"))
    return " ".join(piece.words for piece in plan.pieces), plan.warnings


def test_the_checkpoint_an_option_or_a_function_decides() -> None:
    """The voice in the box reads chat, seeded weights nothing; both can be told otherwise."""
    line = "@you have 10 \N{PARTY POPPER}"
    assert planned(load("box", device="cpu"), line)[0] == "you have ten"
    assert planned(load("box", Options(reading="raw"), device="cpu"), line)[0] == "@you have 10"
    assert planned(load("seeded-tiny", device="cpu"), line)[0] == "@you have 10"
    assert planned(load("seeded-tiny", Options(reading="chat"), device="cpu"), line)[0] == "you have ten"
    own = load("box", device="cpu", read=lambda words: chat(words.replace("10", "so many")))
    assert planned(own, line)[0] == "you have so many"
    with pytest.raises(OptionsError, match=r"read=.*Leave one out"):
        load("box", Options(reading="chat"), device="cpu", read=chat)


def test_what_is_not_spoken_reaches_the_warnings() -> None:
    """By the letters that the table of the voice in the box has sounds for."""
    tts = load("box", device="cpu")
    assert planned(tts, "nice ¯\\_(ツ)_/¯") == ("nice", ("'ツ' is not spoken",))
    assert planned(tts, "Straße") == ("Strasse", ("'ß' is spoken as 'ss'",))
    assert planned(tts, "5 µm") == ("five micrometers", ())
    assert planned(tts, "٣") == ("three", ())
