"""Memory: requests leave nothing behind, and closing gives all of it back."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import weakref
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Engine, Options, Request, Voice, load
from engine.memory import bound_caches

WARM = 40
"""Requests before any counts: by then every text was spoken alone, streamed and batched, in every voice, what
torch keeps for each new shape is there, and so are the traces that evidence is read from."""
GROWTH = 0.02
"""Megabytes a request may leave behind, on average."""
TEXTS = [
    "Hello there, chat!",
    "Hi.",
    "A text that is a good deal longer than the other ones.",
    "你好，世界。",
]


class Counts(ctypes.Structure):
    """What glibc's `mallinfo2` returns: ten sizes, in this order."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    ]


def held() -> float:
    """Megabytes that the C library has lent to anybody in this process; what was freed does not count.

    The size of the process would count it, and how much of it stays depends on the moment.
    """
    gc.collect()
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Counts
    counts = mallinfo2()
    return float(counts.uordblks + counts.hblkhd) / 2**20


def soak(options: dict[str, object], clip: str, requests: int, leak: int) -> float:
    """Megabytes that a request adds to what this process holds; `leak` bytes of them are kept on purpose."""
    one = load("seeded-tiny", Options(**{"nfe": 1, **options}), device="cpu")  # type: ignore[arg-type]
    samples, rate = Voice(clip, "Some call me nature,").read()
    kept, before = [], 0.0
    for index in range(WARM + requests):
        if index == WARM:
            before = held()
        words = TEXTS[index % len(TEXTS)]
        # Voices come back, as on a stream: new ones for ever would fill the cache, which looks like a leak.
        speaker = Voice(samples * np.float32(1 - index % 8 / 1000), "Some call me nature,", rate)
        one.synthesize(words, speaker, seed=index)
        if index % 5 == 0:
            next(one.stream(words, speaker, seed=index))
            one.synthesize_batch([Request(words, speaker), Request(words, speaker, seed=1)])
        kept.append(b"x" * leak)
    return (held() - before) / requests


def lengths(clip: str, bounded: bool, requests: int) -> float:
    """Megabytes that a request of a new length adds to what this process holds."""
    if bounded:
        bound_caches()
    one = load("seeded-tiny", Options(nfe=1), device="cpu")
    voice, before = Voice(clip, "Some call me nature,"), 0.0
    for index in range(2 * requests):
        if index == requests:
            before = held()
        one.synthesize(TEXTS[2], voice, seed=index, speed=1 / (1 + index / 60))
    return (held() - before) / requests


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Callable[..., float]:
    """Calls a function in a process of its own, in which Python asks the C library for all that it needs."""
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):
        pytest.skip("what a process holds is counted by glibc, from 2.33 on")
    for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONMALLOC", "malloc")

    def call(function: Callable[..., float], *arguments: Any) -> float:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(function, *arguments).result()

    return call


@pytest.mark.parametrize("requests", [40, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("options", [{}, {"reference_cache": True, "buckets": True, "batch": 2}], ids=str)
def test_requests_leave_nothing_behind(
    alone: Callable[..., float], tiny_folder: Path, clip: Path, options: dict[str, object], requests: int
) -> None:
    """Texts, seeds and voices change; single, streamed and batched; what the process holds does not grow."""
    assert alone(soak, options, str(clip), requests, 0) <= GROWTH


def test_a_leak_is_seen(alone: Callable[..., float], tiny_folder: Path, clip: Path) -> None:
    """Forty kilobytes a request, kept."""
    assert alone(soak, {}, str(clip), 40, 40 * 2**10) > GROWTH


def test_new_lengths_leave_nothing_behind_in_a_service(
    alone: Callable[..., float], tiny_folder: Path, clip: Path
) -> None:
    """What oneDNN compiles for each new length is bounded there; left to its default, it grows all along."""
    assert alone(lengths, str(clip), True, 50) <= GROWTH < alone(lengths, str(clip), False, 50)


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
