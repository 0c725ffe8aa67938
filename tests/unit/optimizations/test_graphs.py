"""graphs: replays on buffers of its own, refused off a card, and proven by what was replayed."""

from __future__ import annotations

import pytest
import torch

from engine.errors import DeviceError, OptionsError
from engine.evidence import Observations
from engine.optimizations import graphs
from engine.options import Options
from tests.unit.card import TapeRecorder
from tests.unit.parts import parts

ON = Options(graphs=True, buckets=True, hoist=True)


def test_off_leaves_the_parts_alone() -> None:
    """The same object, nothing counted."""
    whole, observed = parts(), Observations()
    assert graphs.apply(whole, Options(), observed) is whole
    assert not observed.counts


def test_a_replay_is_of_the_present_arguments() -> None:
    """Whatever was given to the recording; shorter and longer ones too, and in another format."""
    observed = Observations()
    graphed = graphs.Graphed(lambda x, y: (x * 2 + y).sin(), TapeRecorder(), observed, "part")
    with torch.inference_mode():
        for shape in ((3, 4), (3, 4), (2, 2), (5, 8), (3, 4), (2, 2)):
            for dtype in (torch.float32, torch.float64):
                x, y = torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype)
                torch.testing.assert_close(graphed(x, y), (x * 2 + y).sin())
    assert observed.counts["recorded part"] == 6
    assert observed.counts["replays part"] == 12


def test_a_number_that_python_works_out_is_recorded_once() -> None:
    """The made-up card is as forgetful as a real one: what no tensor carries does not change."""
    drawn = iter(range(1, 99))
    graphed = graphs.Graphed(lambda x: x * next(drawn), TapeRecorder(), Observations(), "part")
    one = torch.ones(2)
    with torch.inference_mode():
        assert torch.equal(graphed(one), graphed(one))


@pytest.mark.parametrize("needed", ["buckets", "hoist"])
def test_without_fixed_lengths_or_with_waits_inside_it_is_refused(needed: str) -> None:
    """With the cure."""
    with pytest.raises(OptionsError, match="Add buckets=True hoist=True"):
        Options(**{"graphs": True, "buckets": True, "hoist": True, needed: False})


def test_off_a_card_it_is_refused_before_loading() -> None:
    """There is nothing that records."""
    graphs.check_device(ON, "cuda:1")
    graphs.check_device(Options(), "cpu")
    with pytest.raises(DeviceError, match="graphs=False"):
        graphs.check_device(ON, "cpu")


@pytest.mark.parametrize(
    ("options", "replayed", "decoded", "failed", "proven"),
    [
        (ON, 4, 1, 0, True),
        (ON, 3, 1, 0, False),
        (ON, 4, 0, 0, False),
        (ON, 5, 1, 0, False),
        (ON, 5, 1, 1, True),
        (ON, 0, 0, 0, False),
        (Options(), 0, 0, 0, True),
        (Options(), 1, 0, 0, False),
    ],
)
def test_the_proof_is_a_replay_for_every_call(
    options: Options, replayed: int, decoded: int, failed: int, proven: bool
) -> None:
    """Four calls and one decode; a batch that failed may have replayed more."""
    observed = Observations()
    assert graphs.evidence(options, observed).proven is None
    for name, count in {
        "evaluations": 4,
        "calls": 4,
        "decodes": 1,
        "failed batches": failed,
        "replays transformer": replayed,
        "replays vocoder": decoded,
    }.items():
        observed.note(name, count)
    assert graphs.evidence(options, observed).proven is proven
