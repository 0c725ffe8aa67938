"""The plan cut to the budget before it starts: how many blocks, rounds and processes the time holds."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from engine.errors import UsageError
from engine.gate.data.workloads import SENTENCES, Sentence
from engine.gate.measure.memory import holds_four
from engine.gate.stats.looks import Plan, can_fire

WARMUP = 2
"""Calls of each workload in each process that do not count. `stats.calls.settled` checks that it was
enough."""
MIN_ROUNDS, MAX_ROUNDS = 6, 20
"""Calls of one workload in one process. From `MAX_ROUNDS` on, the noise between processes dominates."""
MARGIN = 0.9
"""Share of the budget that is planned for."""
EXPECTED_NOISE = 0.05
"""Of a block's log-ratio, where nothing better is known: an ordinary machine with other programs on it."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to measure and how long.

    Attributes:
        plan: blocks and error rates. It is cut to the budget before the first block.
        workloads: names of pinned sentences.
        budget_seconds: no block is begun that would end later.
        rounds: calls that count, of each workload in each process; None: as many as the budget holds.
        warmup: calls before them that do not; None: `WARMUP`.
        seed: of the order of calls.
        twins: processes of each arm in a block; None: two where memory holds four processes, else one.

    Raises:
        UsageError: no calls that count, or fewer than none that do not.
    """

    plan: Plan
    workloads: tuple[str, ...]
    budget_seconds: float
    rounds: int | None = None
    warmup: int | None = None
    seed: int = 0
    twins: Literal[1, 2] | None = None

    def __post_init__(self) -> None:
        if (self.rounds is not None and self.rounds < 1) or self.warmup_calls < 0:
            given = f"rounds={self.rounds}, warmup={self.warmup}"
            raise UsageError(given, "at least one round, and no negative warm-up", "Correct the number")

    @property
    def sentences(self) -> tuple[Sentence, ...]:
        """The sentences to speak, in their fixed order."""
        return tuple(sentence for sentence in SENTENCES if sentence.name in self.workloads)

    @property
    def warmup_calls(self) -> int:
        """Calls of each workload in each process that do not count."""
        return WARMUP if self.warmup is None else self.warmup


@dataclasses.dataclass(frozen=True)
class Price:
    """What one process of each arm cost: together to load, and for a round of every workload.

    The peaks are of memory, MiB, one for each arm; `device_mb` is the device's, None without one.
    """

    load_seconds: float
    round_seconds: float
    host_peaks_mb: tuple[float | None, ...] = ()
    device_peaks_mb: tuple[float | None, ...] = ()
    device_mb: float | None = None

    def block(self, twins: int, rounds: int) -> float:
        """Seconds of a block with so many processes of each arm and rounds, warm-up included."""
        return twins * (self.load_seconds + rounds * self.round_seconds)


@dataclasses.dataclass(frozen=True)
class Design:
    """The measurement as it will be: the plan that fits, processes of each arm, rounds, and what to say."""

    plan: Plan
    twins: int
    rounds: int
    notes: tuple[str, ...] = ()


def design(settings: Settings, price: Price, free_mb: float | None, spent: float) -> Design:
    """Fit the plan into what is left of the budget: first fewer rounds, then fewer blocks, never none.

    Args:
        settings: what was asked for.
        price: as the settling processes showed it.
        free_mb: host memory before they started; None where it is not known.
        spent: seconds of the budget that are gone.
    """
    twins = settings.twins or (
        2 if holds_four(price.host_peaks_mb, price.device_peaks_mb, free_mb, price.device_mb) else 1
    )
    left, warmup, whole = (
        MARGIN * settings.budget_seconds - spent,
        settings.warmup_calls,
        settings.plan.blocks_max,
    )

    def fitting(rounds: int) -> int:
        """Blocks that fit."""
        return int(left / max(price.block(twins, warmup + rounds), 1e-9))

    choices = range(MAX_ROUNDS, MIN_ROUNDS, -1)
    rounds = settings.rounds or next((rounds for rounds in choices if fitting(rounds) >= whole), MIN_ROUNDS)
    plan = dataclasses.replace(settings.plan, blocks_max=max(1, min(whole, fitting(rounds))))
    said = _said(settings, plan, twins, price.block(twins, warmup + rounds), spent)
    return Design(plan, twins, rounds, said)


def _said(settings: Settings, plan: Plan, twins: int, seconds: float, spent: float) -> tuple[str, ...]:
    """What people should know before they wait: a cut plan, one that can hardly decide, a missing control."""
    said = []
    if plan.blocks_max < settings.plan.blocks_max:
        blocks = f"{plan.blocks_max} block{'s' * (plan.blocks_max != 1)}"
        said.append(
            f"The budget of {settings.budget_seconds / 60:.0f} minutes holds {blocks} of "
            f"{settings.plan.blocks_max}, at {seconds:.0f} s each."
        )
    reach = can_fire(plan, EXPECTED_NOISE, controls=2 if twins == 2 else 0)
    if not reach.can_fire:
        cure = "Measure on a quieter machine."
        if reach.slower is not None:
            cure = f"Use --minutes {math.ceil((spent + reach.slower * seconds) / MARGIN / 60)}."
        said.append(f"This plan can hardly decide. {reach.reason} {cure}")
    if twins == 1:
        said.append("Memory holds one process of each arm, not two: there is no A/A control.")
    return tuple(said)
