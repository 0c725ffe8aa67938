"""Text before it becomes tokens: normalise, split into pieces. Pure functions over strings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from engine.errors import TextError

MAX_CHARACTERS = 5_000
"""Longest text of one request; a chat message is far shorter, and a book belongs in a loop."""

SHORT_BYTES = 10
"""Pieces under ten bytes are stretched, as in upstream's `infer_batch_process`: one word needs room."""

_BREAKS = (
    re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])"),
    re.compile(r"(?<=[,;:])\s+|(?<=[，；：、])"),
    re.compile(r"(?<=\s)"),
)
"""Where a piece may end, best place first: sentence, clause, word."""


def normalise(text: str) -> str:
    """What of `text` can be spoken: NFC, one space for any run of blanks, no emoji and no control characters.

    Raises:
        TextError: not a string, nothing pronounceable in it, or longer than `MAX_CHARACTERS`.
    """
    if not isinstance(text, str):
        raise TextError(f"text of type {type(text).__name__}", "a string", "Pass the words to say")
    if len(text) > MAX_CHARACTERS:
        raise TextError(
            f"text of {len(text)} characters", f"at most {MAX_CHARACTERS}", "Send it in several requests"
        )
    spoken = "".join(_spoken(character) for character in unicodedata.normalize("NFC", text))
    spoken = " ".join(spoken.split())
    if not any(unicodedata.category(character)[0] in "LN" for character in spoken):
        raise TextError(f"text {text[:40]!r} with no letter or digit", "something to pronounce", "Send words")
    return spoken


def _spoken(character: str) -> str:
    """The character, a blank in place of a separating control, or nothing for a mark that has no sound."""
    if character.isspace():
        return " "
    category = unicodedata.category(character)
    # C*: controls, joiners, private use. Sk, Me, FE0F: skin tones, keycap and emoji variation marks. So:
    # emoji, but not the degree sign and the letter-like signs (°, ©, ℃, №, ™), which lie below the arrows and
    # are in the vocabulary.
    symbol = category == "So" and ord(character) >= 0x2190
    if symbol or category[0] == "C" or category in ("Sk", "Me") or 0xFE00 <= ord(character) <= 0xFE0F:
        return ""
    return character


def check_language(text: str, languages: tuple[str, ...], voice: str) -> None:
    """Refuse a script that an English-only voice was never trained on.

    Raises:
        TextError: a letter outside the Latin script, for a voice whose languages are just `en`.
    """
    if languages != ("en",):
        return
    foreign = [
        c for c in text if unicodedata.category(c)[0] == "L" and "LATIN" not in unicodedata.name(c, "")
    ]
    if foreign:
        raise TextError(
            f"text with {''.join(foreign[:10])!r}",
            f"English: the voice {voice!r} speaks English only",
            "Load F5TTS_v1_Base for Chinese, or send English",
        )


def split(text: str, limit: int) -> list[str]:
    """Pieces of at most `limit` UTF-8 bytes, cut at sentences, else clauses, else words, else characters.

    Joined, the pieces are `text`: no character is dropped, blanks included. A single character may exceed
    `limit`.
    """
    return list(_packed(_units(text, limit, 0), limit))


def opening(text: str, limit: int) -> str:
    """A beginning of `text`, of a third of `limit` to `limit` UTF-8 bytes, cut at the best place in there.

    Nothing where the text fits or too little of it would be left.
    """
    size = len(text.encode())
    room = min(limit, size - SHORT_BYTES)
    if size <= limit or room < limit // 3:
        return ""
    head = text[:limit]  # a character takes a byte at least
    for breaks in (*_BREAKS, re.compile("")):
        heads = (head[: match.end()] for match in breaks.finditer(head))
        fitting = [one for one in heads if limit // 3 <= len(one.encode()) <= room]
        if fitting:
            return fitting[-1]
    return ""


def _units(text: str, limit: int, level: int) -> Iterator[str]:
    """`text` cut at the breaks of this level, units that are still too long cut at the next one."""
    if level == len(_BREAKS):
        yield from text
        return
    start = 0
    ends = [match.end() for match in _BREAKS[level].finditer(text)] + [len(text)]
    for end in ends:
        unit, start = text[start:end], end
        if len(unit.encode()) <= limit:
            yield unit
        else:
            yield from _units(unit, limit, level + 1)


def _packed(units: Iterator[str], limit: int) -> Iterator[str]:
    """Neighbouring units joined for as long as they fit."""
    piece = ""
    for unit in units:
        if piece and len((piece + unit).encode()) > limit:
            yield piece
            piece = ""
        piece += unit
    if piece:
        yield piece


def finish_reference(text: str) -> str:
    """The transcript as upstream hands it to the model: ended by a full stop and blanks, so the clip's last
    word closes.

    Source: `preprocess_ref_audio_text` and `infer_batch_process`, which each add their own blank.
    """
    if not text.endswith((". ", "。")):
        text += " " if text.endswith(".") else ". "
    return text + " " if len(text[-1].encode()) == 1 else text


def estimate_frames(reference_units: int, reference_frames: int, units: int, speed: float) -> int:
    """Mel frames to generate: the clip's own rate of frames per unit of text, carried over to the new text.

    Units are UTF-8 bytes, as in upstream's `infer_batch_process`.
    """
    return int(reference_frames / reference_units * units / speed)
