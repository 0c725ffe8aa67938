"""The record of a load session: what was measured, the limits it is held to, and which of them it breaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from engine.gate.data.workloads import Frozen, NonNegative, Positive
from tests.studies.load.clients import Sample
from tests.studies.load.plan import ROUTES, Plan

SCHEMA_VERSION = 1
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=0)]


class Limits(Frozen):
    """What a session fails on; the aim is what is shown beside it.

    Attributes:
        requests_per_minute: fewer spoken by closed clients is too slow.
        aim_per_minute: what it should reach.
        failed: requests that got neither audio nor 429.
        growth_mib: memory at rest after the open arrivals, above that before them.
        overhead_ms, overhead_share: of a request through the service above the same `synthesize`; one of both
            must hold.
        first_speech_seconds: from the command to the first audio, of the last start: by then the machine has
            the files in its memory.
        load: share of what closed clients reach that arrives in the open phase, where the 95th percentile of
            the latency stays under the service's deadline.
    """

    requests_per_minute: Positive = 10.0
    aim_per_minute: Positive = 60.0
    failed: Count = 0
    growth_mib: Positive = 4.0
    overhead_ms: Positive = 10.0
    overhead_share: Share = 0.05
    first_speech_seconds: Positive = 5.0
    load: Share = 0.7


class Phase(Frozen):
    """What the clients of a phase got. Latencies are those of spoken requests, from when each was due.

    Attributes:
        asked: requests that left a line; `lost` left none.
        spoken, refused, failed: got audio, got 429, got neither.
        per_minute: spoken, by the time from the first to the last answer.
        first_p50, first_p95: seconds to the first byte of a stream; None without streams.
    """

    plan: Plan
    batch: int
    asked: Count
    spoken: Count
    refused: Count
    failed: Count
    lost: Count
    per_minute: NonNegative
    p50: NonNegative | None
    p95: NonNegative | None
    p99: NonNegative | None
    first_p50: NonNegative | None = None
    first_p95: NonNegative | None = None
    failures: tuple[str, ...] = ()

    @classmethod
    def of(cls, plan: Plan, batch: int, samples: Sequence[Sample]) -> Phase:
        """The figures of these requests."""
        spoken = [sample for sample in samples if sample.spoken]
        failed = [sample for sample in samples if not sample.spoken and not sample.refused]
        latencies = [sample.seconds for sample in spoken]
        first = [s.first for s in spoken if s.route == ROUTES[1] and s.first is not None]
        lasted = max((sample.at + sample.seconds for sample in samples), default=0.0)
        told = sorted({f"{sample.route}: {sample.error or sample.status}" for sample in failed})
        return cls(
            plan=plan,
            batch=batch,
            asked=len(samples),
            spoken=len(spoken),
            refused=sum(sample.refused for sample in samples),
            failed=len(failed),
            lost=max(0, expected(plan) - len(samples)),
            per_minute=60 * len(spoken) / lasted if lasted else 0.0,
            p50=percentile(latencies, 50),
            p95=percentile(latencies, 95),
            p99=percentile(latencies, 99),
            first_p50=percentile(first, 50),
            first_p95=percentile(first, 95),
            failures=tuple(told[:5]),
        )


class Overhead(Frozen):
    """The same requests by `synthesize` and through the service, in turn: medians, in milliseconds.

    Attributes:
        added_ms: median of the paired differences.
        low_ms, high_ms: its 95 % interval, by order statistics.
    """

    pairs: Count
    direct_ms: Positive
    service_ms: Positive
    added_ms: float
    low_ms: float
    high_ms: float

    @classmethod
    def of(cls, direct: Sequence[float], service: Sequence[float]) -> Overhead:
        """From seconds, pair by pair."""
        added = np.sort(1000 * (np.asarray(service) - np.asarray(direct)))
        reach = 0.98 * np.sqrt(len(added))  # half the width of the interval, in ranks
        low, high = (int(np.clip(len(added) / 2 + way * reach, 0, len(added) - 1)) for way in (-1, 1))
        return cls(
            pairs=len(added),
            direct_ms=1000 * float(np.median(direct)),
            service_ms=1000 * float(np.median(service)),
            added_ms=float(np.median(added)),
            low_ms=float(added[low]),
            high_ms=float(added[high]),
        )


class Memory(Frozen):
    """Memory of the service's processes that is theirs alone (USS), at rest before and after the arrivals."""

    before_mib: Positive
    after_mib: Positive
    peak_mib: Positive
    seconds: Positive

    @property
    def growth_mib(self) -> float:
        """What stayed."""
        return self.after_mib - self.before_mib


class Record(Frozen):
    """One session: `baselines/load.json`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    timestamp: str
    revision: str
    machine: str
    checkpoint: str
    options: str
    deadline_seconds: Positive
    limits: Limits
    first_speech_seconds: Annotated[tuple[Positive, ...], Field(min_length=1)]
    overhead: Overhead
    phases: tuple[Phase, ...]
    memory: Memory

    def broken(self) -> list[str]:
        """One sentence for each limit that does not hold."""
        limits, memory, began = self.limits, self.memory, self.first_speech_seconds[-1]
        allowed = max(limits.overhead_ms, limits.overhead_share * self.overhead.direct_ms)
        added = self.overhead.added_ms
        found = [sentence for phase in self.phases for sentence in self._broken_by(phase)]
        if memory.growth_mib > limits.growth_mib:
            found.append(
                f"memory at rest grew by {memory.growth_mib:.1f} MiB, over {limits.growth_mib:g} MiB"
            )
        if added > allowed:
            found.append(f"a request costs {added:.1f} ms more than synthesize, over {allowed:.1f} ms")
        if began > limits.first_speech_seconds:
            found.append(f"first speech after {began:.1f} s, over {limits.first_speech_seconds:g} s")
        return found

    def _broken_by(self, phase: Phase) -> Iterator[str]:
        """The limits that a phase breaks."""
        name, least = phase.plan.name, self.limits.requests_per_minute
        if phase.failed > self.limits.failed or phase.lost:
            told = f" ({', '.join(phase.failures)})" if phase.failures else ""
            yield f"{name}: {phase.failed} failed and {phase.lost} lost{told}"
        if phase.spoken == 0:
            yield f"{name}: nothing was spoken"
        elif phase.plan.arrivals == "open":
            if phase.refused:
                yield f"{name}: {phase.refused} refused, expected none"
            if phase.p95 is not None and phase.p95 > self.deadline_seconds:
                yield f"{name}: p95 {phase.p95:.2f} s, over the deadline of {self.deadline_seconds:g} s"
        elif not phase.plan.each and phase.per_minute <= least:
            yield f"{name}: {phase.per_minute:.0f} requests a minute, expected more than {least:.0f}"


def expected(plan: Plan) -> int:
    """How many requests a plan surely has; 0 where that depends on how fast they are answered."""
    return len(plan.moments()) if plan.arrivals == "open" else plan.clients * plan.each


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` percent of the values do not exceed; None without values."""
    return float(np.percentile(values, share, method="inverted_cdf")) if values else None
