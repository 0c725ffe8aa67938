"""A GPU at base size: one request, a batch, and how much of the card they use. `-m base` on a CUDA machine.

The figures are kept on any card (`record_property`); the limits are those of an H100-class card.
"""

from __future__ import annotations

from typing import Any

import pytest

from engine.options import Options
from tests.studies.batch_gain import BatchGain, measure

pytestmark = [pytest.mark.gpu, pytest.mark.base]
FAST = Options(
    precision="bf16", vocoder_precision="bf16", compile="default", buckets=True, reference_cache=True,
    hoist=True, nfe=7, schedule="epss",
)  # fmt: skip
"""Compiled once, and with buckets for few lengths."""
H100_CLASS = ("H100", "H200", "GH200", "B100", "B200", "GB200")
ROUNDS = 40


@pytest.fixture(scope="module")
def found() -> BatchGain:
    """One run for all limits."""
    return measure("seeded-base", FAST, device="cuda", rounds=ROUNDS)


@pytest.fixture(autouse=True)
def kept(found: BatchGain, record_property: Any) -> None:
    """The figures reach the report of any card; the limits below hold on those they are meant for."""
    import torch

    card = torch.cuda.get_device_name()
    shares = ", ".join(f"batch {row['size']}: {row['share_of_ceiling']:.0%}" for row in found.rows())
    said = f"{card}: RTF {found.rtf:.4f}, latency CV {found.sizes[1].cv:.1%}; of the ceiling {shares}"
    record_property("gpu", said)
    if not any(name in card for name in H100_CLASS):
        pytest.skip(f"limits of an H100-class card. {said}")


def test_one_request_is_a_hundred_times_faster_than_speech(found: BatchGain) -> None:
    """RTF of at most 0.01 at 7 steps."""
    assert found.rtf <= 0.01


def test_latency_is_steady(found: BatchGain) -> None:
    """Nothing is recorded or compiled again: a CV below 2 %."""
    assert found.sizes[1].cv < 0.02


@pytest.mark.parametrize(("size", "share"), [(1, 0.35), (8, 0.60)])
def test_the_card_is_used(found: BatchGain, size: int, share: float) -> None:
    """Of the highest rate that torch reaches on this card."""
    assert found.share(size) >= share


def test_four_requests_take_less_than_one_and_a_half(found: BatchGain) -> None:
    """Where one leaves the card idle; a good batch 1 leaves less to gain, and the share above says which."""
    assert found.time(4).ratio < 1.5 or found.share(1) >= 0.5
