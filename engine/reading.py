"""Chat as it is read aloud: what people type, in the words that they would say.

`chat` knows addresses, names, tags, entities, emoticons, abbreviations, initialisms, drawn-out words and, by
`engine.numerals`, figures; English and Chinese. Reading what was read changes nothing. `raw` leaves a text to
the model as upstream does.
"""

from __future__ import annotations

import functools
import html
import itertools
import re
import unicodedata
from collections.abc import Callable, Mapping
from re import Match

from engine import numerals, numerals_chinese

Reading = Callable[[str], str]

LONGER = 32
"""A reading is at most this many times as long as its text."""
PASSES = 6
"""A pass may bring to light what the next one reads; no text needs as many as these."""

ABBREVIATIONS = {
    "mr": "Mister", "mrs": "Missus", "dr": "Doctor",
    "dr.": "Doctor", "mr.": "Mister", "mrs.": "Missus", "ms.": "Miz", "prof.": "Professor", "jr.": "Junior",
    "sr.": "Senior", "vs.": "versus", "vs": "versus", "etc.": "et cetera", "e.g.": "for example",
    "i.e.": "that is", "approx.": "approximately", "inc.": "Incorporated", "ltd.": "Limited",
    "dept.": "department", "govt.": "government", "mt.": "Mount", "gen.": "General", "capt.": "Captain",
    "lt.": "Lieutenant", "sgt.": "Sergeant", "w/": "with", "w/o": "without", "b/c": "because",
    "tho": "though", "pls": "please", "plz": "please", "thx": "thanks", "ppl": "people", "rn": "right now",
    "ngl": "not gonna lie", "ur": "your",
}  # fmt: skip
"""Written form in lower case -> how it is said."""
SPELT = frozenset(
    "ac afk ai aka ama aoe api asap asmr brb btw cpu ceo co diy dlc dm dps eta eu faq fbi fps fyi gg ggwp gj "
    "glhf gpu hp id idk iirc imo irl json mmo mvp nba nfl npc omg op pc ps pve pvp rng rpg sql tbh ttyl tv "
    "ui uk usa usb ux vip vpn wp wtf xp".split()
)
"""Said letter by letter, however they are written, unless they are words in lower case."""
WORDS_IN_LOWER_CASE = frozenset("ac ai am co id op pc ps ui us".split())
SAID_AS_WORDS = frozenset(
    "lol lmao rofl yolo pog pogger kekw lulw omegalul copium hopium bruh nasa nato unesco unicef opec laser "
    "radar sus noob pepe monkas poggers yeet meme gif jpeg ram rom sim pin zip covid aids scuba swat nah "
    "yeah yep nope haha hehe hmm wow whoa yay boo ugh eww omw imao ikea lego".split()
)
"""Capitals that are said as a word though no dictionary has them."""
ROMAN = dict(
    zip("II III IV VI VII VIII IX XI XII XIII".split(), (2, 3, 4, 6, 7, 8, 9, 11, 12, 13), strict=True)
)

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8}[0-9]{0,2});")
_DOMAINS = (
    "com|org|net|tv|gg|io|be|ly|dev|app|me|co|uk|de|fr|cn|jp|edu|gov|info|xyz|ai|ru|us|eu|fm|tk|live|shop"
)
_LINK = re.compile(
    r"(?:https?|ftp)://[^\s\u3000-\u9fff]+|\bwww\.[^\s\u3000-\u9fff]+"
    rf"|(?<![\w@.])[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*\.(?:{_DOMAINS})\b(?:/[^\s\u3000-\u9fff]*)?(?!\.?\w)",
    re.IGNORECASE,
)
_MAIL = re.compile(r"(?<![\w.@])([A-Za-z0-9][\w.+-]*)@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)")
_SHRUG = r"[¯ˉ‾]\\?_+[\\/]?\(?[^\s()]{0,3}\)?[\\/]?_?/?[¯ˉ‾]"
_KAOMOJI = (
    r"[(（ʕ](?=[^()（）\n]{0,14}[^\w\s()（）.,!?;:'\"/-])[^()（）A-Za-z0-9\n]{1,14}[)）ʔ][^\sA-Za-z0-9]{0,6}"
)
_FACES = (
    r"[:;=][-^o'’]?(?:[)(\]\[}{|/\\*]+|[DPpOoSs3]\b)|>:[(]|:'[(]|D:"
    r"|\b[xX][dD]+\b|[TQ]_+[TQ]|[oO0]_+[oO0]|\^_*\^|-_+-|>_+<|\\o/"
)
_EMOTICON = re.compile(rf"{_SHRUG}|(?<!\w)(?:{_FACES})(?!\w)|{_KAOMOJI}")
_HEART = re.compile(r"(?<![\w<])(?<!\d )(?:<(/?)3+(?![\d.,]*\d)\s?)+")
_NAME = re.compile(r"(?<![\w.])@(\w[\w-]*)")
_TAG = re.compile(r"(?<![\w&])#([^\W\d]\w*)")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_DOTTED = re.compile(r"(?<![\w.])(?:[A-Za-z]\.){2,}(?!\w)|(?<![\w.])(?:[A-Za-z]\.)+[A-Za-z](?![\w.])")
_GREEK = re.compile(r"(?<![\u0370-\u03ff])[\u0391-\u03a9\u03b1-\u03c9](?![\u0370-\u03ff])")
_WORD = re.compile(r"(?<![\w'’])[A-Za-z]+(?:/[A-Za-z])?(?:\.|/)?")
_CAPITALS = re.compile(r"(?<![\w'’&])([A-Z]{2,5})(s|'s|’s)?(?![\w&]|['’]\w)")
_DRAWN = re.compile(r"(?<![\w'’])(?=[A-Za-z]*([A-Za-z])\1\1)[A-Za-z]+(?![\w'’])")
_RUN = re.compile(r"([A-Za-z])\1{2,}", re.IGNORECASE)
_LAUGH = re.compile(r"([a-z]{2,3}?)\1{3,}", re.IGNORECASE)
_HAN_RUN = re.compile(r"([\u3400-\u9fff])\1{3,}")
_HAN = r"[\u3007\u3400-\u9fff\uf900-\ufaff\u3000-\u303f\uff01-\uff0f\uff1a-\uff1f]"
_MEASURE = rf"{numerals.NUMBER}\s?(?:km/h|m/s|°[CF]|km|cm|mm|kg|mg|ml|GB|MB|min|[mgshkKL])(?![A-Za-z])"
_SCRIPT = re.compile(rf"(?P<zh>{_HAN}+)|(?P<measure>{_MEASURE})|(?P<en>[^\W\d_]+)|.", re.DOTALL)


def raw(text: str) -> str:
    """The text itself."""
    return text


def chat(text: str) -> str:
    """`text` as it is read aloud; reading it again changes nothing."""
    for _ in range(PASSES):
        again = _once(text)
        if again == text:
            break
        text = again
    return text


READINGS: Mapping[str, Reading] = {"raw": raw, "chat": chat}


def _once(text: str) -> str:
    """One pass: what spans languages first, then each stretch in its own."""
    text = "".join(str(unicodedata.decimal(one)) if one.isdecimal() else one for one in text)
    for _ in range(PASSES):
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
    text = _LINK.sub(_link, text)
    text = _MAIL.sub(lambda m: f"{m[1]} at {m[2].replace('.', ' dot ')}", text)
    text = _HEART.sub(lambda match: " broken heart " if match[1] else " heart ", text)
    text = _EMOTICON.sub(" ", text)
    text = _NAME.sub(lambda match: _plain_name(match[1]), text)
    text = _TAG.sub(lambda match: "hashtag " + _CAMEL.sub(" ", _plain_name(match[1])), text)
    text = _HAN_RUN.sub(r"\1\1\1", text)
    stretches = "".join(
        numerals_chinese.chinese(part) if language == "zh" else _english(part)
        for language, part in _stretches(text)
    )
    return " ".join(stretches.split())


def _stretches(text: str) -> list[tuple[str, str]]:
    """(language, text) of each stretch; figures and marks go with the letters before them, else after."""
    parts = [(match.lastgroup or "", match[0]) for match in _SCRIPT.finditer(text)]
    language = next((name for name, _ in parts if name in ("zh", "en")), "en")
    named: list[tuple[str, str]] = []
    for name, part in parts:
        language = name if name in ("zh", "en") else language
        named.append((language, part))
    groups = itertools.groupby(named, key=lambda pair: pair[0])
    return [(language, "".join(part for _, part in group)) for language, group in groups]


def _english(text: str) -> str:
    text = numerals.english(text)
    text = _GREEK.sub(_greek, text)
    text = _DOTTED.sub(_dotted, text)
    text = _WORD.sub(_abbreviation, text)
    text = _DRAWN.sub(lambda match: _undrawn(match[0]), text)
    text = re.sub(r"(?<=[a-z] )(?:[IVX]{2,4})\b", lambda m: _roman(m[0]), text)
    text = re.sub(r"\b([A-Z]{1,3}) ?& ?([A-Z]{1,3})\b", lambda m: f"{spell(m[1])} and {spell(m[2])}", text)
    text = _CAPITALS.sub(functools.partial(_initialism, shouted=_shouted(text)), text)
    text = re.sub(r"(?<![\w'’-])[a-z]{2,5}(?![\w'’])", lambda m: _small_initialism(m[0]), text)
    text = _LAUGH.sub(r"\1\1\1", text)
    text = re.sub(r"\s*&\s*(?=\w)", " and ", text)
    text = re.sub(r"(?<=[\w)])\s*([=+×÷≠≤≥≈])\s*(?=[\w(])", _operator, text)
    text = re.sub(r"(?<=\w) ([<>]) (?=\w)", _operator, text)
    text = re.sub(r"(?<=\w)\s*%", " percent", text)
    text = re.sub(
        r"(?<!\w)C(?:\+\+(?![\w+])|#(?!\w))", lambda m: "C sharp" if m[0] == "C#" else "C plus plus", text
    )
    return re.sub(r"(?<!\S)@(?=\s)", "at", text)


def _greek(match: Match[str]) -> str:
    """The name of a lone Greek letter."""
    name = unicodedata.name(match[0]).split()
    return match[0] if "WITH" in name else f" {name[-1].lower().replace('lamda', 'lambda')} "


def _link(match: Match[str]) -> str:
    """The word "link", and the marks that end the sentence rather than the address."""
    ending = re.search(r"[.,!?;:)\]}'\"]*$", match[0])
    return "link" + (ending[0] if ending else "")


def _plain_name(name: str) -> str:
    return " ".join(re.split(r"[_-]+", name)).strip() or " "


def _operator(match: Match[str]) -> str:
    return f" {numerals.OPERATORS[match[1]]} "


def _roman(figure: str) -> str:
    return numerals.cardinal(str(ROMAN[figure])) if figure in ROMAN else figure


def _abbreviation(match: Match[str]) -> str:
    """The abbreviation in full, with its full stop where it ends a sentence; else the word as it was."""
    written, text = match[0], match.string
    if written == "St.":
        before = re.search(r"[A-Z][a-z]+ $", text[: match.start()])
        return "Street" if before and not text[match.end() :].startswith(" A") else "Saint"
    for form, ending in ((written, ""), (written.rstrip("."), written[len(written.rstrip(".")) :])):
        said = ABBREVIATIONS.get(form.lower())
        if said is None or (form.isupper() and len(form) > 1 and "." not in form):
            continue
        return said + ending
    return written


def _dotted(match: Match[str]) -> str:
    """`U.S.A.` letter by letter, `e.g.` in full; a full stop stays where a sentence begins after it."""
    said = ABBREVIATIONS.get(match[0].lower()) or spell(match[0].replace(".", ""))
    following = match.string[match.end() :]
    ends = match[0].endswith(".") and re.match(r"\s+(?:[A-Z][a-z]|I\b)", following)
    return said + ("." if ends and match[0][0].islower() else "")


def spell(letters: str) -> str:
    """Letters by their names; A is written `ay`, so that it is not the article."""
    return " ".join("ay" if letter in "aA" else letter for letter in letters)


@functools.lru_cache(maxsize=1)
def _dictionary() -> Mapping[str, int]:
    """English words -> how often they are said."""
    from spellchecker import SpellChecker

    words: Mapping[str, int] = SpellChecker().word_frequency.dictionary
    return words


def _shouted(text: str) -> bool:
    """Whether most words of `text` are capitals, and one at least is a word."""
    words = re.findall(r"[A-Za-z]{2,}", text)
    capitals = [word for word in words if word.isupper()]
    if len(capitals) < 2 or 2 * len(capitals) <= len(words):
        return False
    return any(len(word) > 5 or word.lower() in _dictionary() for word in capitals)


def _initialism(match: Match[str], *, shouted: bool) -> str:
    word, ending = match[1], match[2] or ""
    small = word.lower()
    vowels = set(small) & set("aeiouy")
    if small in SAID_AS_WORDS or (small in ABBREVIATIONS and shouted):
        return match[0]
    # US is the country unless everything is in capitals.
    known = small in _dictionary() and not (small == "us" and not shouted)
    if small not in SPELT and vowels and (known or (shouted and len(word) > 3)):
        return match[0]
    return spell(word) + ("'s" if ending else "")


def _small_initialism(word: str) -> str:
    return spell(word) if word in SPELT and word not in WORDS_IN_LOWER_CASE else word


def _undrawn(word: str) -> str:
    """`sooooo` -> so, `coool` -> cool: the commonest word with one or two of each drawn-out letter."""
    runs = _RUN.split(word)  # text, letter, text, letter, text
    if len(set(word.lower())) == 1:
        return word[:2]
    choices = itertools.product((1, 2), repeat=min(len(runs) // 2, 4))
    words = []
    for counts in choices:
        longer = itertools.chain(counts, itertools.repeat(1))
        words.append("".join(part if i % 2 == 0 else part * next(longer) for i, part in enumerate(runs)))
    return max(words, key=lambda one: (_dictionary().get(one.lower(), 0), -len(one)))
