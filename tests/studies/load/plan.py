"""What the clients of one phase do: how many, how they arrive, for how long, and what they say."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

from pydantic import model_validator

from engine.gate.data.texts import CASES
from engine.gate.data.workloads import Frozen, NonNegative, Positive

ROUTES = ("/api/tts", "/api/tts/stream")
MOST = 20_000
"""Requests of a phase, whatever its plan says."""
CHAT = tuple(case for case in CASES if case.language == "en" and case.kind != "long")
"""The pinned texts that are as long as a chat message: 24 to 75 letters."""


class Said(Frozen):
    """One request: where it goes, and what is to be said."""

    route: str
    text: str
    seed: int


class Plan(Frozen):
    """A phase of clients, handed to their process as JSON.

    Attributes:
        name: of the phase.
        arrivals: closed (each client asks again once it was answered) or open (requests arrive at random
            moments, however slowly they are answered).
        clients: of a closed phase; they all begin at once.
        seconds: no request begins later; those that run by then are waited for.
        each: requests of one client at most; 0: as many as fit into the seconds.
        rate: arrivals a second, of an open phase.
        streamed: share of the requests that ask for a stream.
        patience: seconds that a client waits for an answer before it counts as lost.
        seed: of the order of texts and of the moments of arrival.
    """

    name: str
    arrivals: Literal["closed", "open"] = "closed"
    clients: int = 1
    seconds: Positive
    each: int = 0
    rate: NonNegative = 0.0
    streamed: NonNegative = 0.0
    patience: Positive = 60.0
    seed: int = 0

    @model_validator(mode="after")
    def _open_needs_a_rate(self) -> Plan:
        if (self.arrivals == "open") != (self.rate > 0):
            raise ValueError("an open phase has a rate, a closed one has none")
        return self

    def script(self, client: int = 0) -> Iterator[Said]:
        """What a client asks for, one after the other: every text once before one comes again."""
        chance = random.Random(f"{self.seed} {client}")
        number = 0
        while True:
            for case in chance.sample(CHAT, len(CHAT)):
                route = ROUTES[chance.random() < self.streamed]
                yield Said(route=route, text=case.text, seed=1000 * client + number)
                number += 1

    @property
    def turns(self) -> int:
        """Requests of one client of a closed phase at most."""
        return min(self.each or MOST, max(1, MOST // self.clients))

    def moments(self) -> list[float]:
        """When requests arrive in an open phase, in seconds from its start (a Poisson process)."""
        chance = random.Random(self.seed)
        at, found = chance.expovariate(self.rate), []
        while at < self.seconds and len(found) < MOST:
            found.append(at)
            at += chance.expovariate(self.rate)
        return found
