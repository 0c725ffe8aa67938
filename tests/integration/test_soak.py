"""Memory: requests leave nothing behind, and closing gives all of it back."""

from __future__ import annotations

import gc
import multiprocessing
import weakref
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from engine import Engine, Options, Request, Voice, load

WARM = 40
"""Requests before any counts: by then every text was spoken alone, streamed and batched, in every voice, and
what torch keeps for each new shape is there."""
PARTS = 6
GROWTH = 0.25
"""Megabytes a request may leave behind, on average."""
TEXTS = [
    "Hello there, chat!",
    "Hi.",
    "A text that is a good deal longer than the other ones.",
    "你好，世界。",
]


def soak(options: dict[str, object], clip: str, requests: int, leak: int) -> float:
    """Megabytes that a request adds to a process; `leak` bytes of them are kept on purpose.

    The requests are cut into parts, and the median of the steps from one part's median to the next's counts:
    a leak is in each of them, a large allocation that comes or goes in one.
    """
    one = load("seeded-tiny", Options(**{"nfe": 1, **options}), device="cpu")  # type: ignore[arg-type]
    samples, rate = Voice(clip, "Some call me nature,").read()
    process, kept, sizes = psutil.Process(), [], []
    for index in range(WARM + requests):
        words = TEXTS[index % len(TEXTS)]
        # Voices come back, as on a stream: new ones for ever would fill the cache, which looks like a leak.
        speaker = Voice(samples * np.float32(1 - index % 8 / 1000), "Some call me nature,", rate)
        one.synthesize(words, speaker, seed=index)
        if index % 5 == 0:
            next(one.stream(words, speaker, seed=index))
            one.synthesize_batch([Request(words, speaker), Request(words, speaker, seed=1)])
        kept.append(b"x" * leak)
        memory = process.memory_info()
        sizes.append(memory.rss - memory.shared)  # code of libraries comes and goes as the kernel likes
    parts = np.array_split(np.array(sizes[WARM:]), PARTS)
    steps = np.diff([np.median(part) for part in parts])
    return float(np.median(steps) / (requests / PARTS) / 2**20)


def grown(*arguments: Any) -> float:
    """`soak` in a process of its own: what this one has freed before would hide a leak."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(soak, *arguments).result()


@pytest.mark.parametrize("requests", [30, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("options", [{}, {"reference_cache": True, "buckets": True, "batch": 2}], ids=str)
def test_requests_leave_nothing_behind(
    tiny_folder: Path, clip: Path, options: dict[str, object], requests: int
) -> None:
    """Texts, seeds and voices change; single, streamed and batched; the process does not grow with them."""
    assert grown(options, str(clip), requests, 0) <= GROWTH


def test_a_leak_is_seen(tiny_folder: Path, clip: Path) -> None:
    """Two megabytes a request, kept."""
    assert grown({}, str(clip), 30, 2**21) > GROWTH


def test_closing_frees_all_that_an_engine_holds(tiny: Callable[..., Engine], voice: Voice) -> None:
    """Model, vocoder, cached clips and plans, also while a stream of it is still open."""
    one = tiny(reference_cache=True, buckets=True, batch=2, hoist=True, first_piece=40)
    pieces = one.stream(" ".join(TEXTS[:3] * 2), voice)
    next(pieces)
    one.synthesize_batch([Request("Hello there, chat!", voice)] * 2)
    parts = one._open()
    held = [parts.model, parts.vocoder, parts.prepare, parts.backbone]
    alive = [weakref.ref(one) for one in held]
    del parts, held
    one.close()
    gc.collect()
    assert [ref() for ref in alive] == [None] * 4
    pieces.close()  # type: ignore[attr-defined]
