"""Named ranges in NVIDIA's profilers: every stage of a request and every evaluation of the transformer.

`nsys profile ishowtts speak --nvtx "Hello"` then tells which stage each kernel belongs to. Nothing gets
faster.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

from engine.errors import DeviceError
from engine.evidence import STAGES, Evidence, Observations
from engine.optimizations import Parts
from engine.options import Options


class Ranges:
    """Opens a named range around what it is entered for, and counts it."""

    def __init__(self, nvtx: Any, seen: Observations) -> None:
        self._nvtx, self._seen = nvtx, seen

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """A range of that name."""
        self._nvtx.range_push(name)
        try:
            yield
        finally:
            self._nvtx.range_pop()
        self._seen.add(f"range {name}")


def apply(parts: Parts, options: Options, seen: Observations) -> Parts:
    """Name the stages, and each call of the transformer."""
    if not options.nvtx:
        return parts
    ranges = Ranges(_nvtx(), seen)
    evaluation: Callable[[], Any] = functools.partial(ranges, "evaluation")
    return dataclasses.replace(parts, named=ranges, around=(evaluation, *parts.around))


def _nvtx() -> Any:
    """Torch's door to NVIDIA's markers."""
    import torch

    return torch.cuda.nvtx


def check_device(options: Options, device: str) -> None:
    """Refuse a machine without NVIDIA's markers, before anything is loaded.

    Raises:
        DeviceError: this torch was built without them.
    """
    if not options.nvtx:
        return
    try:
        _nvtx().mark("ishowtts")
    except (RuntimeError, AttributeError) as error:
        raise DeviceError(
            f"nvtx=True on {device} ({str(error).splitlines()[0][:100]})",
            "a torch that was built with NVTX",
            "Use nvtx=False, or a torch for CUDA",
        ) from error


def evidence(options: Options, seen: Observations) -> Evidence:
    """Ranges that were opened and closed, by name."""
    counts = seen.counts
    if not counts["evaluations"]:
        return Evidence(None, "no evaluation yet")
    named = {name: counts[f"range {name}"] for name in (*STAGES, "evaluation")}
    observed = ", ".join(f"{count} of {name}" for name, count in named.items())
    if not options.nvtx:
        return Evidence(not any(named.values()), observed)
    whole = named["evaluation"] >= counts["calls"] and named["sampling"] > 0 and named["vocoder"] > 0
    return Evidence(whole, observed)
