"""The situations in which the gate is tried, and what is demanded of it in each: data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tests.studies.simulate import MACHINES, Calls, Noise


@dataclasses.dataclass(frozen=True)
class Target:
    """What a rate must satisfy; `bound_at_most` is about its upper 95 % bound."""

    at_most: float = 1.0
    at_least: float = 0.0
    bound_at_most: float = 1.0


Asks: TypeAlias = "tuple[tuple[str, Target | None], ...]"
"""Event name (a key of EVENTS) and its target; None where the rate is only reported."""


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One simulated situation and what is asked of it.

    Attributes:
        noise: of process medians, or of calls where the tails are judged.
        change: how much slower the candidate is in every workload (0.2: 20 %).
        asks: which rates, against which targets.
    """

    noise: Noise | Calls
    change: float
    blocks_max: int
    runs: int
    asks: Asks

    @property
    def name(self) -> str:
        """Says everything that makes the scenario; also seeds it."""
        if isinstance(self.noise, Calls):
            fault = f", every {self.noise.slow_every}th call +50 %" if self.noise.slow_every else ""
            return f"tails: {self.noise.calls} calls of CV {self.noise.cv:.1%} {self.noise.shape}{fault}"
        noise = f"CV {self.noise.cv:.1%} {self.noise.shape}, {self.noise.machine}"
        return f"{self.change:+.0%}, {noise}, {self.blocks_max} blocks"


EVENTS: Mapping[str, Callable[[NDArray[np.str_]], NDArray[np.bool_]]] = {
    "any FASTER or SLOWER": lambda v: ((v == "FASTER") | (v == "SLOWER")).any(axis=-1),
    "FASTER": lambda v: v[:, 0] == "FASTER",
    "any FASTER": lambda v: (v == "FASTER").any(axis=-1),
    "any SAME": lambda v: (v == "SAME").any(axis=-1),
    "all SAME": lambda v: (v == "SAME").all(axis=-1),
    "SLOWER": lambda v: v[:, 0] == "SLOWER",
    "SAME": lambda v: v[:, 0] == "SAME",
    "UNDECIDED": lambda v: v[:, 0] == "UNDECIDED",
}
"""What a run may say, [runs, workloads] -> [runs]; without any or all it is about the first workload."""

FALSE_ALARM = ("any FASTER or SLOWER", Target(at_most=0.01, bound_at_most=0.015))
WRONG_WAY: Asks = (("FASTER", Target(at_most=1e-4)), ("any FASTER", Target(at_most=1e-4)))
"""Of a verdict and of a whole run."""
FALSE_SAME = ("SAME", Target(at_most=0.05))
CVS = (0.015, 0.05, 0.16)
CURVES = ((0.015, 10), (0.05, 10), (0.05, 20), (0.16, 30))
CHANGES = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.10, 0.12, 0.15, 0.20, 0.25, 0.30)
THROTTLES = tuple(name for name in MACHINES if name.startswith("throttle"))


def scenarios() -> list[Scenario]:
    """Every situation of the report."""
    return [*_unchanged(), *_power(), *_wrong_way(), *_tails()]


def _unchanged() -> Iterator[Scenario]:
    """A/A runs: no alarm on any noise, and SAME where the noise allows it."""
    asks: Asks = (FALSE_ALARM, ("SAME", None), ("all SAME", None), ("UNDECIDED", None))
    others = [
        ("heavy", "steady"),
        ("skewed", "steady"),
        *(("gaussian", m) for m in MACHINES if m != "steady"),
    ]
    for cv in CVS:
        for blocks in (3, 10, 30):
            yield Scenario(Noise(cv), 0.0, blocks, 20_000, asks)
        for shape, machine in others:
            yield Scenario(Noise(cv, shape, machine), 0.0, 10, 20_000, asks)
    enough = Target(at_least=0.90)
    for shape, target in (("gaussian", enough), ("heavy", enough), ("skewed", None)):
        same: Asks = (FALSE_ALARM, ("SAME", target), ("all SAME", target), ("UNDECIDED", None))
        yield Scenario(Noise(0.05, shape), 0.0, 20, 20_000, same)


def _power() -> Iterator[Scenario]:
    """Slow-downs that must be seen, and what other noise and throttling leave of that."""
    for cv, change, blocks, least in ((0.05, 0.20, 10, 0.99), (0.05, 0.10, 20, 0.95), (0.16, 0.20, 30, 0.90)):
        for shape, machine in (
            ("gaussian", "steady"),
            ("heavy", "steady"),
            ("skewed", "steady"),
            ("gaussian", "drift"),
        ):
            required = machine == "steady" and shape != "skewed"
            seen: Asks = (("SLOWER", Target(at_least=least) if required else None), *WRONG_WAY)
            yield Scenario(Noise(cv, shape, machine), change, blocks, 20_000, seen)
    throttled: Asks = (("SLOWER", None), ("UNDECIDED", None), *WRONG_WAY, ("any SAME", Target(at_most=0.01)))
    for machine in THROTTLES:
        yield Scenario(Noise(0.015, "gaussian", machine), 0.20, 10, 40_000, throttled)


def _wrong_way() -> Iterator[Scenario]:
    """True slow-downs of 5 % and more must be called neither FASTER nor, beyond the agreed rate, SAME."""
    asks: Asks = (*WRONG_WAY, FALSE_SAME, ("SLOWER", None))
    for cv in CVS:
        runs = 480_000 if cv == max(CVS) else 40_000  # only there is the rate large enough to need so many
        for shape, machine in (("heavy", "steady"), *(("gaussian", m) for m in THROTTLES)):
            yield Scenario(Noise(cv, shape, machine), 0.05, 10, runs, asks)
        for change, blocks in ((0.05, 10), (0.05, 20), (0.05, 30), (0.10, 10)):
            yield Scenario(Noise(cv), change, blocks, 40_000, asks)


def _tails() -> Iterator[Scenario]:
    """Every 20th call 50 % slower, by calls per process and workload; the median sees none of it."""
    for shape, cv in (("gaussian", 0.05), ("heavy", 0.05), ("gaussian", 0.15)):
        yield Scenario(Calls(20, cv, shape), 0.0, 10, 4_000, (FALSE_ALARM,))
        for calls in (6, 10, 20, 30):
            required = calls >= 20 and cv < 0.1
            seen: Asks = (("SLOWER", Target(at_least=0.95) if required else None),)
            yield Scenario(Calls(calls, cv, shape, slow_every=20), 0.0, 10, 1_000, seen)
