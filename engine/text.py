"""Text before it becomes tokens: normalise, split into pieces. Pure functions over strings."""

from __future__ import annotations

import unicodedata

from engine.errors import TextError

MAX_CHARACTERS = 5_000
"""Longest text of one request; a chat message is far shorter, and a book belongs in a loop."""

SHORT_BYTES = 10
"""Pieces under ten bytes take as long as ten: one word needs room."""


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
