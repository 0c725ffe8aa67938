"""A voice's text front end: words to phones, and each phone repeated for the mel frames that it should last.

Upstream spreads text tokens evenly over the frames (`text_embedding_average_upsampling`). A small model has
no capacity to spare for finding which frame says which letter, so a voice may bring tables that do this
beforehand: a lexicon, letter-to-sound rules for other words, and the mean duration of a phone among its
neighbours, found by backing off from long contexts to short ones (doi:10.1109/TASSP.1987.1165125). The phones
are tokens of upstream's own vocabulary, and one token then stands for one mel frame.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from engine.errors import CheckpointError
from engine.files import small_text

EDGE = "."
"""Token of the silence before the first and after the last sound."""
PAUSE = ","
"""Token of the silence within an utterance."""
LETTER_CONTEXTS = ((3, 3), (2, 2), (1, 2), (0, 2), (1, 1), (0, 1), (0, 0))
"""Letters left and right of the one to speak, longest first."""
LONGEST_PHONE = 1000.0
"""Mel frames that no sound lasts."""
NEAR_PAUSE = 4
"""Phones from a pause are counted up to this many: speech slows down before one."""
_PIECES = re.compile(r"[a-z]+(?:'[a-z]+)*|[.,;:!?\u2026\u2013\u2014]+|--+|(?<=\s)-(?=\s)|[^\s'\"a-z-]")
_PAUSES = frozenset(".,;:!?\u2026\u2013\u2014-")


@dataclass(frozen=True)
class Durations:
    """The tables of one voice.

    Attributes:
        words: lower-case word -> its phones, one token of the vocabulary a phone.
        letters: letter among its neighbours, as "ab[c]de" with "#" beyond the word -> phones.
        names: letter -> the phones of its name, for words that have no vowel.
        frames: phone among its neighbours (see `phone_contexts`) -> mean duration in mel frames.
    """

    words: dict[str, str]
    letters: dict[str, str]
    names: dict[str, str]
    frames: dict[str, float]

    def phones(self, tokens: list[str]) -> str:
        """The phones that `tokens` (upstream's `convert_char_to_pinyin` of English) are spoken with."""
        said = EDGE
        letters = unicodedata.normalize("NFKD", "".join(tokens).lower())
        plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
        for piece in _PIECES.findall(plain):
            if piece[0] in _PAUSES:
                said += PAUSE if said[-1] not in (PAUSE, EDGE) else ""
            else:
                said += self.pronounce(piece)
        return said.rstrip(PAUSE) + EDGE

    def pronounce(self, word: str) -> str:
        """The phones of one lower-case word: from the lexicon, spelt out, or by the letter rules."""
        if word in self.words:
            return self.words[word]
        if word.endswith("'s") and word[:-2] in self.words:
            return self.words[word[:-2]] + "z"
        if not set(word) & set("aeiouy"):
            return "".join(self.names.get(letter, "") for letter in word)
        return "".join(self._letter(word, at) for at in range(len(word)))

    def expand(self, tokens: list[str], rate: float = 1.0) -> list[str]:
        """The phones of `tokens`, each repeated once a mel frame; `rate` above 1 is slower speech."""
        said = self.phones(tokens)
        return _repeat(said, [rate * frames for frames in self.lengths(said)])

    def spread(self, opening: list[str], frames: int, words: list[str], speed: float = 1.0) -> list[str]:
        """Tokens for a reference clip and new words after it, one for each mel frame of both.

        Args:
            opening: tokens of the clip's transcript.
            frames: mel frames of the clip; its tokens are fitted to exactly these.
            words: tokens of what is to be said, at the pace of the clip.
            speed: how much faster than the clip.
        """
        said = self.phones(opening)
        lengths = self.lengths(said)
        rate = frames / sum(lengths)
        return _repeat(said, [rate * length for length in lengths]) + self.expand(words, rate / speed)

    def lengths(self, said: str) -> list[float]:
        """Mean duration of each phone of `said` in mel frames."""
        return [next(self.frames[key] for key in keys if key in self.frames) for keys in phone_contexts(said)]

    def _letter(self, word: str, at: int) -> str:
        padded = f"###{word}###"
        for left, right in LETTER_CONTEXTS:
            key = f"{padded[at + 3 - left : at + 3]}[{word[at]}]{padded[at + 4 : at + 4 + right]}"
            if key in self.letters:
                return self.letters[key]
        return ""


def phone_contexts(said: str) -> list[tuple[str, ...]]:
    """For each phone the keys to look its duration up by, most telling first; the last is the empty one."""
    padded = f"{EDGE}{said}{EDGE}{EDGE}"
    contexts: list[tuple[str, ...]] = []
    left = NEAR_PAUSE
    for at in range(len(said) - 1, -1, -1):
        left = 0 if said[at] in (PAUSE, EDGE) else min(left + 1, NEAR_PAUSE)
        before, phone, after, beyond = tuple(padded[at : at + 4])
        first = "^" if at == 0 else ""
        contexts.append(
            (
                f"{before}{phone}{after}{beyond}{left}",
                f"{before}{phone}{after}{left}",
                f"{phone}{after}{left}",
                f"{phone}{first}{left}",
                phone,
                "",
            )
        )
    return contexts[::-1]


def _repeat(said: str, lengths: list[float]) -> list[str]:
    """Each phone repeated so that every boundary falls on the frame nearest to its time."""
    out: list[str] = []
    time = 0.0
    for phone, length in zip(said, lengths, strict=True):
        time += length
        out += [phone] * max(round(time) - len(out), 0)
    return out


def load(path: Path) -> Durations:
    """Read the tables of a voice.

    Raises:
        CheckpointError: the file is not such a table.
    """
    try:
        tables = json.loads(small_text(path))
        words, letters, names, frames = (
            dict(tables[part]) for part in ("words", "letters", "names", "frames")
        )
        lengths = {key: float(tenths) / 10 for key, tenths in frames.items()}
        if "" not in lengths or not all(0 < length < LONGEST_PHONE for length in lengths.values()):
            raise ValueError('frames need a length for "", and lengths of sounds')
        for spelling in (words, letters, names):
            if not all(isinstance(phones, str) for phones in spelling.values()):
                raise ValueError("phones are strings")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"duration table {path} ({type(error).__name__}: {error})",
            "the JSON written by a voice's recipe",
            "Restore the file or export the voice again",
        ) from error
    return Durations(words, letters, names, lengths)
