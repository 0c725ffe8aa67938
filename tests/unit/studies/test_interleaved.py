"""Toggle sets timed in turn, on the seeded tiny checkpoint."""

from __future__ import annotations

import pytest

from engine.errors import UsageError
from engine.options import Options
from tests.studies import interleaved
from tests.studies.interleaved import Timed


def timed(*rounds: float) -> Timed:
    """One text of two seconds."""
    return Timed({"hello": rounds}, {"hello": 2.0}, {"sampling": 1.0})


def test_rounds_add_up_over_texts() -> None:
    """And the real-time factor is that of the median round."""
    both = Timed({"a": (1.0, 2.0, 9.0), "b": (1.0, 1.0, 1.0)}, {"a": 2.0, "b": 1.0}, {})
    assert both.rounds == (2.0, 3.0, 10.0)
    assert both.rtf == pytest.approx(1.0)


def test_sets_are_compared_round_by_round() -> None:
    """A machine that slows down from round to round slows both: their ratio stays."""
    found = timed(1.0, 2.0, 4.0).against(timed(2.0, 4.0, 8.0))
    assert (found.ratio, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_every_set_speaks_every_text_in_every_round() -> None:
    """The round that warms up is not among them, and fewer evaluations say the same length."""
    sets = {"one": Options(nfe=1), "two": Options(nfe=2)}
    found = interleaved.measure(sets, "seeded-tiny", ("hello", "points"), rounds=2, device="cpu")
    assert list(found) == ["one", "two"]
    for row in found.values():
        assert {name: len(calls) for name, calls in row.calls.items()} == {"hello": 2, "points": 2}
        assert row.stages["sampling"] > 0
        assert row.rtf > 0
    assert found["one"].audio == found["two"].audio


def test_too_little_is_refused() -> None:
    """Nothing to time, or no interval."""
    for sets, rounds in (
        ({}, 3),
        ({"one": Options()}, 1),
    ):
        with pytest.raises(UsageError):
            interleaved.measure(sets, "seeded-tiny", rounds=rounds)
