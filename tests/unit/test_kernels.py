"""The watch of kernels: one call of the transformer is watched, and never the first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch

from engine.evidence import KernelWatch, Observations, kernels_run, watching

SEEN = "kernel aten::_scaled_dot_product_flash_attention_for_cpu"


def call(watch: KernelWatch, times: int) -> None:
    """Some calls of a transformer of three attentions."""
    x = torch.randn(1, 2, 5, 64)
    for _ in range(times):
        with watch():
            for _ in range(3):
                torch.nn.functional.scaled_dot_product_attention(x, x, x)


def test_one_watch_serves_all_toggles() -> None:
    """Torch allows one profiler a thread."""
    seen = Observations()
    around = watching((), seen)
    assert len(around) == 1
    assert watching(around, seen) is around


def test_the_second_call_is_watched_and_no_other() -> None:
    """The first may trace a compiled graph; later ones shall cost nothing."""
    seen, counts = Observations(), []
    watch = KernelWatch(seen)
    for _ in range(4):
        call(watch, 1)
        counts.append((seen.counts["watched calls"], seen.counts[SEEN]))
    assert counts == [(0, 0), (1, 3), (1, 3), (1, 3)]


def test_one_call_is_watched_when_many_threads_call() -> None:
    """Each thread has a profiler of its own; the count is still of one call."""
    seen = Observations()
    watch = KernelWatch(seen)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: call(watch, 3), range(16)))
    assert (seen.counts["watched calls"], seen.counts[SEEN]) == (1, 3)


def test_it_waits_while_somebody_else_is_profiling() -> None:
    """A person's own profiler comes first."""
    seen = Observations()
    watch = KernelWatch(seen)
    with kernels_run():
        call(watch, 5)
    assert not seen.counts
    call(watch, 1)
    assert seen.counts["watched calls"] == 1
