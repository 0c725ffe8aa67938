"""What the toggles were seen to do. Observations are made while synthesizing and never read from the
options."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from typing import Any


@dataclasses.dataclass(frozen=True)
class Evidence:
    """One toggle's proof.

    Attributes:
        proven: whether what was seen agrees with the option: on and seen to work, or off and seen to leave no
            trace.
            None where nothing could be observed yet.
        observed: what was seen, in words.
    """

    proven: bool | None
    observed: str


class Observations:
    """Counts kept by one engine while it works; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.evaluations: set[int] = set()
        self.times: tuple[Any, ...] = ()

    def add(self, what: str, times: int = 1) -> None:
        """Count one more of `what`."""
        with self._lock:
            self.counts[what] += times

    def sampled(self, times: list[Any], dtypes: set[str]) -> None:
        """Record one sampled piece: when the flow was evaluated and the number formats it came in.

        The times stay tensors until somebody asks, so that a GPU is not made to wait for them.
        """
        with self._lock:
            self.counts["pieces"] += 1
            self.counts["evaluations"] += len(times)
            self.evaluations.add(len(times))
            self.times = tuple(times)
            self.counts.update(f"transformer {dtype}" for dtype in dtypes)

    def dtypes(self, part: str) -> set[str]:
        """Number formats that matrix products of `part` gave."""
        with self._lock:
            return {name.split()[1] for name in self.counts if name.startswith(f"{part} ")}
