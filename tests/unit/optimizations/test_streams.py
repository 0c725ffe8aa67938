"""streams: the vocoder beside, ordered by events, each of which is needed."""

from __future__ import annotations

import pytest
import torch

from engine.errors import DeviceError, OptionsError
from engine.evidence import Observations
from engine.optimizations import streams
from engine.options import Options
from tests.unit.card import MadeUpQueue, Mark, Order, RaceError
from tests.unit.parts import parts

ON = Options(streams=True)


def test_off_leaves_the_parts_alone() -> None:
    """The same object, nothing counted."""
    whole, observed = parts(), Observations()
    assert streams.apply(whole, Options(), observed) is whole
    assert not observed.counts


def wave_of(queue: MadeUpQueue) -> tuple[bool, bool]:
    """Whether wave and mel arrive as they were made, the mel at the present queue, the wave beside."""
    with queue.order:
        mel = torch.arange(6.0).view(1, 2, 3) * 2
        arrive = streams.Beside(queue, Observations())(mel, lambda mel: mel.sum(dim=2) + 1)
    wave, kept = arrive()
    return wave.tolist() == [[7.0, 25.0]], kept.tolist() == mel.tolist()


def test_wave_and_mel_arrive_whole() -> None:
    """The mel's memory is kept until the second queue is done with it."""
    queue = MadeUpQueue(Order())
    assert wave_of(queue) == (True, True)
    assert queue.log == ["beside", "kept", "waited"]


def test_a_vocoder_that_does_not_wait_for_its_mel_is_a_race(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the event it could read a mel that is still being sampled."""
    monkeypatch.setattr(MadeUpQueue, "wait", lambda *_: None)
    with pytest.raises(RaceError, match="at beside uses what main writes"):
        wave_of(MadeUpQueue(Order()))


def test_a_host_that_does_not_wait_for_the_copies_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it reads too early is whatever the memory held."""
    monkeypatch.setattr(Mark, "synchronize", lambda _: None)
    assert wave_of(MadeUpQueue(Order())) == (False, False)


def test_off_a_card_and_with_a_runtime_that_waits_it_is_refused() -> None:
    """Before anything is loaded."""
    streams.check_device(ON, "cuda")
    streams.check_device(Options(), "cpu")
    with pytest.raises(DeviceError, match="streams=False"):
        streams.check_device(ON, "cpu")
    with pytest.raises(OptionsError, match="ONNX Runtime makes the host wait"):
        Options(streams=True, vocoder_backend="onnx")


@pytest.mark.parametrize(
    ("options", "beside", "proven"),
    [(ON, 3, True), (ON, 2, False), (ON, 0, False), (Options(), 0, True), (Options(), 1, False)],
)
def test_the_proof_is_that_every_piece_was_decoded_beside(
    options: Options, beside: int, proven: bool
) -> None:
    """Three pieces."""
    observed = Observations()
    assert streams.evidence(options, observed).proven is None
    observed.note("pieces", 3)
    observed.note("decoded beside", beside)
    assert streams.evidence(options, observed).proven is proven
