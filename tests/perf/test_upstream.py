"""Upstream's own `infer` beside the engine at base size; `nox -s ladder` runs it, or `-m base`.

`python -m engine.gate.side_by_side` prints the ratio.
"""

from __future__ import annotations

from typing import Any

import pytest

from engine.gate.side_by_side import compare
from engine.options import Options

FASTER = 25
"""How many times faster than upstream's own defaults the fast set has to be."""


@pytest.mark.base
def test_fast_cpu_against_upstreams_own_defaults(record_property: Any) -> None:
    """The fast set is surely many times faster than upstream's `infer`; the ratio is kept either way."""
    found = compare("seeded-base", Options.fast_cpu(), rounds=2)
    ratio = found.ratio
    said = f"{1 / ratio.ratio:.1f} times faster [{1 / ratio.high:.1f}, {1 / ratio.low:.1f}]"
    record_property("upstream", said)
    assert 1 / ratio.ratio >= FASTER, said


@pytest.mark.base
def test_the_same_steps_give_upstreams_own_wave() -> None:
    """With every toggle off both make the same wave, so the times are those of the same work."""
    assert compare("seeded-base", Options(), rounds=2).difference == 0.0
