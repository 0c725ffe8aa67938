"""From a request to what is sampled: checked, split into pieces, each with its tokens and its length.

One measure, `Pace`, says how long words take after a clip: it decides where a text is split and how long each
piece becomes, so that no piece with its clip is longer than what the checkpoint was trained on.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from engine import text, upstream
from engine.audio import SAMPLE_RATE
from engine.durations import Durations
from engine.errors import ReferenceClipError, TextError
from engine.reference import Reference

if TYPE_CHECKING:
    from torch import Tensor

FRAMES_A_SECOND = SAMPLE_RATE / 256
ROOM_SECONDS = 5.0
"""What a reference clip leaves at least of the checkpoint's longest sequence."""

MARKS, SAME_MARKS = 8, 3
"""Signs in a row that are kept, and equal ones among them: no voice says four hundred exclamation marks."""

BREAKS = (
    (0.0, re.compile(r"[.!?…]+[\"'”’)\]]*\s+|[。！？]+")),
    (0.15, re.compile(r"[,;:]\s+|[，；：、]")),
    (0.4, re.compile(r"\s+")),
)
"""What a cut behind a sentence, a clause or a word costs, against pieces of unequal length; a piece half as
long as the others costs a quarter."""
INSIDE = 0.8
"""What a cut costs where there is no blank: between Chinese characters, or between signs."""


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """One stretch of text with all that its samples depend on; errors about it begin with `name`."""

    words: str
    tokens: Tensor  # [1, nt]
    frames: int  # reference and generated together
    reference: Reference
    seed: int = 0
    name: str = ""


class Pace:
    """How long words take after one clip.

    With a table the phones of the words decide, without one their bytes, as upstream has it; the clip's own
    transcript and length say how fast the voice is. A piece under ten bytes takes as long as ten: one word
    needs room. (Upstream stretches such a piece at a pace of 0.3 instead, which makes nine bytes three times
    as long as ten, and takes no notice of the speed.)

    Args:
        reference: the conditioned clip.
        table: the voice's own front end, where it has one.
        speed: how much faster than the clip.
        longest: frames of the longest sequence.
    """

    def __init__(self, reference: Reference, table: Durations | None, speed: float, longest: int) -> None:
        self.reference, self._table, self._speed, self.longest = reference, table, speed, longest
        self._opening = text.finish_reference(reference.text)

    @property
    def room(self) -> int:
        """Frames that the clip leaves."""
        return self.longest - self.reference.frames

    @functools.cached_property
    def _phones_rate(self) -> float:
        """Frames of the clip for each that the table expects."""
        assert self._table is not None
        said = self._table.phones(upstream.tokenize(self._opening))
        return self.reference.frames / sum(self._table.lengths(said))

    def weigh(self, words: str) -> float:
        """Frames of a part of a piece, without the silence at a piece's ends."""
        if self._table is None:
            return self._bytes_rate * len(words.encode())
        said = self._table.phones(upstream.tokenize(words))
        return self._phones_rate / self._speed * sum(self._table.lengths(said)[1:-1])

    @property
    def _bytes_rate(self) -> float:
        return self.reference.frames / len(self._opening.encode()) / self._speed

    def sequence(self, words: str) -> tuple[list[str], int]:
        """Tokens of transcript and words, and the frames that both take."""
        reference = self.reference
        if self._table is None:
            tokens = upstream.tokenize(self._opening + words)
            units = len(self._opening.encode()), max(len(words.encode()), text.SHORT_BYTES)
            generated = text.estimate_frames(units[0], reference.frames, units[1], self._speed)
            frames = reference.frames + generated
        else:
            tokens = self._table.spread(
                upstream.tokenize(self._opening), reference.frames, upstream.tokenize(words), self._speed
            )
            frames = len(tokens)
        # Upstream's own floor: at least one frame more than the tokens and than the reference.
        return tokens, max(frames, max(len(tokens), reference.mel.shape[1]) + 1)

    def fits(self, words: str) -> bool:
        """Whether these words and the clip together are no longer than the longest sequence."""
        return self.sequence(words)[1] <= self.longest


def piece(
    words: str, pace: Pace, vocabulary: dict[str, int], device: str, seed: int = 0, name: str = ""
) -> Piece:
    """Words as one piece, whether they fit or not."""
    tokens, frames = pace.sequence(words)
    ids = upstream.token_ids(tokens, vocabulary).to(device)
    return Piece(words, ids, frames, pace.reference, seed, name)


def capped(words: str) -> str:
    """The words without more signs in a row than can be said or heard."""
    mark = r"(?:[^\w\s]|_)"
    words = re.sub(rf"({mark})\1{{{SAME_MARKS},}}", lambda run: run[1] * SAME_MARKS, words)
    words = re.sub(rf"({mark}{{{MARKS}}}){mark}+", r"\1", words)
    alone = rf"(?<!\S){mark}+(?:\s+|$)"
    return re.sub(rf"((?:{alone}){{{SAME_MARKS}}})(?:{alone})+", r"\1", words).strip()


def split(words: str, pace: Pace, opening: int = 0) -> list[str]:
    """Pieces of `words`, of about equal length and cut at the best places; each fits behind the clip, and
    each has a letter or a digit. Joined by the blanks between them they are `capped(words)`.

    Args:
        words: normalised text.
        pace: measures them.
        opening: bytes of the first piece at most, where the text is longer; 0 for none.

    Raises:
        ReferenceClipError: the clip leaves no room.
        TextError: a word that does not fit behind the clip even alone.
    """
    words = capped(words)
    if pace.room < ROOM_SECONDS / 2 * FRAMES_A_SECOND:
        raise ReferenceClipError(
            f"reference clip of {pace.reference.seconds:.1f} s",
            f"at most {pace.longest / FRAMES_A_SECOND - ROOM_SECONDS:.1f} s, "
            "which leave room to speak in this checkpoint's longest sequence",
            "Cut the clip, and its transcript with it",
        )
    first = beginning(words, opening) if opening else ""
    if first and pace.fits(first):
        return [first.strip(), *split(words[len(first) :].strip(), pace)]
    if pace.fits(words):
        return [words]
    room = float(pace.room)
    while room > 1:
        pieces = _balanced(list(_units(words, pace, room)), pace, room)
        if all(pace.fits(piece) for piece in pieces):
            return pieces
        room *= 0.9
    raise _too_long(words, pace)


def beginning(words: str, limit: int) -> str:
    """A beginning of `words` of a third of `limit` to `limit` UTF-8 bytes, cut at the best place in there.

    Nothing where the text fits, where too little of it would be left, or where a word would be cut.
    """
    size = len(words.encode())
    room = min(limit, size - text.SHORT_BYTES)
    if size <= limit or room < limit // 3:
        return ""
    heads: dict[float, str] = {}
    start = 0
    for unit, cost in _cuts(words):
        start += len(unit)
        head = words[:start]
        if limit // 3 <= len(head.rstrip().encode()) <= room and _speakable(head):
            heads[cost] = head
    return heads[min(heads)] if heads else ""


def _cuts(words: str) -> Iterator[tuple[str, float]]:
    """Every part between two places where `words` may be cut, and what the cut behind it costs."""
    costs: dict[int, float] = {}
    for cost, pattern in reversed(BREAKS):
        costs |= {match.end(): cost for match in pattern.finditer(words)}
    for at in range(1, len(words)):
        if not _joined(words[at - 1], words[at]):
            costs.setdefault(at, INSIDE)
    start = 0
    for end in [*sorted(at for at in costs if at < len(words)), len(words)]:
        yield words[start:end], costs.get(end, 0.0)
        start = end


def _joined(left: str, right: str) -> bool:
    """Whether a cut between two characters would be inside a word or a number, or before a closing sign."""
    if left.isspace() or right.isspace():
        return right.isspace()
    return not right.isalnum() or not (_blankless(left) or _blankless(right))


def _blankless(letter: str) -> bool:
    """Whether a letter's script is written without blanks: from Thai on most are, Hangul is not."""
    return ord(letter) >= 0x0E00 and letter.isalpha() and not "\uac00" <= letter <= "\ud7a3"


def _speakable(words: str) -> bool:
    return any(character.isalnum() for character in words)


def _units(words: str, pace: Pace, room: float) -> Iterator[tuple[str, float]]:
    """Parts that are never cut, each with a letter or digit, and what a cut behind each costs.

    Raises:
        TextError: one that does not fit.
    """
    whole = [(words[:0], 0.0)]
    for part, cost in _cuts(words):
        held = whole[-1][0]
        if not _speakable(held) or not _speakable(part):  # signs go with the word before them, or the first
            whole[-1] = (held + part, cost)
        else:
            whole.append((part, cost))
    for unit, cost in whole:
        if pace.weigh(unit) > room and not pace.fits(unit.strip()):
            raise _too_long(unit, pace)
        yield unit, cost


def _balanced(units: Sequence[tuple[str, float]], pace: Pace, room: float) -> list[str]:
    """Neighbouring units joined to pieces of at most `room` frames, so that the squared differences from
    equal lengths, and what the cuts cost, come to the least."""
    weights = [pace.weigh(unit) for unit, _ in units]
    aim = sum(weights) / max(1, math.ceil(sum(weights) / room))
    best, cut = [0.0] + [math.inf] * len(units), [0] * (len(units) + 1)
    for end in range(1, len(units) + 1):
        length, behind = 0.0, units[end - 1][1] if end < len(units) else 0.0
        for start in range(end - 1, -1, -1):
            length += weights[start]
            if length > room and start < end - 1:
                break
            cost = best[start] + (1 - length / aim) ** 2 + behind
            if cost < best[end]:
                best[end], cut[end] = cost, start
    pieces: list[str] = []
    end = len(units)
    while end:
        pieces.append("".join(unit for unit, _ in units[cut[end] : end]).strip())
        end = cut[end]
    return pieces[::-1]


def _too_long(words: str, pace: Pace) -> TextError:
    words = words.strip()
    seconds = pace.weigh(words) / FRAMES_A_SECOND
    return TextError(
        f"text with {words[:20]!r}{'...' if len(words) > 20 else ''}, "
        f"{len(words)} characters without a blank that take {seconds:.0f} s",
        f"words of at most {pace.room / FRAMES_A_SECOND:.0f} s, which is what the clip leaves room for",
        "Break the word up, or use a shorter clip",
    )
