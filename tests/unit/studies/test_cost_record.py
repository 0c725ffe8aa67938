"""The cost record: what was held out is told apart from what was fitted, and a miss is said."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.options import Options
from tests.studies import cost_plot, cost_record, costs
from tests.studies.architecture import Architecture, Sequence
from tests.studies.ceilings import Ceilings
from tests.studies.cost_record import FITTED_SETS, FITTED_TEXTS, GROWN, OTHER_SETS, SETS, TEXTS, Taken, record
from tests.studies.costs import TERMS, Model

SHAPE = Architecture(128, 4, 2, 2, 256, 6, 100, 256, 320, 5, 1024)
CEILINGS = Ceilings("here", "cpu", 4, {"fp32": 1e11, "int8": 2e11}, 2e10)
MODEL = Model(dict(zip(TERMS, (1.5, 2.0, 4.0, 1.2, 1e-5, 0.01), strict=True)), CEILINGS)
PIECES = {
    "greeting": (Sequence(240, 168, 72),),
    "short": (Sequence(408, 168, 240),),
    "medium": (Sequence(654, 168, 486),),
    "long": (Sequence(1092, 168, 924),),
    "short, ten times": (Sequence(2015, 168, 1847), Sequence(638, 168, 470)),
}


def taken(disturbed: Callable[[Taken], float] = lambda one: 1.0) -> list[Taken]:
    """Calls whose times follow `MODEL`, each multiplied by what `disturbed` says of it."""
    found = []
    for options, (name, pieces) in itertools.product(SETS, PIECES.items()):
        seconds = MODEL.seconds(costs.work(SHAPE, pieces, Options.parse(options)))
        audio = sum(piece.generated for piece in pieces) / 93.75
        one = Taken(options, name, pieces, audio, (2 * seconds, seconds), (seconds, 0.9 * seconds))
        times = tuple(disturbed(one) * value for value in one.seconds)
        found.append(dataclasses.replace(one, seconds=times))
    return found


def test_every_set_of_toggles_loads_and_none_is_in_both_halves() -> None:
    """What is predicted was not fitted: other toggles, other lengths."""
    assert len({Options.parse(options) for options in SETS}) == len(SETS)
    assert not set(FITTED_SETS) & set(OTHER_SETS)
    assert set(PIECES) == set(TEXTS) > set(FITTED_TEXTS)
    assert GROWN in SETS


def test_a_machine_that_follows_the_model_is_predicted() -> None:
    """All pairs are within the tolerance, and each kind of pair is counted."""
    found = record(taken(), SHAPE, CEILINGS)
    assert found["all_within"]
    assert {role: one["pairs"] for role, one in found["within"].items()} == {
        "fitted": len(FITTED_SETS) * len(FITTED_TEXTS),
        "other length": len(FITTED_SETS) * 2,
        "other toggles": len(OTHER_SETS) * len(FITTED_TEXTS),
        "other length and toggles": len(OTHER_SETS) * 2,
    }
    assert all(one["within"] == one["pairs"] for one in found["within"].values())


def test_a_set_of_toggles_that_does_not_follow_is_said() -> None:
    """It was held out, so the model cannot bend to it: 40 % slower is 29 % off, and only there."""
    found = record(taken(lambda one: 1.4 if one.options == OTHER_SETS[0] else 1.0), SHAPE, CEILINGS)
    assert not found["all_within"]
    wrong = [row for row in found["rows"] if abs(row["error"]) > found["tolerance"]]
    assert {row["options"] for row in wrong} == {OTHER_SETS[0]}
    assert found["within"]["other toggles"]["worst_error"] == pytest.approx(1 - 1 / 1.4, abs=0.02)


def test_the_fastest_round_counts_with_its_own_share() -> None:
    """A disturbed round changes neither time nor share."""
    one = taken()[0]
    assert one.fastest == min(one.seconds)
    assert one.outside == pytest.approx(0.1)


def test_growth_comes_from_single_pieces_and_the_ratio_from_ten_times_the_text() -> None:
    """Chunking would hide the square; it is what the ratio is about."""
    found = record(taken(), SHAPE, CEILINGS)
    assert found["growth"]["frames"] == [240, 408, 654, 1092]
    assert found["growth"]["error"] < 0.02
    times = {(row["options"], row["text"]): row["seconds"] for row in found["rows"]}
    expected = times[GROWN, "short, ten times"] / times[GROWN, "short"]
    assert found["longer"]["times_seconds"] == pytest.approx(expected)


def test_measuring_warms_up_and_stops_when_the_budget_is_spent(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path
) -> None:
    """One round that counts is always there; the next begins only within the budget."""
    monkeypatch.setattr(cost_record, "SETS", ("nfe=1 hoist=on",))
    monkeypatch.setattr(cost_record, "TEXTS", {"greeting": "Good evening."})
    ticks = itertools.count(0.0, 100.0)
    (one,) = cost_record.measure("seeded-tiny", rounds=5, budget=150.0, clock=lambda: next(ticks))
    assert len(one.seconds) == 2
    assert one.options == "nfe=1 hoist=on"
    assert one.audio_seconds == pytest.approx(one.pieces[0].generated / 93.75, rel=0.01)


def test_the_record_is_json_and_has_a_picture(tmp_path: Path) -> None:
    """What is written can be read again and drawn."""
    found = {"checkpoint": "box", "machine": "here", **record(taken(), SHAPE, CEILINGS)}
    cost_plot.plot(json.loads(json.dumps(found)), tmp_path / "costs.png")
    assert (tmp_path / "costs.png").read_bytes().startswith(b"\x89PNG")
