"""The front against a slow oracle, and losses with the sign that makes worse positive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.gate.quality import speech as sound
from engine.options import Options
from tests.studies import pareto
from tests.studies.interleaved import Timed
from tests.unit.gate.test_speech import scores

COORDINATE = st.integers(0, 5).map(float)
POINTS = st.dictionaries(
    st.text(min_size=1, max_size=3), st.tuples(COORDINATE, COORDINATE), min_size=1, max_size=12
)


@given(POINTS)
def test_the_front_is_what_no_other_dominates(points: dict[str, tuple[float, float]]) -> None:
    """Point by point, by the definition."""
    kept = pareto.front(points)
    for name, (cost, loss) in points.items():
        beaten = [
            other
            for other, (theirs, worse) in points.items()
            if (theirs < cost and worse <= loss) or (theirs <= cost and worse < loss)
        ]
        assert (name in kept) == (not beaten)
    assert [points[name] for name in kept] == sorted(points[name] for name in kept)


def test_a_front_needs_numbers() -> None:
    """A missing figure is an error, not the best of all."""
    for points in (
        {},
        {"a": (float("nan"), 1.0)},
        {"a": (1.0, float("nan"))},
    ):
        with pytest.raises(UsageError):
            pareto.front(points)


def clips(**scores: float | None) -> dict[str, dict[str, dict[str, float | None]]]:
    """A row with two clips, one of them 0.5 higher in every score."""
    second = {judge: None if value is None else value + 0.5 for judge, value in scores.items()}
    return {"clips": {"one": dict(scores), "two": second}}


def test_a_loss_is_positive_where_the_set_is_worse() -> None:
    """More errors, fewer points, less of the speaker."""
    for judge, sign in (
        ("cer", 1),
        ("mos", -1),
        ("similarity", -1),
    ):
        found = pareto.loss(clips(**{judge: 0.3}), clips(**{judge: 0.1}), judge)
        assert found.mean == pytest.approx(sign * 0.2)
        assert found.pairs == 2


def test_a_clip_that_could_not_be_judged_does_not_count() -> None:
    """And where none was judged there is no loss."""
    with pytest.raises(UsageError):
        pareto.loss(clips(mos=None), clips(mos=3.0), "mos")


def test_every_set_is_valid_and_the_first_is_the_reference() -> None:
    """But for what changes no result."""
    sets = [Options.parse(f"{pareto.EVERY} {name}") for name in pareto.SETS]
    assert len(set(sets)) == len(sets)
    assert sets[0].only_lossless(Options.reference())
    assert Options.fast_cpu() in sets


def test_the_table_holds_times_first_and_then_what_the_judges_said() -> None:
    """Times against the first set; of each clip what was said, and None where a judge could not."""
    sets = {"nfe=2": Options(nfe=2), "nfe=1": Options(nfe=1)}
    timed = {
        "nfe=2": Timed({"hello": (2.0, 2.2)}, {"hello": 4.0}, {}),
        "nfe=1": Timed({"hello": (1.0, 1.1)}, {"hello": 4.0}, {}),
    }
    plain = pareto.times(sets, timed)
    assert [row["against_reference"]["ratio"] for row in plain] == pytest.approx([1.0, 0.5])
    assert "sound" not in plain[0]
    cases = pareto.texts.CASES[:2]
    said = (scores(1, 4, 3.0, 0.8), scores(None, 4, None, 0.6))
    spoken = sound.Spoken(cases, {}, dict.fromkeys(sets, said), (), True)
    found = pareto.heard(plain, spoken)[1]
    assert found["rtf"] == plain[1]["rtf"]
    assert found["sound"]["similarity"] == pytest.approx(0.7)
    assert found["clips"][cases[0].name] == {"cer": 0.0, "similarity": 0.8, "mos": 3.0}
    assert found["clips"][cases[1].name] == {"cer": None, "similarity": 0.6, "mos": None}
