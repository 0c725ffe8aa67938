"""kernels: one call of the transformer is watched, and never the first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from engine.evidence import Observations
from engine.optimizations import kernels
from engine.options import Options

ON = Options(attention="flash")
SEEN = "kernel aten::_scaled_dot_product_flash_attention_for_cpu"


@contextlib.contextmanager
def backbone(*_: Any) -> Iterator[Any]:
    """A transformer of three attentions."""

    def evaluate(x: Any, evaluation: int, half: str) -> Any:
        for _ in range(3):
            x = torch.nn.functional.scaled_dot_product_attention(x, x, x)
        return x

    yield evaluate


def call(watched: Any, times: int) -> None:
    """Some evaluations of one request."""
    x = torch.randn(1, 2, 5, 64)
    with watched(x, x, x, None) as evaluate:
        for index in range(times):
            evaluate(x, index, "both")


def test_nothing_is_watched_where_no_toggle_asks() -> None:
    """The same object."""
    assert kernels.apply(backbone, Options(), Observations()) is backbone


def test_the_second_call_is_watched_and_no_other() -> None:
    """The first may trace a compiled graph; later ones shall cost nothing."""
    observed = Observations()
    watched, counts = kernels.apply(backbone, ON, observed), []
    for _ in range(4):
        call(watched, 1)
        counts.append((observed.counts["watched calls"], observed.counts[SEEN]))
    assert counts == [(0, 0), (1, 3), (1, 3), (1, 3)]


def test_one_call_is_watched_when_many_threads_call() -> None:
    """Each thread has a profiler of its own; the count is still of one call."""
    observed = Observations()
    watched = kernels.apply(backbone, ON, observed)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: call(watched, 3), range(16)))
    assert (observed.counts["watched calls"], observed.counts[SEEN]) == (1, 3)


def test_it_waits_while_somebody_else_is_profiling() -> None:
    """Torch allows one profiler a thread; a person's own comes first."""
    observed = Observations()
    watched = kernels.apply(backbone, ON, observed)
    with kernels.recorded():
        call(watched, 5)
    assert not observed.counts
    call(watched, 1)
    assert observed.counts["watched calls"] == 1
