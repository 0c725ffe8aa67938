"""What the quality pass obtained and what the judges said of it, as data: raw, to be judged again."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.gate.data.scores import Distances, Scores
from engine.gate.data.workloads import Frozen, Name, NonNegative, Positive, Sha256

Kind = Literal["case", "timed", "again", "other seed", "other voice", "repeat", "fresh"]
"""Judged: a pinned case, or a call of the timed processes. Second pass: such a request again, or with one
thing changed. Last: requests that were answered before, in turn with new ones of the same length."""
Trouble = Literal["another length", "base not finite", "candidate not finite", "too short", "not kept"]
"""Why two waves have no distance."""


class Spoken(Frozen):
    """One answer: what was asked, the hash of what came back, wall seconds, and seconds of audio."""

    name: Name
    kind: Kind
    text: str
    voice: Name
    seed: Annotated[int, Field(ge=0)]
    output: Sha256
    seconds: Positive
    audio_seconds: Positive

    @property
    def judged(self) -> bool:
        """Whether the judges hear it."""
        return self.kind in ("case", "timed")


class Stray(Frozen):
    """Bytes that should have been others: two processes, or two calls, gave other answers to one request.

    `expected` is the first answer to the same request (its name and seed). `mel_l2` is the relative distance
    from it; None where the two cannot be compared: another length, or samples not finite or not kept.
    """

    name: Name
    kind: Literal["timed", "again"]
    seed: Annotated[int, Field(ge=0)]
    output: Sha256
    expected: Sha256
    mel_l2: NonNegative | None


class TimedChange(Frozen):
    """A timed request that base and candidate answered with other bytes, and how far these are apart.

    Either the relative distance `mel_l2` is known, or the `trouble` says why it is not.
    """

    workload: Name
    seed: Annotated[int, Field(ge=0)]
    mel_l2: NonNegative | None = None
    trouble: Trouble | None = None

    @model_validator(mode="after")
    def _is_known_or_not(self) -> TimedChange:
        if (self.mel_l2 is None) == (self.trouble is None):
            raise ValueError("either a distance or the reason why there is none")
        return self


class Heard(Frozen):
    """One arm: every answer in the order in which it was given, the judges' scores by name, stray bytes."""

    spoken: Annotated[tuple[Spoken, ...], Field(min_length=1)]
    scores: dict[str, Scores]
    strays: tuple[Stray, ...] = ()

    @model_validator(mode="after")
    def _scores_belong_to_what_was_spoken(self) -> Heard:
        outputs = {name: answer.output for name, answer in self.judged.items()}
        if {name: scores.output for name, scores in self.scores.items()} != outputs:
            raise ValueError("the judged outputs are not those that were spoken")
        if len(self.of("repeat")) != len(self.of("fresh")):
            raise ValueError("a repeat without the new request that it is compared with")
        return self

    @property
    def judged(self) -> dict[str, Spoken]:
        """The answers that the judges heard, by name."""
        return {answer.name: answer for answer in self.spoken if answer.judged}

    def of(self, kind: Kind) -> tuple[Spoken, ...]:
        """The answers of one kind, in their order."""
        return tuple(answer for answer in self.spoken if answer.kind == kind)


class Quality(Frozen):
    """Both arms, and how far the candidate's outputs are from the base's by name (same words, same seed).

    `seed` is that of the second pass, `missing` which judges could not be opened and why, `skipped` which
    cases were left out and why. `timed` has every timed request whose bytes differ between the arms. Scores
    depend on the `recogniser`.
    """

    seed: Annotated[int, Field(ge=0)]
    recogniser: Name
    base: Heard
    candidate: Heard
    distances: dict[str, Distances] = Field(default_factory=dict)
    timed: tuple[TimedChange, ...] = ()
    missing: dict[str, str] = Field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _arms_were_asked_the_same(self) -> Quality:
        asked = [
            [(answer.name, answer.kind, answer.text, answer.voice, answer.seed) for answer in arm.spoken]
            for arm in (self.base, self.candidate)
        ]
        if asked[0] != asked[1]:
            raise ValueError("base and candidate were not asked the same")
        return self
