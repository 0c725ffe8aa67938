"""Pinned inputs: what is spoken, in which voice, with which seed, and one hash over all of it.

A figure is only comparable with another of the same workload. A longer text once looked like a faster engine
(RTF falls with length), so two workloads are the same only when their content hashes are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from engine.errors import BaselineError, UsageError

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Frozen(BaseModel):
    """Base of the gate's data: immutable, strictly typed, no unknown fields, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def sha256_of(content: Any) -> str:
    """Hex SHA-256 of `content` as canonical JSON (sorted keys, no spaces, exact floats)."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Sentence(Frozen):
    """The part of a workload that lives in code: text, seed, and speed (1.0: as the reference)."""

    name: Name
    text: Annotated[str, Field(min_length=1)]
    seed: Annotated[int, Field(ge=0)] = 0
    speed: Positive = 1.0

    @property
    def sha256(self) -> str:
        """Hash of all that changes the result (so not of the name); the baselines pin it."""
        return sha256_of(self.model_dump(exclude={"name"}))


class Clip(Frozen):
    """Identity of a reference clip: a name for people, the hash of its audio bytes, and its transcript."""

    name: Name
    sha256: Sha256
    text: str

    @classmethod
    def of(cls, name: str, audio: bytes, text: str) -> Clip:
        """The identity of the clip whose file (or sample buffer) holds `audio`."""
        return cls(name=name, sha256=hashlib.sha256(audio).hexdigest(), text=text)


class Workload(Frozen):
    """A sentence spoken in a clip's voice by certain weights. Options are no part of it: they are judged."""

    sentence: Sentence
    clip: Clip
    weights_sha256: Sha256

    @property
    def name(self) -> str:
        """The sentence's name."""
        return self.sentence.name

    @property
    def sha256(self) -> str:
        """Hash over everything that changes the result: text, seed, speed, clip, its transcript, weights."""
        return sha256_of([self.sentence.sha256, self.clip.sha256, self.clip.text, self.weights_sha256])


SENTENCES: tuple[Sentence, ...] = (
    Sentence(name="short", text="Thanks for the gift, and welcome to the stream!"),
    Sentence(
        name="medium",
        text="Somebody asked how long we will be live tonight. I think we can stay for another hour or so.",
        seed=1,
    ),
    Sentence(
        name="long",
        text=(
            "Good evening, everybody, and thank you for coming back. Tonight we walk through the old market, "
            "taste a few things that I cannot name, and answer the questions that you left yesterday."
        ),
        seed=2,
    ),
)
"""The pinned set: a chat message, two sentences, and ten to fifteen seconds of speech. English only."""


def pinned(clip: Clip, weights_sha256: str, names: Iterable[str] | None = None) -> tuple[Workload, ...]:
    """The pinned workloads for one voice and one set of weights, in their fixed order.

    Raises:
        UsageError: a name in `names` is not pinned.
    """
    known = [sentence.name for sentence in SENTENCES]
    wanted = known if names is None else list(names)
    if unknown := [name for name in wanted if name not in known]:
        raise UsageError(f"workload {unknown[0]!r}", f"one of {', '.join(known)}", "Name a pinned workload")
    return tuple(
        Workload(sentence=sentence, clip=clip, weights_sha256=weights_sha256)
        for sentence in SENTENCES
        if sentence.name in wanted
    )


def check_pins(pins: Mapping[str, str], where: str, sentences: Iterable[Sentence] = SENTENCES) -> None:
    """Compare the hashes that the file `where` pins with the sentences in code.

    Raises:
        BaselineError: a pinned workload has vanished or changed, or one in code is not pinned.
    """
    found = {sentence.name: sentence.sha256 for sentence in sentences}
    check_same(pins, found, where, "this code")
    if new := sorted(found.keys() - pins.keys()):
        raise BaselineError(
            f"workload {new[0]!r} is not in {where}",
            "every workload pinned by its hash",
            f'Add {found[new[0]]} to its "workloads"',
        )


def check_same(before: Mapping[str, str], after: Mapping[str, str], old: str, new: str) -> None:
    """Refuse to compare unless every workload of `before` (name to hash) is in `after` with the same hash.

    Raises:
        BaselineError: a workload vanished or its content changed; the message names it.
    """
    for name, sha256 in before.items():
        if name not in after:
            raise BaselineError(
                f"workload {name!r} of {old} has vanished from {new}",
                "the same workloads on both sides",
                "Put it back, or drop it from the baseline on purpose and record again",
            )
        if after[name] != sha256:
            raise BaselineError(
                f"workload {name!r} changed between {old} ({sha256[:12]}) and {new} ({after[name][:12]})",
                "the same text, reference clip, seed, speed and weights on both sides",
                "Undo the change, or give it a new name; different workloads are never compared",
            )
