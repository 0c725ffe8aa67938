"""Figures as English words: dates, times, money, units, fractions, sums and plain numbers.

Each rule takes what it knows out of the text and leaves words; plain numbers come last. Digits are said one
by one where they are no quantity: phone numbers, leading zeros, more than fifteen of them.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable
from re import Match

Rule = tuple[re.Pattern[str], Callable[[Match[str]], str]]

LONGEST = 15
"""Digits of the longest number that is said as a quantity."""
DIGITS = "zero one two three four five six seven eight nine".split()
MONTHS = "January February March April May June July August September October November December".split()
NUMBER = r"(?:(?<![\d.])(?:\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d+(?:\.\d+)?)|(?<![\d.])\.\d+)"
FRACTIONS = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
POWERS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
MONEY = {
    "$": ("dollar", "cent"), "€": ("euro", "cent"), "£": ("pound", "penny"), "¥": ("yen", ""),
    "￥": ("yen", ""), "₩": ("won", ""), "₹": ("rupee", ""), "₽": ("ruble", ""), "₿": ("bitcoin", ""),
    "¢": ("cent", ""), "USD": ("dollar", "cent"), "EUR": ("euro", "cent"), "GBP": ("pound", "penny"),
}  # fmt: skip
PLURALS = {"penny": "pence", "yen": "yen", "won": "won", "foot": "feet", "inch": "inches"}
SCALES = {"k": "thousand", "m": "million", "b": "billion", "bn": "billion", "mil": "million", "t": "trillion"}
UNITS = {
    "km": "kilometer", "m": "meter", "cm": "centimeter", "mm": "millimeter", "µm": "micrometer",
    "μm": "micrometer", "nm": "nanometer", "kg": "kilogram", "g": "gram", "mg": "milligram",
    "µg": "microgram", "μg": "microgram", "lb": "pound", "lbs": "pound", "oz": "ounce", "l": "liter",
    "L": "liter", "ml": "milliliter", "mL": "milliliter", "mi": "mile", "ft": "foot", "in": "inch",
    "yd": "yard", "s": "second", "sec": "second", "secs": "second", "ms": "millisecond", "µs": "microsecond",
    "min": "minute", "mins": "minute", "h": "hour", "hr": "hour", "hrs": "hour", "Hz": "hertz",
    "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz", "hz": "hertz", "KB": "kilobyte",
    "kB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte", "gb": "gigabyte",
    "mb": "megabyte", "tb": "terabyte", "kb": "kilobyte", "Mbps": "megabit per second",
    "W": "watt", "kW": "kilowatt", "kWh": "kilowatt hour", "V": "volt", "mV": "millivolt", "A": "amp",
    "mA": "milliamp", "mAh": "milliamp hour", "Ω": "ohm", "kΩ": "kilohm", "J": "joule", "kJ": "kilojoule",
    "kcal": "kilocalorie", "cal": "calorie", "px": "pixel", "dB": "decibel", "km/h": "kilometer per hour",
    "kmh": "kilometer per hour", "kph": "kilometer per hour", "mph": "mile per hour",
    "m/s": "meter per second", "fps": "frame per second", "FPS": "frame per second",
    "m²": "square meter", "km²": "square kilometer", "cm²": "square centimeter", "m³": "cubic meter",
    "°C": "degree Celsius", "°F": "degree Fahrenheit", "ºC": "degree Celsius", "ºF": "degree Fahrenheit",
    "℃": "degree Celsius", "℉": "degree Fahrenheit", "°": "degree", "º": "degree",
}  # fmt: skip
OPERATORS = {
    "×": "times", "✕": "times", "✖": "times", "*": "times", "÷": "divided by", "=": "equals",
    "≠": "is not equal to", "<": "is less than", ">": "is greater than", "≤": "is at most",
    "≥": "is at least", "±": "plus or minus", "+": "plus", "≈": "is about", "<=": "is at most",
    ">=": "is at least", "==": "equals", "!=": "is not equal to",
}  # fmt: skip
PARTS = {2: "half", 4: "quarter"}
_SIGNS = "|".join(map(re.escape, sorted(OPERATORS, key=len, reverse=True)))
_BEFORE_YEARS = "[iI]n|[sS]ince|[uU]ntil|[yY]ear|[fF]rom|[oO]f|[aA]round"
_AFTER_YEARS = "and|to|was|is|but|he|she|it|we|they|I"
_MONTH = rf"(?:{'|'.join(f'{name}|{name[:3]}' for name in MONTHS)}|Sept)\b\.?"


def digit_words(digits: str) -> str:
    """Every digit by its own name."""
    return " ".join(DIGITS[int(digit)] for digit in digits if digit.isdigit())


def cardinal(whole: str) -> str:
    """A whole number as a quantity, or digit by digit where it is none."""
    if len(whole) > LONGEST or (len(whole) > 1 and whole[0] == "0"):
        return digit_words(whole)
    from num2words import num2words

    return str(num2words(int(whole))).replace(",", "").replace("-", " ")


def ordinal(whole: str) -> str:
    """A whole number as a rank."""
    from num2words import num2words

    return str(num2words(int(whole), to="ordinal")).replace(",", "").replace("-", " ")


def number(figure: str) -> str:
    """A number with thousands commas and decimals as they may be."""
    whole, dot, decimals = figure.replace(",", "").partition(".")
    return cardinal(whole or "0") + (f" point {digit_words(decimals)}" if dot else "")


def year(figure: str) -> str:
    """A year from 1000 to 2999 in pairs, as it is said: nineteen eighty four, two thousand nine."""
    high, low = figure[:2], figure[2:]
    if figure[1:3] == "00" or not "1000" <= figure <= "2999":
        return cardinal(figure)
    if low == "00":
        return f"{cardinal(high)} hundred"
    return f"{cardinal(high)} {'oh ' if low[0] == '0' else ''}{cardinal(low.lstrip('0'))}"


def plural(noun: str, count: str) -> str:
    """The noun as it follows a count: `one meter`, `two meters per second`."""
    if count in ("1", "one"):
        return noun
    head, per, rest = noun.partition(" per ")
    word, blank, scale = head.partition(" ") if head.startswith("degree ") else (head, "", "")
    many = word if word.endswith("hertz") else PLURALS.get(word, f"{word}s")
    return many + blank + scale + per + rest


def fraction(top: str, bottom: str) -> str:
    """`one half`, `three quarters`; `nine out of ten` and `five over three` where it is no common part."""
    above, below = int(top[:LONGEST]), int(bottom[:LONGEST])
    if (top, bottom) in (("24", "7"), ("50", "50")):
        return f"{cardinal(top)} {cardinal(bottom)}"
    if (0 < above < below <= 9 and len(top + bottom) == 2) or (top == "1" and bottom in ("10", "16", "100")):
        part = PARTS.get(below) or ordinal(bottom)
        many = {"half": "halves"}.get(part, f"{part}s")
        return f"{cardinal(top)} {part if above == 1 else many}"
    return f"{cardinal(top)} {'out of' if above <= below else 'over'} {cardinal(bottom)}"


def _vulgar(match: Match[str]) -> str:
    top, _, bottom = unicodedata.normalize("NFKC", match[2]).partition("⁄")
    return (f"{number(match[1])} and " if match[1] else " ") + fraction(top, bottom) + " "


def _date(match: Match[str]) -> str:
    month, day = int(match[2]), int(match[3])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return ", ".join(cardinal(part) for part in match.groups())
    return f"{MONTHS[month - 1]} {ordinal(match[3])}, {year(match[1])}"


def _slashes(match: Match[str]) -> str:
    """Month, day and year where only one order makes sense; else the three numbers."""
    first, second, last = match.groups()
    for month, day in ((first, second), (second, first)):
        if 1 <= int(month) <= 12 < int(day) <= 31:
            return f"{MONTHS[int(month) - 1]} {ordinal(str(int(day)))}, {year(last)}"
    return f"{cardinal(first)} slash {cardinal(second)} slash {year(last)}"


def _dotted_thousands(match: Match[str]) -> str:
    """Thousands with full stops between them: two of them at least, one is a decimal."""
    return number(match[0]) if match[0].count(".") == 1 else cardinal(match[0].replace(".", ""))


def _month_name(written: str) -> str:
    return next(name for name in MONTHS if name.startswith(written[:3]))


def _month_day(match: Match[str]) -> str:
    ending = f", {year(match[3])}" if match[3] else ""
    return f"{_month_name(match[1])} {ordinal(match[2])}{ending}"


def _day_month(match: Match[str]) -> str:
    ending = f" {year(match[3])}" if match[3] else ""
    return f"{ordinal(match[1])} of {_month_name(match[2])}{ending}"


def _time(match: Match[str]) -> str:
    hour, minute, second, half = match.groups()
    said = [cardinal(str(int(hour)))]
    if int(minute):
        said.append(("oh " if minute[0] == "0" else "") + cardinal(str(int(minute))))
    elif second:
        said.append("zero zero")
    elif not half:
        said.append("o'clock")
    if second:
        said.append(("oh " if second[0] == "0" else "") + cardinal(str(int(second))))
    return " ".join(said) + (_half_day(half) if half else "")


def _half_day(half: str) -> str:
    return " ay m" if half[0] in "aA" else " p m"


def _money(match: Match[str]) -> str:
    parts = match.groupdict()
    sign, figure, scale = parts["sign"], parts["figure"], parts.get("scale")
    noun, small = MONEY[sign.upper() if sign.isalpha() else sign]
    if scale:
        scale = SCALES.get(scale.lower(), scale.lower())
        return f"{number(figure)} {scale} {plural(noun, '')}"
    whole, _, decimals = figure.replace(",", "").partition(".")
    if len(decimals) != 2 or not small or not whole:
        return f"{number(figure)} {plural(noun, figure)}"
    said = f"{cardinal(whole)} {plural(noun, whole)}"
    cents = str(int(decimals))
    if cents == "0":
        return said
    few = f"{cardinal(cents)} {plural(small, cents)}"
    return few if whole == "0" else f"{said} and {few}"


def _decade(match: Match[str]) -> str:
    century, tens = match[1] or "", match[2]
    if tens == "0":
        return f"{year(century + '00')}s" if century != "20" else "two thousands"
    decade = cardinal(tens + "0").removesuffix("y") + ("ies" if tens != "1" else "s")
    return f"{cardinal(century)} {decade}" if century else decade


def _version(match: Match[str]) -> str:
    said = " point ".join(cardinal(part) for part in match[2].split("."))
    return f"version {said}" if match[1] else said


def _phone(match: Match[str]) -> str:
    groups = re.findall(r"\d+", match[0])
    return ("plus " if match[0][0] == "+" else "") + ", ".join(digit_words(group) for group in groups)


def _units(match: Match[str]) -> str:
    return f"{number(match[1])} {plural(UNITS[match[2]], match[1])}"


def _power(match: Match[str]) -> str:
    figures = "".join(str(unicodedata.digit(mark)) for mark in match[0])
    return {"2": " squared ", "3": " cubed "}.get(figures, f" to the power of {cardinal(figures)} ")


@functools.lru_cache(maxsize=1)
def _rules() -> list[Rule]:
    """The English rules, in their order."""
    longest_first = "|".join(map(re.escape, sorted(UNITS, key=len, reverse=True)))
    signs = "".join(sign for sign in MONEY if not sign.isalpha())
    figure = rf"(?P<figure>{NUMBER})"
    scale = r"(?:\s?(?P<scale>thousand|million|billion|trillion|bn|mil|[kKmMbBT])\b)?"
    table: list[tuple[str, Callable[[Match[str]], str]]] = [
        (
            r"(?<=\d)[\u00a0\u202f\u2009' ](?=000(?!\d))|(?<=\d)[\u00a0\u202f\u2009](?=\d{3}(?!\d))",
            lambda m: "",
        ),
        (r"(?<![\d.,])\d{1,3}(?:\.000)+(?![\d.,]*\d)", _dotted_thousands),
        (r"⁻(?=[¹²³⁴-⁹⁰])", lambda m: "^-"),
        (r"(?<=[\d)])\s?−\s?(?=\d)", lambda m: " minus "),
        (r"−(?=\s?\d)", lambda m: "-"),
        (r"(\d+)['′’](\d{1,2})(?:[\"″”]|'')", lambda m: f"{cardinal(m[1])} foot {cardinal(m[2])}"),
        (rf"(?:({NUMBER})\s?)?([{FRACTIONS}])", _vulgar),
        (r"(?<![\d/.-])(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?![\d/-])", _date),
        (r"(?<![\d/.-])(\d{1,2})/(\d{1,2})/(\d{4})(?![\d/-])", _slashes),
        (rf"\b({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?\b(?:,? (\d{{4}})\b)?(?![:.,]?\d|%)", _month_day),
        (
            rf"(?<![\d.,:/-])(\d{{1,2}})(?:st|nd|rd|th)? (?:of )?({_MONTH})(?: (\d{{4}})\b)?(?![:.,]?\d)",
            _day_month,
        ),
        (r"(?<![\w.])(?:\+\d{1,3}[-. ]?)?\(?\d{3}\)?[-. ]\d{3}[-. ]\d{4}(?![\d-])", _phone),
        (r"(?<![\w.])\+\d{7,15}(?!\w)|(?<![\w.-])\d{3}-\d{4}(?![\d-])", _phone),
        (r"(?<![\w.])\+\d{1,3}(?:[- ]\d{2,4}){2,5}(?![\d-])", _phone),
        (r"(?<![\w.])([vV](?:er)?\.?\s?)?(\d+(?:\.\d+){2,})(?![\d])", _version),
        (r"(?<!\w)([vV])(\d+(?:\.\d+)?)(?![\w.]*\d)", _version),
        (
            r"(?<![\d.,-])\d+(?:-\d+){2,}(?![\d-])",
            lambda m: ", ".join(cardinal(part) for part in m[0].split("-")),
        ),
        (
            rf"(?<=[\d%kKM])[-–—](?=[{signs}]?\d)|(?<=\d)\s[–—]\s(?=[{signs}]?\d)",
            lambda m: " to ",
        ),
        (r"(?:(?<=\d[ap]m)|(?<=\d [AP]M)|(?<=°[CF]))[-–—](?=\d)", lambda m: " to "),
        (
            r"(?<![\d:.])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?(?![\d:])(?:\s?([ap]\.?m\b\.?|[AP]\.?M\b\.?))?",
            _time,
        ),
        (r"(?<![\d:.])(\d{1,2})\s?([ap]\.?m\b\.?|[AP]\.?M\b\.?)", lambda m: cardinal(m[1]) + _half_day(m[2])),
        (r"(?<=\d):(?=\d)", lambda m: " to "),
        (r"(?<![\w.])(1\d|20)(\d)0'?s\b", _decade),
        (r"(?:(?<=[tT]he )|(?<=['’]))()([2-9])0'?s\b", _decade),
        (rf"(?<=\d)\s-\s(?=[{signs}]?\d)", lambda m: " minus "),
        (r"\^\s?(-?)(?=\d)", lambda m: " to the power of " + ("minus " if m[1] else "")),
        (r"(?<=\d)\^(?=\w)", lambda m: " to the power of "),
        (rf"(?<=\d)\s?(?:{_SIGNS})\s?(?=-?[{signs}]?\d)", lambda m: f" {OPERATORS[m[0].strip()]} "),
        (r"(?<=\d)\sx\s(?=\d)", lambda m: " times "),
        (r"(?<=\d)x(?=\d)", lambda m: " by "),
        (r"(?<=\d)[xX]\b|\b[xX](?=\d+\b)", lambda m: " times "),
        (r"(?<=\d)\+(?![\w+])", lambda m: " plus "),
        (rf"(?<![\w)])-(?=[{signs}]?\.?\d)", lambda m: " minus "),
        (rf"(?<![\w)])\+(?=[{signs}]?\.?\d)", lambda m: " plus "),
        (r"\b[yY]2[kK]\b", lambda m: "Y two K"),
        (r"√\s?(?=\d)", lambda m: " the square root of "),
        (rf"(?<!\w)±(?=[{signs}]?\.?\d)", lambda m: " plus or minus "),
        (r"(?<!\w)[~≈]\s?(?=\d)", lambda m: " about "),
        (r"(?:#|№\s?|\b[Nn]o\. ?)(?=\d)", lambda m: " number "),
        (r"(?<=[^\W\d_])[-_]?(?=\.?\d)", lambda m: " "),
        (rf"(?P<sign>[{signs}])\s?{figure}{scale}", _money),
        (rf"{figure}{scale}\s?(?P<sign>[{signs}]|(?:USD|EUR|GBP)\b)", _money),
        (rf"({NUMBER})\s?%", lambda m: f"{number(m[1])} percent"),
        (r"(?<![\d.,])(\d{1,15})(?:st|nd|rd|th)\b", lambda m: ordinal(m[1])),
        (rf"({NUMBER})\s?({longest_first})(?![\w²³/])", _units),
        (rf"({NUMBER})\s?(?:k|K)\b", lambda m: f"{number(m[1])} thousand"),
        (rf"({NUMBER})(M|B|bn|mil)\b", lambda m: f"{number(m[1])} {SCALES[m[2].lower()]}"),
        (r"(?<![\d./])(\d+) (\d)/(\d)(?![\d/])", lambda m: f"{cardinal(m[1])} and {fraction(m[2], m[3])}"),
        (r"(?<![\d./])(\d+)\s?/\s?(\d+)(?![\d/])", lambda m: fraction(m[1], m[2])),
        (r"(?<=\d)\s?/\s?(?=\d)", lambda m: " slash "),
        (rf"[{POWERS}]+", _power),
        (
            rf"\b((?:{_BEFORE_YEARS}) )((?:1\d|20)\d\d)(?![\d,.%]*\d)(?=[.,!?;:)]|$|\s+(?:{_AFTER_YEARS})\b)",
            lambda m: m[1] + year(m[2]),
        ),
        (r"(?<=\d)[-_]?(?=[^\W\d_])", lambda m: " "),
        (NUMBER, lambda m: number(m[0])),
        (r"\d+", lambda m: f" {cardinal(m[0])} "),
    ]
    return [(re.compile(pattern), say) for pattern, say in table]


def _apart(say: Callable[[Match[str]], str], match: Match[str]) -> str:
    """What is said for a match, with blanks where letters would touch it."""
    said, text = say(match), match.string
    if not said or not match[0]:
        return said
    before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
    left = " " if said[0].isalpha() and before.isalpha() else ""
    return left + said + (" " if said[-1].isalpha() and after.isalpha() else "")


def english(text: str) -> str:
    """`text` with every figure in English words."""
    if not any(unicodedata.category(character)[0] == "N" for character in text):
        return text
    for pattern, say in _rules():
        text = pattern.sub(functools.partial(_apart, say), text)
    return text
