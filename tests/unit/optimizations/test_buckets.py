"""Buckets: few lengths, each close above the sequence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.evidence import Batch, Observations, Trace
from engine.optimizations import batch, buckets
from engine.options import Options
from tests.unit.parts import parts

ON = Options(buckets=True)


@given(st.integers(1, 5000))
def test_a_bucket_holds_its_sequence_and_little_more(frames: int) -> None:
    """At most a quarter more; a bucket is its own bucket."""
    length = buckets.length(frames)
    assert frames <= length <= max(buckets.SMALLEST, 1.25 * frames + 1)
    assert buckets.length(length) == length


def test_a_range_of_speech_has_few_lengths() -> None:
    """From a second to the longest sequence."""
    assert sorted({buckets.length(frames) for frames in range(94, 2064)}) == [
        128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792, 2048, 2560,
    ]  # fmt: skip


def seen(*batches: Batch) -> Observations:
    """An engine that sampled these."""
    observed = Observations()
    for one in batches:
        trace = Trace(Options(), 0, slice(1))
        observed.sampled(trace, set(), one)
    return observed


@pytest.mark.parametrize(
    ("options", "batches", "proven"),
    [
        (ON, [], None),
        (ON, [Batch(1, 256, 250, True), Batch(1, 640, 513, True)], True),
        (ON, [Batch(1, 250, 250, True)], False),
        (ON, [Batch(1, 256, 250, False)], False),
        (Options(), [Batch(1, 250, 250, True)], True),
        (Options(), [Batch(1, 256, 250, True)], False),
    ],
)
def test_the_proof_of_buckets(options: Options, batches: list[Batch], proven: bool | None) -> None:
    """Only bucket lengths, all padding masked; off, no sequence longer than its own frames."""
    assert buckets.evidence(options, seen(*batches)).proven is proven


@pytest.mark.parametrize(
    ("options", "batches", "proven"),
    [
        (Options(batch=4), [], None),
        (Options(batch=4), [Batch(1, 250, 250, True)], None),
        (Options(batch=4), [Batch(1, 250, 250, True), Batch(4, 250, 250, True)], True),
        (Options(batch=4), [Batch(3, 250, 250, False)], False),
        (Options(batch=4), [Batch(5, 250, 250, True)], False),
        (Options(), [Batch(1, 250, 250, True)], True),
        (Options(), [Batch(2, 250, 250, True)], False),
    ],
)
def test_the_proof_of_batches(options: Options, batches: list[Batch], proven: bool | None) -> None:
    """More than one sequence at once, no more than asked for, all padding masked."""
    assert batch.evidence(options, seen(*batches)).proven is proven


def test_pieces_that_could_go_together_and_do_not_disprove_batches() -> None:
    """There was something to put together, and each was sampled alone."""
    observed = seen(Batch(1, 250, 250, True))
    observed.most("most pieces alike", 3)
    assert batch.evidence(Options(batch=4), observed).proven is False
    assert batch.evidence(Options(), observed).proven is True


@pytest.mark.parametrize("toggle", [batch, buckets])
def test_off_hands_back_the_parts_themselves(toggle: Any) -> None:
    """Off means untouched."""
    whole = parts()
    assert toggle.apply(whole, Options(), Observations()) is whole
