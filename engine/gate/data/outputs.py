"""What the quality pass obtained and what the judges said of it, as data: raw, to be judged again."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.gate.data.scores import Distances, Scores
from engine.gate.data.workloads import Frozen, Name, NonNegative, Positive, Sha256

Kind = Literal["case", "timed", "again", "other seed", "other voice"]
"""First pass: a pinned case, or a sentence that was timed. Second pass: the same request again, or with one
thing changed."""


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
    def first(self) -> bool:
        """Whether it belongs to the first pass, which is judged."""
        return self.kind in ("case", "timed")


class Stray(Frozen):
    """Bytes that should have been others: a timed output that was not spoken again, or a repeat that differs.

    `mel_l2` is its relative distance from the output of the same request that was judged; None where the two
    cannot be compared: another length, or samples that are not finite or not kept.
    """

    name: Name
    kind: Literal["timed", "again"]
    output: Sha256
    judged: Sha256
    mel_l2: NonNegative | None


class Heard(Frozen):
    """One arm: every answer in the order in which it was given, the judges' scores of the first pass by name,
    and stray bytes."""

    spoken: Annotated[tuple[Spoken, ...], Field(min_length=1)]
    scores: dict[str, Scores]
    strays: tuple[Stray, ...] = ()

    @model_validator(mode="after")
    def _scores_belong_to_what_was_spoken(self) -> Heard:
        outputs = {name: one.output for name, one in self.first.items()}
        if {name: scores.output for name, scores in self.scores.items()} != outputs:
            raise ValueError("the judged outputs are not those that were spoken")
        return self

    @property
    def first(self) -> dict[str, Spoken]:
        """The answers of the first pass by name."""
        return {one.name: one for one in self.spoken if one.first}

    def second(self, kind: Kind) -> tuple[Spoken, ...]:
        """The answers of one kind in the second pass."""
        return tuple(one for one in self.spoken if one.kind == kind)


class Quality(Frozen):
    """Both arms, and how far the candidate's outputs are from the base's by name (same words, same seed).

    `seed` is that of the second pass, `missing` which judges could not be opened and why, `skipped` which
    cases this checkpoint does not speak. Scores depend on the `recogniser`.
    """

    seed: Annotated[int, Field(ge=0)]
    recogniser: Name
    base: Heard
    candidate: Heard
    distances: dict[str, Distances] = Field(default_factory=dict)
    missing: dict[str, str] = Field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _arms_were_asked_the_same(self) -> Quality:
        asked = [
            [(one.name, one.kind, one.text, one.voice, one.seed) for one in arm.spoken]
            for arm in (self.base, self.candidate)
        ]
        if asked[0] != asked[1]:
            raise ValueError("base and candidate were not asked the same")
        return self
