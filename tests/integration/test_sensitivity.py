"""The measurement behind int8's list of layers: every linear has its row, and nothing stays changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine import Engine
from engine.optimizations import int8
from tests.studies import sensitivity


def test_every_linear_is_measured_and_left_as_it_was(tiny: Callable[..., Engine]) -> None:
    """The shares sum to one, 8 bits move the mel, and the engine says the same bytes afterwards."""
    one, told = tiny(nfe=1), list[str]()
    before = one.synthesize("Hi there.").samples.tobytes()
    report = sensitivity.measure(one, ["Hi there."], told.append)
    names = {row.name for row in report.rows}
    assert names == set(told)
    assert {row.name for row in report.rows if row.replaced} == set(
        int8.layers(one._open().model.transformer)
    )
    assert {"proj_out", "norm_out.linear", "input_embed.proj"} <= {
        r.name for r in report.rows if not r.replaced
    }
    assert all(row.share > 0 for row in report.rows)  # what never ran has no row: zero would look robust
    assert sum(row.share for row in report.rows) == pytest.approx(1)
    assert report.rows[0].distance == max(row.distance for row in report.rows) > 0
    assert report.together > 0
    assert one.synthesize("Hi there.").samples.tobytes() == before
