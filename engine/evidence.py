"""What the toggles were seen to do. Observations are made while synthesizing and never read from the
options."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Sequence
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


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One evaluation of the flow, as it ran.

    Attributes:
        time: when, from 0 (noise) to 1; a tensor until somebody asks, so that a GPU is not made to wait.
        step: index of the solver's step it belongs to.
        halves: for each call of the transformer, how many halves of the guidance went through it.
    """

    time: Any
    step: int
    halves: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Batch:
    """The shape of what the transformer gave, and of what was put into it.

    Attributes:
        size: sequences, without the copies that guidance makes.
        length: frames of each as the transformer saw them.
        longest: frames of the longest sequence before it was padded.
        masked: whether all padding in it was masked wherever frames meet; true where there was none.
    """

    size: int
    length: int
    longest: int
    masked: bool


class Observations:
    """Counts kept by one engine while it works; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.evaluations: set[int] = set()
        self.last: tuple[Evaluation, ...] = ()
        self.batches: set[Batch] = set()

    def add(self, what: str, times: int = 1) -> None:
        """Count one more of `what`."""
        with self._lock:
            self.counts[what] += times

    def note(self, what: str, value: int) -> None:
        """Set a count to what it is by now."""
        with self._lock:
            self.counts[what] = value

    def most(self, what: str, value: int) -> None:
        """Raise a count to what was seen, if that is more."""
        with self._lock:
            self.counts[what] = max(self.counts[what], value)

    def sampled(
        self, evaluations: Sequence[Evaluation], dtypes: set[str], batch: Batch | None = None
    ) -> None:
        """Record one sampled batch: each evaluation of the flow, the number formats it came in, its shape."""
        with self._lock:
            if batch is not None:
                self.batches.add(batch)
            self.counts["pieces"] += 1 if batch is None else batch.size
            self.counts["evaluations"] += len(evaluations)
            self.counts["calls"] += sum(len(one.halves) for one in evaluations)
            self.counts["rows"] += sum(sum(one.halves) for one in evaluations)
            self.evaluations.add(len(evaluations))
            self.last = tuple(evaluations)
            self.counts.update(f"transformer {dtype}" for dtype in dtypes)

    def dtypes(self, part: str) -> set[str]:
        """Number formats that matrix products of `part` gave."""
        with self._lock:
            return {name.split()[1] for name in self.counts if name.startswith(f"{part} ")}
