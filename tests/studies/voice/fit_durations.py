"""Fits the tables of `engine.durations` to the training speech."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from engine.durations import Durations, phone_contexts
from tests.studies.voice.lexicon import isolated, letter_rules, lexicon, rows
from tests.studies.voice.phones import TOKENS

FRAMES_A_SECOND = 24_000 / 256
LEAST = (8, 6, 4, 2, 1, 1)  # examples that a context needs, by level
CLOSE = 0.1  # a longer context is dropped where the shorter one says the same within this share
DIGITS = "zero one two three four five six seven eight nine".split()
SIGNS = {"&": "and", "%": "percent", "$": "dollars", "+": "plus", "@": "at", "=": "equals", "#": "hashtag"}


def spoken(row: dict[str, Any]) -> tuple[str, list[float]]:
    """Phones as one string of tokens, and their durations in mel frames."""
    ends = [0.0, *(end for _, end in row["phones"])]
    lengths = [(b - a) * FRAMES_A_SECOND for a, b in pairwise(ends)]
    return "".join(TOKENS[name] for name, _ in row["phones"]), lengths


def fit_frames(utterances: list[dict[str, Any]]) -> dict[str, float]:
    """Context -> mean duration in mel frames, voices at a common pace, redundant contexts dropped."""
    pace = voice_pace(utterances)
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    parents: dict[str, tuple[str, ...]] = {}
    for row in utterances:
        said, lengths = spoken(row)
        for keys, length in zip(phone_contexts(said), lengths, strict=True):
            for level, key in enumerate(keys):
                entry = sums[key]
                entry[0] += length / pace[row["voice"]]
                entry[1] += 1.0
                entry[2] = float(level)
                parents[key] = keys[level + 1 :]
    kept: dict[str, float] = {}
    for key, (total, count, depth) in sorted(sums.items(), key=lambda item: -item[1][2]):
        if count >= LEAST[int(depth)]:
            mean = total / count
            shorter = next((kept[parent] for parent in parents[key] if parent in kept), None)
            if shorter is None or abs(mean - shorter) > CLOSE * shorter:
                kept[key] = mean
    return kept


def voice_pace(utterances: list[dict[str, Any]]) -> dict[str, float]:
    """Mean duration of a phone of each voice over that of all voices."""
    totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in utterances:
        _, lengths = spoken(row)
        for name in (row["voice"], "all"):
            totals[name][0] += sum(lengths)
            totals[name][1] += len(lengths)
    means = {name: total / count for name, (total, count) in totals.items()}
    return {name: mean / means["all"] for name, mean in means.items()}


def fit(data: Path, path: Path) -> None:
    """Write the tables fitted to the streams in `data` as JSON."""
    utterances = rows(data)
    words = lexicon(utterances)
    names = isolated("abcdefghijklmnopqrstuvwxyz")
    words |= {str(digit): said for digit, said in enumerate(isolated_in_order(DIGITS))}
    words |= dict(zip(SIGNS, isolated_in_order(list(SIGNS.values())), strict=True))
    frames = {key: round(mean * 10) for key, mean in fit_frames(utterances).items()}
    letters = letter_rules({word: said for word, said in words.items() if word.isalpha()})
    by_rule = Durations({}, letters, names, {})
    words = {word: said for word, said in words.items() if by_rule.pronounce(word) != said}
    tables = {"words": words, "letters": letters, "names": names}
    text = json.dumps(tables | {"frames": frames}, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def isolated_in_order(words: list[str]) -> list[str]:
    """Pronunciations of `words`, in their order."""
    said = isolated(words)
    return [said[word] for word in words]
