"""Letters and signs by what Unicode knows of them: look-alikes, what has no sound, scripts."""

from __future__ import annotations

import re
import unicodedata

MARKS = 2
"""Combining marks on one letter that are kept: no language stacks more."""

LOOKS = (
    "font",
    "wide",
    "narrow",
    "circle",
    "square",
    "compat",
    "super",
    "sub",
    "initial",
    "medial",
    "final",
    "isolated",
)
"""Kinds of Unicode compatibility that are a matter of looks."""

LOOKALIKE = re.compile(
    r"(?:NEGATIVE )?(?:CIRCLED|SQUARED) LATIN CAPITAL LETTER ([A-Z])|LATIN LETTER SMALL CAPITAL ([A-Z])"
)
"""Names of look-alikes that Unicode does not decompose."""

FOLDED = {"٫": ".", "٬": ",", "\u2010": "-", "\u2011": "-"}
"""Look-alikes of signs within words and numbers."""

JOINERS = "\u00ad\u2060"
"""What stands inside a word and has no width: the soft hyphen and the word joiner."""

SYMBOLIC = ("GREEK",)
"""Scripts whose letters are signs of units and sums."""

LANGUAGES = {
    "en": "English", "zh": "Chinese", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian",
    "pt": "Portuguese", "nl": "Dutch", "pl": "Polish", "fi": "Finnish", "tr": "Turkish", "vi": "Vietnamese",
    "ru": "Russian", "uk": "Ukrainian", "ja": "Japanese", "ko": "Korean", "hi": "Hindi", "ar": "Arabic",
    "el": "Greek", "he": "Hebrew", "th": "Thai",
}  # fmt: skip
"""Languages by their ISO 639-1 codes."""

SCRIPTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys("en de fr es it pt nl pl fi tr vi".split(), ("LATIN",)),
    "zh": ("CJK", "IDEOGRAPHIC", "BOPOMOFO"),
    "ru": ("CYRILLIC",), "uk": ("CYRILLIC",), "ja": ("HIRAGANA", "KATAKANA", "CJK", "IDEOGRAPHIC"),
    "ko": ("HANGUL",), "hi": ("DEVANAGARI",), "ar": ("ARABIC",), "el": ("GREEK",), "he": ("HEBREW",),
    "th": ("THAI",),
}  # fmt: skip
"""Scripts of each language, by the first word of their letters' names."""


def fold(text: str) -> str:
    """Plain letters and digits for those that only look otherwise: mathematical, full-width, enclosed, small
    capitals, ligatures, digits of other scripts; no more than `MARKS` combining marks on a letter.

    Text as upstream's users write it comes out as NFC has it: signs, superscripts and fractions stay.
    """
    text = unicodedata.normalize("NFC", text)
    if text.isascii():
        return text
    text = "".join(map(_plain, text))
    marks = 0
    kept = []
    for character in unicodedata.normalize("NFC", text):
        marks = marks + 1 if category(character) == "M" else 0
        if marks <= MARKS:
            kept.append(character)
    return unicodedata.normalize("NFC", "".join(kept))


def _plain(character: str) -> str:
    """What a look-alike stands for; a blank around a number in a circle, which is not part of another."""
    if ord(character) < 0x180:
        return character
    if character in FOLDED:
        return FOLDED[character]
    if unicodedata.category(character) == "Nl" and _tag(character) == "compat":  # Roman numerals
        return f" {unicodedata.numeric(character):.0f} "
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    tag = _tag(character)
    if tag in LOOKS and (character.isalnum() or tag in ("circle", "square", "font")):
        alike = unicodedata.normalize("NFKC", character)
        if re.fullmatch(r"\(?[A-Za-z0-9]+\)?\.?", alike) and not (tag == "super" and alike.isdigit()):
            bare = alike.strip("().")
            return f" {bare} " if tag in ("circle", "compat") and bare.isdigit() else bare
        # Kana of half width; the ideographic and full-width marks stay what they are in the vocabulary.
        return alike if tag in ("narrow", "wide") and alike.isalnum() else character
    named = LOOKALIKE.fullmatch(unicodedata.name(character, ""))
    return (named[1] or named[2].lower()) if named else character


def _tag(character: str) -> str:
    """Its kind of Unicode compatibility, or nothing."""
    decomposition = unicodedata.decomposition(character)
    return decomposition[1 : decomposition.index(">")] if decomposition.startswith("<") else ""


def clean(text: str) -> str:
    """The text with one blank for any run of blanks, and one for each control or sign without sound."""
    return " ".join("".join(map(_spoken, unicodedata.normalize("NFC", text))).split())


def _spoken(character: str) -> str:
    """The character, a blank in place of one that has no sound, or nothing for what joins or decorates."""
    if character.isascii():
        return character if character.isprintable() else " "
    if character in JOINERS or 0xFE00 <= ord(character) <= 0xFE0F:
        return ""
    kind = unicodedata.category(character)
    # C*: controls, zero widths, private use. Sk, Me: skin tones and keycaps. So: emoji, but not the degree
    # sign and the letter-like signs (°, ©, ℃, №, ™), which lie below the arrows and are in the vocabulary.
    symbol = kind == "So" and ord(character) >= 0x2190
    if symbol or character.isspace() or kind[0] == "C" or kind in ("Sk", "Me"):
        return " "
    return character


def script(letter: str) -> str:
    """The script of a letter by its Unicode name; empty for signs, digits and modifiers, which have none."""
    if not letter.isalpha() or unicodedata.category(letter) == "Lm":
        return ""
    name = unicodedata.name(letter, "UNKNOWN").split()[0].split("-")[0]
    return "" if name in ("MICRO", "FEMININE", "MASCULINE", "OHM", "KELVIN", "ANGSTROM") else name


def foreign(text: str, languages: tuple[str, ...]) -> list[str]:
    """The letters of `text` that are in no script of these languages; none where one of them is not known."""
    if not languages or not set(languages) <= SCRIPTS.keys():
        return []
    own = {name for language in languages for name in SCRIPTS[language]}
    return [
        letter for letter in text if not letter.isascii() and script(letter) and script(letter) not in own
    ]


def transliterated(letter: str) -> str:
    """A letter of the Latin script, a modifier or a digit in plain letters; nothing for any other."""
    if script(letter) not in ("", "LATIN"):
        return ""
    from anyascii import anyascii

    alike = anyascii(letter).replace("`", "'")
    return alike if alike.isprintable() else ""


def category(character: str) -> str:
    """The first letter of its general category: L for letters, N for numbers, M for marks."""
    return unicodedata.category(character)[0]
