"""The ladder: rungs add up, ratios have intervals, the table says what each toggle brought."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from engine.errors import OptionsError
from engine.gate.quality.speech import Sound
from engine.options import Options
from tests.studies.interleaved import Timed
from tests.studies.ladder import RUNGS, Rung, Taken, cumulative, rows
from tests.studies.ladder_report import markdown, plot


def test_rungs_add_up_and_later_words_win() -> None:
    """Each rung keeps the toggles of the rungs below and changes only its own."""
    climbed = cumulative(
        (Rung("bottom", ""), Rung("cache", "reference_cache=on"), Rung("steps", "nfe=7 schedule=epss"))
    )
    assert [str(rung.options) for rung in climbed] == [
        "reference",
        "reference_cache=True",
        "reference_cache=True nfe=7 schedule=epss",
    ]


def test_a_toggle_that_is_not_kept_leaves_the_next_rung_where_it_stood() -> None:
    """It is tried on the last rung that stays, and what comes after it does not have it."""
    climbed = cumulative(
        (Rung("bottom", ""), Rung("tried", "nfe=7", stays=False), Rung("cache", "reference_cache=on"))
    )
    assert [(rung.below, str(rung.options)) for rung in climbed[1:]] == [
        ("bottom", "nfe=7"),
        ("bottom", "reference_cache=True"),
    ]


def test_the_shipped_rungs_are_valid_and_start_at_the_reference() -> None:
    """The ladder that is measured can be measured, and its bottom is upstream's behaviour."""
    climbed = cumulative(RUNGS)
    sets = {rung.name: rung.options for rung in climbed}
    assert climbed[0].options == Options()
    assert len(sets) == len(climbed)
    assert all(rung.options != sets[rung.below] for rung in climbed[1:])


def test_the_rungs_that_stay_are_the_fast_set() -> None:
    """What is offered as fast is what the ladder kept, nothing else."""
    fused = dataclasses.replace(Options.fast_cpu(), int8="fused", attention="fused")
    assert [rung.options for rung in cumulative(RUNGS) if rung.stays][-1] == fused


def test_a_rung_that_does_not_exist_is_refused() -> None:
    """A toggle that is misspelt is an error before anything is measured."""
    with pytest.raises(OptionsError):
        cumulative((Rung("bottom", ""), Rung("typo", "presicion=bf16")))


def test_the_table_says_what_each_rung_brought(tmp_path: Path) -> None:
    """Halving the time at the second rung is its gain, against the rung below and against the reference."""
    np.zeros(2048, np.float32).tofile(tmp_path / "a.f32")
    rungs = cumulative(
        (
            Rung("reference", ""),
            Rung("cache", "reference_cache=on", stays=False),
            Rung("steps", "nfe=7 schedule=epss"),
        )
    )
    seconds = {"reference": (4.0, 4.4), "cache": (4.0, 4.4), "steps": (2.0, 2.2)}
    timed = {name: Timed({"hello": spent}, {"hello": 2.0}, {}) for name, spent in seconds.items()}
    taken = dict.fromkeys(seconds, Taken(1.0, 100.0, "a", ()))
    heard = {"steps": Sound(8, 20.0, 0.2, 0.125, 0.9, None)}
    found = rows(rungs, timed, taken, heard, tmp_path)
    assert [row["against_below"]["ratio"] for row in found] == pytest.approx([1.0, 1.0, 0.5])
    assert [row["lossless"] for row in found] == [True, True, False]
    assert found[2]["added"] == {"nfe": 7, "schedule": "epss"}
    ladder = {"rows": found, "checkpoint": "box", "machine": "here"}
    table = markdown(ladder)
    assert "| *cache* | `reference_cache=on` | x 1.000 [1.000, 1.000] |" in table
    assert "| steps | `nfe=7` `schedule=epss` | x 0.500 [0.500, 0.500] |" in table
    assert "| 0.125 | - | 0.900 |" in table
    plot(ladder, tmp_path / "ladder.png")
    assert (tmp_path / "ladder.png").stat().st_size > 10_000
