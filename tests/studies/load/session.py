"""A load session, top to bottom: alone, with and without batching, all at once, and at 70 % for minutes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import httpx
import numpy as np

from engine.options import Options
from tests.studies import committed
from tests.studies.load import clients
from tests.studies.load.plan import CHAT, Plan
from tests.studies.load.record import SCHEMA_VERSION, Limits, Memory, Overhead, Phase, Record
from tests.studies.load.service import Service, started

REST_SECONDS = 5.0
WARM = 3
CROWD = 200
STREAMED = 0.25
"""Share of the requests that ask for a stream, where both are asked for."""
DEADLINE_SECONDS = 30.0
"""Of the service: what is not spoken by then gets 504. It is what the service has by default."""


def measure(
    checkpoint: str,
    options: Options,
    limits: Limits,
    *,
    minutes: float = 2.0,
    closed_seconds: float = 20.0,
    at_once: int = 8,
    crowd: int = CROWD,
    pairs: int = 30,
    say: Callable[[str], None] = lambda _: None,
) -> Record:
    """Measure the service on this machine.

    Args:
        minutes: of open arrivals, over which memory is watched.
        closed_seconds: of each phase of closed clients.
        at_once: closed clients.
        crowd: clients that all ask once, at the same moment.
        pairs: of `synthesize` and the service, for the overhead.
        say: told what begins.

    Raises:
        EngineError: the engine or the service does not start, or the clients fail.
    """
    settings = {"checkpoint": checkpoint, "preset": "reference", "deadline_seconds": DEADLINE_SECONDS}
    settings["toggles"] = {name: value for name, value in options.changed().items() if name != "batch"}
    closed = Plan(name=f"{at_once} clients, together", clients=at_once, seconds=closed_seconds)
    say("one request after the other, without batching")
    with started({**settings, "batch": 1}) as service:
        alone = overhead(service, checkpoint, options, pairs)
        single = phase(closed.model_copy(update={"name": f"{at_once} clients, one by one"}), 1, service)
        first = [service.first_speech_seconds]
    say("with batching")
    with started({**settings, "batch": at_once}) as service:
        first.append(service.first_speech_seconds)
        batched = phase(closed, at_once, service)
        say(f"{crowd} at once")
        burst = Plan(
            name=f"{crowd} at once", clients=crowd, seconds=60.0, each=1, streamed=STREAMED, patience=180.0
        )
        together = phase(burst, at_once, service)
        rate = limits.load * batched.per_minute / 60
        arrivals = Plan(
            name=f"open, {100 * limits.load:.0f} % load",
            arrivals="open",
            seconds=60 * minutes,
            rate=rate,
            streamed=STREAMED,
        )
        say(f"{minutes:g} minutes at {60 * rate:.0f} requests a minute")
        steady, memory = watched(arrivals, at_once, service)
    return Record(
        **committed.provenance(SCHEMA_VERSION, checkpoint),
        options=str(options),
        deadline_seconds=DEADLINE_SECONDS,
        limits=limits,
        first_speech_seconds=tuple(first),
        overhead=alone,
        phases=(single, batched, together, steady),
        memory=memory,
    )


def phase(plan: Plan, batch: int, service: Service) -> Phase:
    """One phase of clients."""
    return Phase.of(plan, batch, clients.run(plan, service.url))


def overhead(service: Service, checkpoint: str, options: Options, pairs: int) -> Overhead:
    """The same chat messages by `synthesize` in this process and through the service, in random order."""
    import engine

    order = np.random.default_rng(0)
    spent: tuple[list[float], list[float]] = ([], [])
    with engine.load(checkpoint, options) as tts, httpx.Client(base_url=service.url, timeout=60) as client:

        def direct(text: str, seed: int) -> object:
            return tts.synthesize(text, seed=seed).encode("wav")

        def served(text: str, seed: int) -> object:
            return client.post("/api/tts", json={"text": text, "seed": seed}).raise_for_status()

        for number in range(WARM + pairs):
            text = CHAT[number % len(CHAT)].text
            for index in order.permutation(2):
                begun = time.perf_counter()
                (direct, served)[index](text, number)
                if number >= WARM:
                    spent[index].append(time.perf_counter() - begun)
    return Overhead.of(*spent)


def watched(plan: Plan, batch: int, service: Service) -> tuple[Phase, Memory]:
    """A phase whose memory is watched: at rest before and after, and its peak while it runs."""
    ended = threading.Event()
    seen: list[float] = []

    def watch() -> None:
        while not ended.wait(1.0):
            seen.append(service.memory_mib())

    time.sleep(REST_SECONDS)
    before = service.memory_mib()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        found = phase(plan, batch, service)
    finally:
        ended.set()
        watcher.join()
    time.sleep(REST_SECONDS)
    after = service.memory_mib()
    peak = max([before, after, *seen])
    return found, Memory(before_mib=before, after_mib=after, peak_mib=peak, seconds=plan.seconds)
