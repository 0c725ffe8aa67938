"""Upstream's own inference beside the engine."""

from __future__ import annotations

import pytest

from engine.errors import UsageError
from engine.options import Options
from tests.studies.side_by_side import compare


def test_upstreams_infer_and_the_engine_make_the_same_wave() -> None:
    """What is timed side by side is the same work: with every toggle off the waves agree bit for bit."""
    assert compare("seeded-tiny", Options(nfe=32), rounds=2, sentence="short").difference == 0.0


def test_a_voice_that_upstream_cannot_read_is_refused() -> None:
    """The voice in the box has a text front end of its own; upstream would time something else."""
    with pytest.raises(UsageError, match="duration table"):
        compare("box", Options(), rounds=2)
