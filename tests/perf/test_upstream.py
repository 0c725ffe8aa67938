"""Upstream's own `infer` beside the engine, interleaved: `-m slow` at small size,
`-m base` at base size. `nox -s study -- upstream` prints the ratio alone.
"""

from __future__ import annotations

from typing import Any

import pytest

from engine.options import Options
from tests.studies.side_by_side import compare

SMALL = pytest.param("seeded-small", 1, marks=pytest.mark.slow)
BASE = pytest.param("seeded-base", 25, marks=pytest.mark.base)
"""Checkpoint, and how many times faster than upstream's own defaults the fast set has to be there."""


@pytest.mark.parametrize(("checkpoint", "aim"), [SMALL, BASE])
def test_fast_cpu_against_upstreams_own_defaults(
    checkpoint: str, aim: float, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fast set is surely many times faster than upstream's `infer`; the ratio is shown either way."""
    found = compare(checkpoint, Options.fast_cpu(), rounds=3)
    ratio = found.ratio
    said = f"{1 / ratio.ratio:.1f} times faster [{1 / ratio.high:.1f}, {1 / ratio.low:.1f}]"
    record_property("upstream", said)
    with capsys.disabled():
        print(f"\n{checkpoint}, fast_cpu against upstream's own infer: {said}")  # noqa: T201
    assert 1 / ratio.ratio >= aim, said
    assert ratio.high < 1, said


@pytest.mark.parametrize(("checkpoint", "_aim"), [SMALL, BASE])
def test_the_same_steps_give_upstreams_own_wave(checkpoint: str, _aim: float) -> None:
    """With every toggle off both make the same wave, so the times are those of the same work."""
    assert compare(checkpoint, Options(), rounds=2).difference == 0.0
