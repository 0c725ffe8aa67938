"""Costs: FLOPs as torch counts them, growth with frames, a model that finds the shares it was made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.options import Options
from engine.synthesis import Engine
from tests.studies import costs, flops
from tests.studies.architecture import Architecture, Sequence
from tests.studies.ceilings import Ceilings
from tests.studies.costs import PARTS, TERMS, Model, Work, calibrate, fit, work

SHAPE = Architecture(128, 4, 2, 2, 64, 2, 100, 64, 192, 2, 1024)
CEILINGS = Ceilings("here", "cpu", 2, {"fp32": 1e11, "int8": 2e11}, 2e10)
FRAMES = st.integers(50, 2000)
TOGGLES = st.sampled_from(
    [
        "",
        "hoist=on",
        "int8=dynamic",
        "guidance=separate",
        "guidance=reuse",
        "cfg_strength=0",
        "reference_cache=on",
    ]
)


def piece(frames: int, reference: int = 20) -> Sequence:
    """A piece after a clip."""
    return Sequence(frames, reference, frames - reference)


def options(nfe: int, toggles: str) -> Options:
    """Toggles as one would type them."""
    return Options.parse(f"nfe={nfe} {toggles}")


def test_flops_are_those_that_torch_counts(tiny: Callable[..., Engine]) -> None:
    """To 0.05 % of what torch counts, whatever is switched on; the second call has a warm reference cache."""
    for toggles in (
        "nfe=2",
        "nfe=2 hoist=on",
        "nfe=2 int8=dynamic",
        "nfe=2 cfg_strength=0",
        "nfe=2 cfg_strength=0 hoist=on",
        "nfe=3 guidance=reuse",
        "nfe=2 guidance=separate",
        "nfe=4 solver=midpoint guidance=interval",
        "nfe=2 buckets=on reference_cache=on",
        "nfe=2 attention=math",
    ):
        with tiny(**Options.parse(toggles).changed()) as tts:
            tts.synthesize("Good evening.")
            counted = flops.count_flops(lambda: tts.synthesize("Good evening."))
            pieces = flops.sequences(tts, "Good evening.")
            own = work(flops.architecture(tts.checkpoint), pieces, tts.options).flops
        assert own == pytest.approx(counted, rel=5e-4)


@given(frames=FRAMES, more=st.integers(1, 500), nfe=st.integers(2, 32), toggles=TOGGLES)
def test_more_frames_cost_more(frames: int, more: int, nfe: int, toggles: str) -> None:
    """FLOPs and bytes grow with the length."""
    short, longer = (work(SHAPE, [piece(n)], options(nfe, toggles)) for n in (frames, frames + more))
    assert longer.flops > short.flops
    assert longer.traffic > short.traffic


@given(frames=FRAMES, nfe=st.integers(2, 31), toggles=TOGGLES)
def test_one_more_evaluation_costs_more(frames: int, nfe: int, toggles: str) -> None:
    """FLOPs, bytes and dispatched operators grow with NFE."""
    few, more = (work(SHAPE, [piece(frames)], options(n, toggles)) for n in (nfe, nfe + 1))
    assert more.flops > few.flops
    assert more.traffic > few.traffic
    assert more.launches > few.launches


@given(frames=FRAMES, nfe=st.integers(2, 16))
def test_lossless_guidance_layouts_cost_the_same_products(frames: int, nfe: int) -> None:
    """Packed and separate differ in calls, not in FLOPs that see frames; reuse costs less."""
    packed, separate, reuse = (
        work(SHAPE, [piece(frames)], options(nfe, f"guidance={name}"))
        for name in ("packed", "separate", "reuse")
    )
    assert separate.flops_by["attention", "fp32"] == packed.flops_by["attention", "fp32"]
    assert separate.launches == 2 * packed.launches
    assert reuse.flops < packed.flops


def test_int8_moves_the_blocks_products_and_no_others() -> None:
    """The sum of FLOPs stays; those of the blocks change their format."""
    plain, quantised = (work(SHAPE, [piece(500)], options(4, toggles)) for toggles in ("", "int8=dynamic"))
    assert quantised.flops == plain.flops
    assert quantised.flops_by["products", "int8"] == 2 * 500 * 8 * SHAPE.block_weights
    assert quantised.flops_by["attention", "fp32"] == plain.flops_by["attention", "fp32"]


def test_attention_grows_with_the_square_of_the_frames() -> None:
    """Twice the frames, four times the FLOPs."""
    one, two = (work(SHAPE, [piece(n)], Options()) for n in (400, 800))
    assert two.flops_by["attention", "fp32"] == 4 * one.flops_by["attention", "fp32"]


def test_no_pieces_are_refused() -> None:
    """There is no work in nothing."""
    with pytest.raises(UsageError, match="no pieces"):
        work(SHAPE, [], Options())


@given(
    a=st.floats(0.001, 1), b=st.floats(1e-5, 1e-2), c=st.floats(1e-8, 1e-5),
    frames=st.lists(st.integers(10, 3000), min_size=4, max_size=8, unique=True),
)  # fmt: skip
def test_a_known_growth_is_found_again(a: float, b: float, c: float, frames: list[int]) -> None:
    """Times made from a, b and c give back the curve, and no error."""
    found = fit(frames, [a + b * n + c * n * n for n in frames])
    assert found.error < 1e-6
    for n in frames:
        assert found.seconds(n) == pytest.approx(a + b * n + c * n * n, rel=1e-5)


def test_a_growth_that_is_not_there_is_zero() -> None:
    """Times that fall with length give a constant, never a negative coefficient; the error says so."""
    found = fit([100, 200, 300, 400], [4.0, 3.0, 2.0, 1.0])
    assert min(found.a, found.b, found.c) >= 0
    assert found.error > 0.1


def test_too_few_or_impossible_times_are_refused() -> None:
    """A curve needs three lengths and times above zero."""
    for frames, seconds in (
        ([1, 2], [1, 2]),
        ([1, 2, 2], [1, 2, 3]),
        ([1, 2, 3], [1, 2]),
        ([1, 2, 3], [1, 0, 2]),
    ):
        with pytest.raises(UsageError):
            fit(frames, seconds)


@settings(max_examples=30)
@given(weights=st.lists(st.floats(1, 5), min_size=4, max_size=4), launch=st.floats(1e-6, 1e-4))
def test_a_model_predicts_what_it_has_not_seen(weights: list[float], launch: float) -> None:
    """Times made from known shares on some lengths and toggles foretell other lengths and toggles."""
    true = Model(dict(zip(TERMS, [*weights, launch, 0.01], strict=True)), CEILINGS)

    def called(frames: int, nfe: int, toggles: str) -> tuple[Work, float]:
        todo = work(SHAPE, [piece(frames)], options(nfe, toggles))
        return todo, true.seconds(todo)

    known = [
        called(n, 8, toggles)
        for n in (100, 400, 1200)
        for toggles in ("", "hoist=on", "int8=dynamic", "cfg_strength=0")
    ]
    model = calibrate(known, CEILINGS)
    for todo, seconds in (called(700, 16, "hoist=on"), called(2000, 7, "guidance=separate int8=dynamic")):
        assert model.seconds(todo) == pytest.approx(seconds, rel=0.02)
        assert model.rtf(todo, 4.0) == pytest.approx(model.seconds(todo) / 4.0)


def test_no_part_is_faster_than_its_ceiling() -> None:
    """Times that would need it end in errors, not in a share above one."""
    calls = [(work(SHAPE, [piece(n)], options(8, "hoist=on")), 1e-6 * n) for n in range(100, 800, 100)]
    assert all(calibrate(calls, CEILINGS).weights[name] >= 1 for name in PARTS)


def test_a_model_needs_more_calls_than_weights() -> None:
    """Fewer would fit anything."""
    todo = work(SHAPE, [piece(100)], Options())
    with pytest.raises(UsageError, match="2 calls"):
        calibrate([(todo, 1.0), (todo, 1.0)], CEILINGS)


def test_work_in_a_format_without_a_ceiling_is_refused() -> None:
    """Nothing is guessed for a format that was not measured."""
    with pytest.raises(UsageError, match="fp16"):
        costs.terms(work(SHAPE, [piece(100)], Options(precision="fp16")), CEILINGS)


def test_twice_the_ceilings_halve_the_time_that_hangs_on_them() -> None:
    """Products, attention, convolutions and traffic scale with the machine; dispatch does not."""
    todo = work(SHAPE, [piece(300)], Options())
    twice = dataclasses.replace(
        CEILINGS,
        flops={name: 2 * rate for name, rate in CEILINGS.flops.items()},
        bandwidth=2 * CEILINGS.bandwidth,
    )
    slow, fast = costs.terms(todo, CEILINGS), costs.terms(todo, twice)
    np.testing.assert_allclose(fast[: len(PARTS) + 1], slow[: len(PARTS) + 1] / 2)
    np.testing.assert_allclose(fast[len(PARTS) + 1 :], slow[len(PARTS) + 1 :])
