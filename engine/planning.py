"""From a request to what is sampled: checked, split into pieces, each with its tokens and its length."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine import text, upstream
from engine.durations import Durations
from engine.errors import OptionsError
from engine.reference import Reference, Voice

if TYPE_CHECKING:
    from torch import Tensor

SHORT_SPEED = 0.3
"""Pace of pieces under `text.SHORT_BYTES`, as in upstream's `infer_batch_process`."""
SPEEDS = (0.3, 3.0)


@dataclasses.dataclass(frozen=True)
class Request:
    """What `Engine.synthesize` takes, for `Engine.synthesize_batch`.

    Args:
        words, voice, seed, speed: as there.
    """

    words: str
    voice: Voice | str | None = None
    seed: int = 0
    speed: float = 1.0

    def check(self) -> None:
        """Refuse a seed or a speed that cannot be used.

        Raises:
            OptionsError: out of range, or no number.
        """
        seed: Any = self.seed
        speed: Any = self.speed
        whole = isinstance(seed, numbers.Integral) and not isinstance(seed, bool)
        if not whole or not 0 <= seed < 2**62:
            raise OptionsError(f"seed={seed!r}", "a whole number from 0 to 2**62", "Pass one")
        number = isinstance(speed, numbers.Real) and not isinstance(speed, bool)
        if not number or not SPEEDS[0] <= speed <= SPEEDS[1]:
            raise OptionsError(
                f"speed={speed!r}", f"a number from {SPEEDS[0]} to {SPEEDS[1]}", "Choose one in that range"
            )


def pick(known: dict[str, Voice], voice: Voice | str | None) -> Voice:
    """The voice that a request names, of those that came with the checkpoint, or brings along.

    Raises:
        OptionsError: an unknown name, or no voice at all.
    """
    if voice is None:
        return next(iter(known.values()))
    if isinstance(voice, str):
        if voice not in known:
            raise OptionsError(
                f"voice {voice!r}",
                f"one of {', '.join(known)}",
                "Name one, or pass engine.Voice(clip, words)",
            )
        return known[voice]
    if not isinstance(voice, Voice):
        raise OptionsError(
            f"voice of type {type(voice).__name__}", "an engine.Voice or the name of one", "Pass one"
        )
    return voice


@dataclasses.dataclass(frozen=True)
class Piece:
    """One stretch of text, ready to sample."""

    words: str
    tokens: Tensor  # [1, nt]
    frames: int  # reference and generated together


@dataclasses.dataclass(frozen=True)
class Planner:
    """Splits texts, and says how long each piece takes.

    Attributes:
        vocabulary: token -> index.
        durations: the voice's table, where it has one.
        device: where tokens are wanted.
        max_seconds: longest reference plus generated piece.
        split: (words, bytes of a piece at most) -> pieces.
    """

    vocabulary: dict[str, int]
    durations: Durations | None
    device: str
    max_seconds: float
    split: Callable[[str, int], list[str]]

    def plan(self, words: str, reference: Reference, speed: float) -> list[Piece]:
        """Pieces of `words`, none of which with its reference passes the checkpoint's longest sequence."""
        room = self.max_seconds - reference.seconds
        pace = len(text.finish_reference(reference.text).encode()) / reference.seconds
        limit = max(1, int(pace * room * speed))
        pieces = (piece.strip() for piece in self.split(words, limit))
        return [self.piece(piece, reference, speed) for piece in pieces if piece]

    def longest(self, reference: Reference) -> int:
        """Frames of the longest sequence that the checkpoint was trained on."""
        return int(self.max_seconds * reference.frames / reference.seconds)

    def piece(self, words: str, reference: Reference, speed: float) -> Piece:
        """Tokens of transcript and words, and the frames that both take."""
        opening = text.finish_reference(reference.text)
        if self.durations is None:
            tokens = upstream.tokenize(opening + words)
            units, said = len(opening.encode()), len(words.encode())
            pace = SHORT_SPEED if said < text.SHORT_BYTES else speed
            frames = reference.frames + text.estimate_frames(units, reference.frames, said, pace)
        else:
            tokens = self.durations.spread(
                upstream.tokenize(opening), reference.frames, upstream.tokenize(words), speed
            )
            frames = len(tokens)
        # Upstream's own floor: at least one frame more than the tokens and than the reference.
        frames = max(frames, max(len(tokens), reference.mel.shape[1]) + 1)
        return Piece(words, upstream.token_ids(tokens, self.vocabulary).to(self.device), frames)
