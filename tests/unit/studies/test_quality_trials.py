"""Trials of the quality gate: drawn by text and voice, counted, with bounds that know about clusters."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from engine.gate.data.quality_limits import Limits
from engine.gate.data.scores import Mos, Scores, Signal, WordErrors
from tests.studies import quality_trials
from tests.studies.quality_corpus import AGAIN, FIRST, Cell, Take, Takes
from tests.studies.quality_trials import ANOTHER_SEED, FAULTY, WRONG_VOICE, Scenario, rate

VOICES = ("ann", "bob")
TEXTS = tuple(f"Text number {number}." for number in range(6))
NAN = "one NaN frame"
LIMITS = Limits.model_validate({})


def scores(name: str, voice: str, generator: np.random.Generator, finite: bool = True) -> Scores:
    """What the judges say of good speech with a little noise of theirs."""
    signal = Signal(
        finite=finite, clipped=0.0, dc=0.0, loudness_dbfs=-25.0, silent_head_s=0.0, silent_tail_s=0.0,
        longest_silence_s=0.1, click=1.0, click_at_s=0.5, frozen_s=0.0,
    )  # fmt: skip
    likeness = {one: 0.8 if one == voice else 0.5 for one in VOICES}
    wrong = int(generator.integers(2))
    return Scores(
        output=hashlib.sha256(name.encode()).hexdigest(),
        seconds=2.0,
        voice=voice,
        signal=signal,
        heard="",
        words=WordErrors(word_edits=wrong, words=8, char_edits=2 * wrong, chars=40),
        similarities={one: value + 0.01 * generator.standard_normal() for one, value in likeness.items()},
        mos=Mos(ovrl=2.8 + 0.05 * generator.standard_normal(), sig=3.0, bak=3.5, p808=3.2),
    )


@pytest.fixture
def judged() -> dict[Cell, Takes]:
    """Six texts in two voices, each with three seeds, a rerun, and a wave with NaN."""
    generator = np.random.default_rng(0)
    found: dict[Cell, Takes] = {}
    for text in TEXTS:
        for voice in VOICES:
            cell = Cell(text, voice)
            names = [FIRST, "seed 1", "seed 2"]
            takes = {name: Take(scores=scores(f"{cell} {name}", voice, generator)) for name in names}
            takes[AGAIN] = takes[FIRST]
            takes[NAN] = Take(scores=scores(f"{cell} nan", voice, generator, finite=False))
            found[cell] = takes
    return found


def codes(scenario: Scenario, judged: dict[Cell, Takes], seed: int = 0) -> np.ndarray:
    """Exit codes of a few trials."""
    return quality_trials.try_scenario(scenario, judged, LIMITS, corpora=3, runs=4, seed=seed).codes


def test_a_fault_in_every_clip_is_always_caught_by_its_judge(judged: dict[Cell, Takes]) -> None:
    """And counted for that judge in every run."""
    trials = quality_trials.try_scenario(Scenario(NAN, 6), judged, LIMITS, corpora=3, runs=4)
    assert (trials.codes == 1).all()
    assert trials.by["signal"] == 12


def test_a_fault_in_one_clip_is_in_exactly_one_pair(judged: dict[Cell, Takes]) -> None:
    """The other candidates are the base's own takes, where both have the same noise."""
    scenario = Scenario(NAN, 6, extent="one clip")
    for seed in range(5):
        generator = np.random.default_rng(seed)
        pairs = list(quality_trials._pairs(scenario, list(judged)[:6], judged, generator))
        assert [pair.candidate.signal.finite for pair in pairs].count(False) == 1
        assert sum(pair.base.output == pair.candidate.output for pair in pairs) == 5


def test_clean_runs_do_not_fail(judged: dict[Cell, Takes]) -> None:
    """Neither the same output again, nor another seed."""
    assert (codes(Scenario(AGAIN, 6), judged) != 1).all()
    assert (codes(Scenario(ANOTHER_SEED, 6, "other"), judged) != 1).all()


def test_another_seed_compares_two_different_takes(judged: dict[Cell, Takes]) -> None:
    """Never a take with itself: that would be no noise at all."""
    scenario, cells = Scenario(ANOTHER_SEED, 6, "other"), list(judged)
    pairs = quality_trials._pairs(scenario, cells, judged, np.random.default_rng(0))
    assert all(pair.base.output != pair.candidate.output for pair in pairs)


def test_other_noise_means_another_seed_in_the_base(judged: dict[Cell, Takes]) -> None:
    """And then no distance is computed, for there is none to speak of."""
    pairs = list(
        quality_trials._pairs(Scenario(NAN, 6, "other"), list(judged), judged, np.random.default_rng(0))
    )
    first = {takes[FIRST].scores.output for takes in judged.values()}
    assert not first & {pair.base.output for pair in pairs}
    assert all(pair.distance is None for pair in pairs)


def test_the_wrong_voice_is_the_same_text_by_somebody_else(judged: dict[Cell, Takes]) -> None:
    """Held against the voice that should have spoken."""
    for pair in quality_trials._pairs(
        Scenario(WRONG_VOICE, 6), list(judged), judged, np.random.default_rng(0)
    ):
        assert pair.candidate.voice == pair.base.voice == pair.voice
        assert pair.candidate.nearest not in (None, pair.voice)
        other = Cell(pair.text, VOICES[1 - VOICES.index(pair.voice)])
        assert pair.candidate.output == judged[other][FIRST].scores.output


def test_the_wrong_voice_needs_a_text_spoken_twice(judged: dict[Cell, Takes]) -> None:
    """A text in one voice only has no stale take."""
    lonely = {Cell("Alone.", "ann"): next(iter(judged.values())), **judged}
    assert "Alone." not in quality_trials._usable(Scenario(WRONG_VOICE, 6), lonely)
    assert "Alone." in quality_trials._usable(Scenario(NAN, 6), lonely)


def test_only_cells_that_have_the_change_are_drawn(judged: dict[Cell, Takes]) -> None:
    """A clean cell never stands in for a spoiled one."""
    some = {
        cell: {name: take for name, take in takes.items() if name != NAN or cell.voice == "ann"}
        for cell, takes in judged.items()
    }
    assert (codes(Scenario(NAN, 6), some) == 1).all()


def test_a_scenario_gives_the_same_trials_again_and_no_other_scenario_does(
    judged: dict[Cell, Takes],
) -> None:
    """Each is seeded by what it is, so one can be run alone."""

    def drawn(scenario: Scenario) -> list[str]:
        seen: list[str] = []
        original = quality_trials.compare

        def spy(pairs, limits, *, lossless):  # type: ignore[no-untyped-def]
            seen.extend(pair.text + pair.voice for pair in pairs)
            return original(pairs, limits, lossless=lossless)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(quality_trials, "compare", spy)
            codes(scenario, judged)
        return seen

    scenario = Scenario(NAN, 6)
    assert drawn(scenario) == drawn(dataclasses.replace(scenario))
    assert drawn(scenario) != drawn(dataclasses.replace(scenario, noise="other"))


def test_runs_apart_share_no_clip(judged: dict[Cell, Takes]) -> None:
    """Twelve cells make three runs of four; what is left over is not used."""
    assert len(quality_trials.apart(Scenario(NAN, 4), judged, LIMITS)) == 3
    assert len(quality_trials.apart(Scenario(NAN, 5), judged, LIMITS)) == 2
    assert len(quality_trials.apart(Scenario(NAN, 13), judged, LIMITS)) == 0


@given(st.integers(2, 30), st.integers(1, 30), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_bounds_are_never_tighter_than_exact_ones_and_hold_the_rate(
    corpora: int, runs: int, chance: float, seed: int
) -> None:
    """Clopper-Pearson of all trials as if they were independent is the least that is admitted."""
    events = np.random.default_rng(seed).random((corpora, runs)) < chance
    found = rate(events)
    exact = stats.binomtest(int(events.sum()), events.size).proportion_ci(0.90, method="exact")
    assert found["low_95"] <= exact.low <= found["rate"] <= exact.high <= found["high_95"]
    assert found["low_95"] >= 0
    assert found["high_95"] <= 1


def test_corpora_that_differ_widen_the_bounds_and_their_own_chance_does_not() -> None:
    """Half of the corpora all fail: the rate is anything. Independent trials: the exact bounds, about."""
    clustered = np.repeat(np.arange(40) % 2 == 0, 25).reshape(40, 25)
    assert rate(clustered)["low_95"] < 0.02
    assert rate(clustered)["high_95"] > 0.98
    independent = rate(np.random.default_rng(0).random((40, 25)) < 0.5)
    assert independent["high_95"] - independent["low_95"] < 0.12


def test_every_fault_is_tried_in_both_sets_against_both_noises() -> None:
    """None is forgotten, and no scenario is there twice."""
    wanted = list(quality_trials.scenarios((24, 8)))
    assert len(set(wanted)) == len(wanted)
    for size in (24, 8):
        for noise in ("same", "other"):
            assert {one.change for one in wanted if (one.size, one.noise) == (size, noise)} >= set(FAULTY)
    assert all(one.clean == (one.change not in FAULTY) for one in wanted)


def test_recordings_come_with_their_words_or_are_refused(tmp_path: Path) -> None:
    """A WAV without its text cannot be judged."""
    from engine.errors import UsageError
    from tests.studies.quality_corpus import recordings

    assert len(recordings()) == 5
    with pytest.raises(UsageError, match="WAV files"):
        recordings(tmp_path)
    (tmp_path / "one.wav").touch()
    with pytest.raises(UsageError, match=r"one\.txt"):
        recordings(tmp_path)
    (tmp_path / "one.txt").write_text("Hello.\n")
    assert recordings(tmp_path)[-1].text == "Hello."
