"""Seconds by stage of one request."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from engine.audio import Timings

STAGES = ("reference", "text", "sampling", "vocoder")
"""The fields of `Timings` that work is charged to."""


class Clock:
    """Times the stages of a request.

    It waits for the device at every boundary, so that work is charged to the stage that asked for it.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._stages = dict.fromkeys(STAGES, 0.0)
        self._start = self._now()

    def lap(self) -> Timings:
        """What was timed since the last lap, or since the clock was made."""
        now = self._now()
        timings = Timings(**self._stages, total=now - self._start)
        self._stages = dict.fromkeys(STAGES, 0.0)
        self._start = now
        return timings

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Charge what is done inside to the named field of `Timings`."""
        start = self._now()
        yield
        self._stages[name] += self._now() - start

    def _now(self) -> float:
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.synchronize(self._device)
        return time.perf_counter()
