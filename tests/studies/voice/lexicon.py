"""How the training words are spoken, and letter-to-sound rules learnt from them for every other word."""

from __future__ import annotations

import difflib
import json
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from math import log
from pathlib import Path

from tests.studies.voice.phones import TOKENS
from tests.studies.voice.sentences import VOICES

WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")
CONTEXTS = ((3, 3), (2, 2), (1, 2), (0, 2), (1, 1), (0, 1), (0, 0))  # letters left and right, longest first


def rows(data: Path) -> list[dict[str, object]]:
    """All utterances of all voices: text, phones with end times, voice."""
    return [
        row | {"voice": voice} for voice in VOICES for row in json.loads((data / f"{voice}.json").read_text())
    ]


def isolated(words: Iterable[str], batch: int = 60) -> dict[str, str]:
    """Each word as flite says it alone, as vocabulary tokens (one character a phone)."""
    words = sorted(words)
    batches = [words[start : start + batch] for start in range(0, len(words), batch)]
    with ThreadPoolExecutor(4) as pool:
        return {word: said for found in pool.map(_say_alone, batches) for word, said in found.items()}


def _say_alone(words: list[str]) -> dict[str, str]:
    command = ["flite", "-voice", "kal16", "-ps", "-t", ", ".join(words) + ".", "-o", "none"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    groups = " ".join(printed).split("pau")
    said = ["".join(TOKENS[name] for name in group.split()) for group in groups if group.strip()]
    if len(said) != len(words):
        if len(words) == 1:
            return {words[0]: "".join(said)}
        middle = len(words) // 2
        return _say_alone(words[:middle]) | _say_alone(words[middle:])
    return dict(zip(words, said, strict=True))


def lexicon(utterances: list[dict[str, object]]) -> dict[str, str]:
    """Word -> tokens as most often said in running speech, where isolated pronunciations find the words."""
    alone = isolated({word for row in utterances for word in WORD.findall(str(row["text"]).lower())})
    heard: dict[str, Counter[str]] = defaultdict(Counter)
    for row in utterances:
        words = WORD.findall(str(row["text"]).lower())
        spoken = "".join(TOKENS[name] for name, _ in row["phones"] if name not in ("pau", "end"))  # type: ignore[attr-defined]
        for word, said in zip(words, split_words([alone[word] for word in words], spoken), strict=True):
            heard[word][said] += 1
    return {word: counts.most_common(1)[0][0] or alone[word] for word, counts in sorted(heard.items())}


def split_words(expected: list[str], spoken: str) -> list[str]:
    """Cut `spoken` where the words of `expected` meet, by their matching phones."""
    joined = "".join(expected)
    place: dict[int, int] = {}
    for tag, a0, a1, b0, b1 in difflib.SequenceMatcher(None, joined, spoken, autojunk=False).get_opcodes():
        for at in range(a0, a1 + 1):
            if tag == "equal" or at in (a0, a1):
                place[at] = b0 + (at - a0) if tag == "equal" else (b0 if at == a0 else b1)
            else:
                place[at] = b0 + round((at - a0) * (b1 - b0) / max(a1 - a0, 1))
    place |= {0: 0, len(joined): len(spoken)}
    pieces, start = [], 0
    for word in expected:
        pieces.append(spoken[place[start] : place[start + len(word)]])
        start += len(word)
    return pieces


def align(word: str, said: str, cost: dict[tuple[str, str], float]) -> list[str]:
    """Give each letter none, one or two phones of `said`, at the least total cost."""
    best: dict[tuple[int, int], tuple[float, tuple[str, ...]]] = {(0, 0): (0.0, ())}
    for i, letter in enumerate(word):
        for j in range(len(said) + 1):
            if (i, j) not in best:
                continue
            spent, path = best[i, j]
            for take in (0, 1, 2, 3):
                piece = said[j : j + take]
                if len(piece) == take:
                    total = spent + cost.get((letter, piece), 6.0 + 4.0 * take)
                    if (i + 1, j + take) not in best or total < best[i + 1, j + take][0]:
                        best[i + 1, j + take] = (total, (*path, piece))
    return list(best.get((len(word), len(said)), (0.0, ()))[1])


def alignments(words: dict[str, str], rounds: int = 4) -> dict[str, list[str]]:
    """Letters to phones for every word, by repeated counting and aligning."""
    cost: dict[tuple[str, str], float] = {}
    for word, said in words.items():  # first guess: the diagonal
        for i, letter in enumerate(word):
            for phone in said[
                max(0, int(i * len(said) / len(word)) - 1) : int(i * len(said) / len(word)) + 2
            ]:
                cost[letter, phone] = cost.get((letter, phone), 0.0) + 1.0
    for _ in range(rounds):
        totals: dict[str, float] = defaultdict(float)
        for (letter, _piece), count in cost.items():
            totals[letter] += count
        prices = {pair: -log(count / totals[pair[0]]) for pair, count in cost.items()}
        found = {word: align(word, said, prices) for word, said in words.items()}
        pairs = Counter(pair for word, pieces in found.items() for pair in zip(word, pieces, strict=False))
        cost = {pair: float(count) for pair, count in pairs.items()}
    return {word: pieces for word, pieces in found.items() if pieces}


def letter_rules(words: dict[str, str]) -> dict[str, str]:
    """Letter in context "ab[c]de" -> phones; only entries where a shorter context would say otherwise."""
    counts: list[dict[str, Counter[str]]] = [defaultdict(Counter) for _ in CONTEXTS]
    for word, pieces in alignments(words).items():
        for at, piece in enumerate(pieces):
            for level, (left, right) in enumerate(CONTEXTS):
                counts[level][context(word, at, left, right)][piece] += 1
    rules: dict[str, str] = {}
    for level in range(len(CONTEXTS) - 1, -1, -1):
        for key, heard in counts[level].items():
            piece, seen = heard.most_common(1)[0]
            if level == len(CONTEXTS) - 1 or (seen >= 2 and piece != back_off(rules, key, level)):
                rules[key] = piece
    return rules


def context(word: str, at: int, left: int, right: int) -> str:
    """The letter at `at` in brackets with its neighbours; "#" beyond the ends of the word."""
    padded = "###" + word + "###"
    return f"{padded[at + 3 - left : at + 3]}[{word[at]}]{padded[at + 4 : at + 4 + right]}"


def back_off(rules: dict[str, str], key: str, level: int) -> str:
    """What the shorter contexts of `key` already say."""
    left, rest = key.split("[")
    letter, right = rest.split("]")
    for before, after in CONTEXTS[level + 1 :]:
        found = rules.get(f"{left[len(left) - before :]}[{letter}]{right[:after]}")
        if found is not None:
            return found
    return ""
