"""Ballots: the files that the listening page saves, and the votes in them, unblinded.

A is the candidate and B the base, in that order everywhere. Each pair is heard as "first" and "second"; which
of them is the candidate follows from the sheet alone, so the page need not say it and a votes file cannot
change it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.errors import UsageError
from engine.gate.data.files import reason
from engine.gate.data.workloads import Frozen, Name, Sha256, sha256_of

Label = Annotated[str, Field(min_length=1, max_length=1000)]
Rating = Annotated[int, Field(ge=1, le=5)]
Comparison = Annotated[int, Field(ge=-3, le=3)]


class VotesError(UsageError):
    """A votes file is missing, unreadable, edited, or about another page. The gate exits 2."""


class Entry(Frozen):
    """One text spoken by both sides; `a` and `b` are the hashes of their float32 samples at 24 kHz."""

    name: Name
    text: str
    voice: str
    a: Sha256
    b: Sha256


class Sheet(Frozen):
    """What a page asks about: the labels of candidate (`a`) and base (`b`), and the pairs."""

    a: Label
    b: Label
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    pairs: Annotated[tuple[Entry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Sheet:
        name, count = Counter(pair.name for pair in self.pairs).most_common(1)[0]
        if count > 1:
            raise ValueError(f"the pair {name!r} is there {count} times")
        return self

    @property
    def id(self) -> str:
        """Hash of it all: what the page and the votes on it are known by."""
        return sha256_of(self.model_dump())

    def order(self) -> tuple[str, ...]:
        """Names in the order of the page: random, but the same wherever it is asked for."""
        return self._shuffled("place")

    def candidate_second(self) -> dict[str, bool]:
        """Whether the candidate is heard second, by pair: so it is in half of them, drawn at random."""
        return {name: bool(rank % 2) for rank, name in enumerate(self._shuffled("side"))}

    def _shuffled(self, purpose: str) -> tuple[str, ...]:
        page = self.id
        names = [pair.name for pair in self.pairs]
        return tuple(
            sorted(names, key=lambda name: hashlib.sha256(f"{purpose}/{page}/{name}".encode()).hexdigest())
        )


class Vote(Frozen):
    """One pair as it was heard.

    Attributes:
        comparison: the second against the first, from -3 (much worse) to 3: comparison category rating,
            ITU-T P.800 annex E.
        first, second: absolute category rating from 1 (bad) to 5 (excellent), ITU-T P.800 annex B.
        words: who says exactly the text.
    """

    pair: Name
    comparison: Comparison
    first: Rating
    second: Rating
    words: Literal["both", "first", "second", "neither", "unsure"]
    comment: Annotated[str, Field(max_length=2000)] = ""


class Ballot(Frozen):
    """The votes of one listener on one page; perhaps not on all of its pairs."""

    schema_version: Literal[1] = 1
    page: Sha256
    sheet: Sheet
    listener_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    listener: Annotated[str, Field(max_length=100)] = ""
    votes: Annotated[tuple[Vote, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_coherent(self) -> Ballot:
        if self.page != self.sheet.id:
            raise ValueError(f"the sheet is that of page {self.sheet.id[:12]}, not of {self.page[:12]}")
        voted = [vote.pair for vote in self.votes]
        known = {pair.name for pair in self.sheet.pairs}
        if unknown := [name for name in voted if name not in known]:
            raise ValueError(f"a vote on {unknown[0]!r}, which the page does not have")
        if len(set(voted)) < len(voted):
            raise ValueError("two votes on one pair")
        return self


@dataclasses.dataclass(frozen=True)
class Opinion:
    """One vote, unblinded. `preference` is above 0 where the candidate is the better one."""

    listener: str
    pair: str
    preference: int
    candidate: int
    base: int
    words: str

    @property
    def drop(self) -> int:
        """What the candidate loses against the base, in rating points."""
        return self.base - self.candidate


@dataclasses.dataclass(frozen=True)
class Votes:
    """The ballots of several listeners on one page."""

    sheet: Sheet
    ballots: tuple[Ballot, ...]

    @property
    def opinions(self) -> tuple[Opinion, ...]:
        """Every vote, unblinded."""
        second = self.sheet.candidate_second()
        return tuple(
            _opinion(ballot.listener_id, vote, second[vote.pair])
            for ballot in self.ballots
            for vote in ballot.votes
        )

    def check(self, candidate: Collection[str], base: Collection[str]) -> None:
        """Hold what was heard against the hashes of the outputs of both arms.

        Raises:
            VotesError: a pair was spoken by something else.
        """
        for pair in self.sheet.pairs:
            for arm, output, outputs in (("candidate", pair.a, candidate), ("base", pair.b, base)):
                if output not in outputs:
                    raise VotesError(
                        f"votes on the {arm}'s {pair.name!r} with output {output[:12]}",
                        f"votes on what this {arm} says",
                        "Make the page again from the same revision, toggles and checkpoint, and vote on it",
                    )


def read(paths: Path | Sequence[Path], page: str | None = None) -> Votes:
    """The votes in one or several files, all on one page.

    Args:
        paths: files that the page saved, one per listener.
        page: id of the page that they must be about; by default that of the first file.

    Raises:
        VotesError: missing, unreadable, edited, about another page, or one listener twice.
    """
    files = [paths] if isinstance(paths, Path) else list(paths)
    if not files:
        raise VotesError("no votes file", "at least one", "Name the files that the page saved")
    ballots: dict[str, tuple[Path, Ballot]] = {}
    for path in files:
        ballot = _ballot(path)
        page = page or ballot.page
        if ballot.page != page:
            raise VotesError(
                f"{path}: votes on page {ballot.page[:12]}", f"votes on page {page[:12]}", "Leave it out"
            )
        if ballot.listener_id in ballots:
            raise VotesError(
                f"{path} and {ballots[ballot.listener_id][0]}: the same listener",
                "one file for each listener",
                "Keep the later one",
            )
        ballots[ballot.listener_id] = path, ballot
    found = tuple(ballot for _, ballot in ballots.values())
    return Votes(found[0].sheet, found)


def _opinion(listener: str, vote: Vote, candidate_second: bool) -> Opinion:
    sides = (vote.second, vote.first) if candidate_second else (vote.first, vote.second)
    heard = (
        {"second": "candidate", "first": "base"}
        if candidate_second
        else {"first": "candidate", "second": "base"}
    )
    preference = vote.comparison if candidate_second else -vote.comparison
    return Opinion(listener, vote.pair, preference, *sides, heard.get(vote.words, vote.words))


def _ballot(path: Path) -> Ballot:
    """One file, checked against its own checksum."""
    try:
        envelope = json.loads(path.read_text(encoding="utf-8"))
        content, sha256 = envelope["ballot"], envelope["sha256"]
        if sha256_of(content) != sha256:
            raise VotesError(
                f"{path} does not match its checksum", "votes as the page saved them", "Download them again"
            )
        return Ballot.model_validate_json(json.dumps(content))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VotesError(
            f"votes {path}: {reason(error)}",
            "a file that the listening page saved",
            "Download the votes again from the page",
        ) from error
