"""Figures as Chinese words: dates, times, money, units, fractions, sums and plain numbers."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable
from re import Match

from engine.numerals import FRACTIONS, LONGEST, NUMBER, POWERS, Rule

DIGITS = "零一二三四五六七八九"
UNITS = {
    "km/h": "公里每小时", "m/s": "米每秒",
    "°C": "摄氏度", "℃": "摄氏度", "°F": "华氏度", "℉": "华氏度", "°": "度",
    "km": "公里", "cm": "厘米", "mm": "毫米", "m": "米", "kg": "公斤", "mg": "毫克", "g": "克", "ml": "毫升",
    "L": "升", "GB": "G B", "MB": "兆", "h": "小时", "min": "分钟", "s": "秒",
}  # fmt: skip
MONEY = {"$": "美元", "€": "欧元", "£": "英镑", "¥": "元", "￥": "元", "₩": "韩元"}
SIGNS = {
    "+": "加", "×": "乘", "*": "乘", "÷": "除以", "=": "等于", "<": "小于", ">": "大于", "≤": "不大于",
    "≥": "不小于", "≈": "约等于", "±": "正负", "≠": "不等于",
}  # fmt: skip


def digit_words(digits: str) -> str:
    """Every digit by its own name."""
    return "".join(DIGITS[int(digit)] for digit in digits if digit.isdigit())


def number(figure: str) -> str:
    """A number with thousands commas and decimals as they may be."""
    whole, dot, decimals = figure.replace(",", "").partition(".")
    whole = whole or "0"
    if len(whole) > LONGEST or (len(whole) > 1 and whole[0] == "0"):
        said = digit_words(whole)
    else:
        from cn2an import an2cn

        said = str(an2cn(whole))
    return said + (f"点{digit_words(decimals)}" if dot else "")


def _time(match: Match[str]) -> str:
    hour, minute, second = match.groups()
    said = number(str(int(hour))) + "点"
    if int(minute) or second:
        zero = "零" if minute[0] == "0" and int(minute) else ""
        said += f"{zero}{number(str(int(minute)))}分"
    return said + (f"{number(str(int(second)))}秒" if second else "")


@functools.lru_cache(maxsize=1)
def _rules() -> list[Rule]:
    """The Chinese rules, in their order."""
    units = "|".join(map(re.escape, sorted(UNITS, key=len, reverse=True)))
    signs, money = "".join(SIGNS), "".join(MONEY)
    table: list[tuple[str, Callable[[Match[str]], str]]] = [
        (r"−(?=\s?\d)", lambda m: "-"),
        (
            rf"(?:({NUMBER}))?([{FRACTIONS}])",
            lambda m: (
                (number(m[1]) + "又" if m[1] else "")
                + "分之".join(
                    number(part) for part in reversed(unicodedata.normalize("NFKC", m[2]).split("⁄"))
                )
            ),
        ),
        (
            r"(?<![\d/.-])(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?![\d/-])",
            lambda m: f"{digit_words(m[1])}年{number(str(int(m[2])))}月{number(str(int(m[3])))}日",
        ),
        (
            r"(?<!\d)(\d{4}|\d{2})(?=年(?![级龄]))",
            lambda m: digit_words(m[1]) if len(m[1]) == 4 else number(m[1]),
        ),
        (r"(?<![\d.,])(?:1\d{10}|6{3,}|23{3,})(?![\d.])", lambda m: digit_words(m[0])),
        (r"(?<![\d.,])\d{3,4}-\d{4,8}(?![\d-])", lambda m: "，".join(map(digit_words, m[0].split("-")))),
        (r"(?<!\d)\d+(?:\.\d+){2,}(?!\d)", lambda m: "点".join(map(number, m[0].split(".")))),
        (r"(?<![\d:.])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?(?![\d:])", _time),
        (r"(?<=\d)[:：](?=\d)", lambda m: "比"),
        (r"(?<=\d)\s?[-–—~～](?=\d)", lambda m: "到"),
        (r"(?<=\d)\s-\s(?=\d)", lambda m: "减"),
        (r"\^(-?)(?=\d)", lambda m: "的" + ("负" if m[1] else "")),
        (rf"(?<=\d)\s?([{re.escape(signs)}])\s?(?=-?\d)", lambda m: SIGNS[m[1]]),
        (rf"(?<![\w)])-(?=[{money}]?\d)|(?<=[^\W\d_a-zA-Z])-(?=\d)", lambda m: "负"),
        (
            rf"([{money}])\s?({NUMBER})([万亿]?)",
            lambda m: number(m[2]) + m[3] + MONEY[m[1]],
        ),
        (rf"({NUMBER})\s?([{money}])", lambda m: number(m[1]) + MONEY[m[2]]),
        (rf"({NUMBER})\s?[%％]", lambda m: f"百分之{number(m[1])}"),
        (rf"({NUMBER})\s?({units})(?![A-Za-z])", lambda m: number(m[1]) + UNITS[m[2]]),
        (rf"({NUMBER})\s?[kK](?![A-Za-z])", lambda m: f"{number(m[1])}千"),
        (r"(?<![\d./])(\d+)/(\d+)(?![\d/])", lambda m: f"{number(m[2])}分之{number(m[1])}"),
        (rf"[{POWERS}]+", lambda m: f"的{number(''.join(str(unicodedata.digit(c)) for c in m[0]))}次方"),
        (r"(?<![\d.,])2(?=[个只条次位名张件杯瓶遍种天])", lambda m: "两"),
        (NUMBER, lambda m: number(m[0])),
        (r"\d+", lambda m: number(m[0])),
    ]
    return [(re.compile(pattern), say) for pattern, say in table]


def chinese(text: str) -> str:
    """`text` with every figure in Chinese words."""
    if not any(unicodedata.category(character)[0] == "N" for character in text):
        return text
    for pattern, say in _rules():
        text = pattern.sub(say, text)
    return text
