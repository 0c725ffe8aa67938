"""Numbers in words, the plain English way: what error rates need, not a speaker's front end."""

from __future__ import annotations

import re

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
SCALES = ((10**9, "billion"), (10**6, "million"), (10**3, "thousand"), (100, "hundred"))
ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip
LONGEST = 12
"""Digits that are read as one number; more are read one by one, as a telephone number is."""


def spell(digits: str) -> list[str]:
    """ "1,500" -> one thousand five hundred; "3.5" -> three point five; "3rd" -> third."""
    ordinal = re.fullmatch(r"(.*?)(?:st|nd|rd|th)", digits)
    whole, _, fraction = (ordinal[1] if ordinal else digits).rstrip(".,").replace(",", "").partition(".")
    leading_zero = len(whole) > 1 and whole.startswith("0")
    words = _digits(whole) if leading_zero or len(whole) > LONGEST else _cardinal(int(whole or "0"))
    if ordinal:
        return [*words[:-1], _ordinal(words[-1])]
    return words + (["point", *_digits(fraction)] if fraction else [])


def _cardinal(number: int) -> list[str]:
    if number < 20:
        return [ONES[number]]
    if number < 100:
        return [TENS[number // 10], *([ONES[number % 10]] if number % 10 else [])]
    size, name = next((size, name) for size, name in SCALES if number >= size)
    rest = number % size
    return [*_cardinal(number // size), name, *(_cardinal(rest) if rest else [])]


def _ordinal(word: str) -> str:
    return ORDINALS.get(word, f"{word[:-1]}ieth" if word.endswith("y") else f"{word}th")


def _digits(text: str) -> list[str]:
    return [ONES[int(digit)] for digit in text if digit.isdecimal()]
