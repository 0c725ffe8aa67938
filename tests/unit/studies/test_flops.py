"""FLOPs: what torch counts, what the formula says, and the frames that both are about."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.synthesis import Engine
from tests.studies import flops

TEXT = "Good evening."


def test_attention_is_among_the_flops(engine: Engine) -> None:
    """On a CPU torch's own counter leaves it out: four times its 2 calls of 2 rows and 4 blocks are there."""
    (piece,) = flops.sequences(engine, TEXT)
    attention = 4 * piece.frames**2 * 128 * 4 * 2 * 2
    own = flops.work(flops.architecture(engine.checkpoint), [piece], engine.options)
    assert own.flops_by["attention", "fp32"] == attention
    counted, by = flops.flops(engine, TEXT)
    assert counted == pytest.approx(own.flops, rel=0.001)
    assert by == flops.COUNTER


def test_buckets_count_the_padding(engine: Engine, tiny: Callable[..., Engine]) -> None:
    """The frames are those that the transformer sees."""
    (long,) = flops.sequences(tiny(buckets=True), TEXT)
    (plain,) = flops.sequences(engine, TEXT)
    assert long.frames > plain.frames
    assert long.generated == plain.generated == plain.frames - plain.reference


def test_what_the_counter_cannot_see_is_computed(
    engine: Engine, tiny: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiled engine is not called for its FLOPs; the formula answers, and says what counting would."""
    counted = flops.count_flops(lambda: engine.synthesize(TEXT))
    compiled = tiny(compile="default")
    monkeypatch.setattr(flops, "count_flops", None)
    assert flops.flops(compiled, TEXT) == (counted, flops.FORMULA)
