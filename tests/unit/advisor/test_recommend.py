"""The recommender: what was measured ranks, Amdahl bounds, predictions hold on engines that are known."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from engine.advisor.candidates import STAGES, Candidate, amdahl
from engine.advisor.gains import Gain, better_half, measured_gain, noise, predict, stage_factors
from engine.advisor.recommend import best_set, bounds, rank, recommend, what_next
from engine.advisor.recommendation import Findings, Recommendation, SmallRun, Trial, load, rtfs, stages
from engine.errors import UsageError
from engine.gate.data.verdict import Answer
from engine.options import Options
from tests.unit.advisor.made_up import (
    BAD,
    COSTS,
    UNSURE,
    WELL,
    found,
    idle,
    process,
    profiled,
    small_run,
    trial,
)

NOW = datetime.datetime(2030, 1, 2, tzinfo=datetime.timezone.utc)


def candidate(**changes: Any) -> Candidate:
    """The candidate of a trial of the same name."""
    options = Options(**changes)
    return Candidate(changes, options, ("sampling",), 0.0, options.only_lossless(Options()), ())


def statuses(*trials: Trial) -> dict[str, str]:
    """Name -> status, in the order of the ranking."""
    return {row.name: row.status for row in rank(found(*trials), COSTS)}


def test_the_ranking_follows_the_gains_and_names_what_does_nothing() -> None:
    """Largest gain first; a toggle without any is the last of those that engaged."""
    ranked = statuses(
        trial("nothing", {"vocoder": 1.0}),
        trial("small", {"vocoder": 0.1}),
        trial("large", {"sampling": 0.3}),
        trial("middle", {"sampling": 0.6}),
    )
    assert ranked == {"large": "faster", "middle": "faster", "small": "faster", "nothing": "nothing"}
    assert list(ranked) == ["large", "middle", "small", "nothing"]


def test_a_toggle_that_did_not_engage_has_no_gain_and_stands_last() -> None:
    """However fast it looked: the reason is what was observed."""
    fast = trial("idle", {"sampling": 0.1}, **idle("compile", "0 compiled graphs ran"))
    rows = rank(found(fast, trial("slow", {"sampling": 1.5})), COSTS)
    assert [(row.name, row.status) for row in rows] == [("slow", "slower"), ("idle", "not engaged")]
    assert rows[-1].gain is None
    assert rows[-1].note == "compile: 0 compiled graphs ran"


def test_faster_but_wrong_ranks_below_what_sounds_right() -> None:
    """Speed does not buy a bad sound a place."""
    ranked = statuses(
        trial("wrong", {"sampling": 0.1}, sound=BAD), trial("right", {"sampling": 0.9}, sound=WELL)
    )
    assert ranked == {"right": "faster", "wrong": "sounds worse"}


def test_one_run_alone_has_no_interval_and_claims_nothing() -> None:
    """Calls of one block do not say how blocks differ."""
    alone = trial("one", {"sampling": 0.5}, runs=1)
    (row,) = rank(found(alone), COSTS)
    assert (row.status, row.low, row.high) == ("unclear", None, None)


def test_the_gain_is_the_mean_over_runs_with_student_s_interval() -> None:
    """A run is the median of its paired calls; scipy's t over the runs of all trials."""
    runs = tuple(small_run({}, (pace, pace, 5.0)) for pace in (1.0, 1.2, 0.9))
    apart = Trial(name="a", options="a", runs=runs)
    gain = measured_gain(apart, noise([apart]))
    logs = [-math.log(pace) for pace in (1.0, 1.2, 0.9)]
    assert apart.log_speed_ups == pytest.approx(logs)
    low, high = stats.t.interval(0.95, 2, np.mean(logs), stats.sem(logs))
    assert [math.log(value) for value in gain] == pytest.approx([np.mean(logs), low, high])
    assert gain.low < 1 < gain.high


def test_trials_share_what_they_know_of_the_noise() -> None:
    """Twenty toggles with two runs each give a narrower interval than one with two runs."""
    two = Trial(name="two", options="two", runs=(small_run({}, (1.01, 1.01)), small_run({}, (0.99, 0.99))))
    alone, together = measured_gain(two, noise([two])), measured_gain(two, noise([two] * 20))
    assert math.log(together.high / together.low) < 0.3 * math.log(alone.high / alone.low)


def test_rtf_and_stages_are_those_of_the_calls() -> None:
    """Seconds for a second of audio."""
    run = small_run({"sampling": 0.5}, (1.0, 2.0, 2.0), audio=2.0)
    assert rtfs(run.candidate) == pytest.approx([0.72 * 0.65 / 2 * pace for pace in (1, 2, 2)])
    assert stages(run.candidate)["sampling"] == pytest.approx(0.35 / (2 / 0.72))


factor = st.floats(0.0, 1.0)
cost = st.floats(0.001, 10.0)
costs_of_stages = st.fixed_dictionaries(dict.fromkeys(STAGES, cost))


@given(costs_of_stages, st.sets(st.sampled_from(STAGES), min_size=1), st.data())
def test_no_engine_beats_amdahl(costs: dict[str, float], touched: set[str], data: st.DataObject) -> None:
    """Whatever happens to the stages that a toggle touches, the whole is never faster than the bound."""
    left = {
        name: seconds * (data.draw(factor) if name in touched else 1.0) for name, seconds in costs.items()
    }
    if sum(left.values()) > 1e-6 * sum(costs.values()):
        assert sum(costs.values()) / sum(left.values()) <= amdahl(costs, touched) * (1 + 1e-9)


def test_what_must_remain_of_a_stage_lowers_the_bound() -> None:
    """Half of the evaluations still take half of the time, whatever else is done."""
    assert amdahl(COSTS, ["sampling"]) == pytest.approx(1 / 0.3)
    assert amdahl(COSTS, ["sampling"], 0.5) == pytest.approx(1 / 0.65)
    assert amdahl(COSTS, STAGES) == math.inf
    assert amdahl(COSTS, []) == 1


@given(costs_of_stages, st.sampled_from(STAGES), st.floats(0.01, 1.0), st.floats(1e-6, 3.0))
def test_neither_a_gain_nor_a_prediction_passes_the_bound(
    costs: dict[str, float], stage: str, floor: float, ratio: float
) -> None:
    """Even where the measurement claims more, by noise or by skipped work."""
    claimed = SmallRun(
        base=process("base", costs), candidate=process("candidate", {stage: ratio * costs[stage]})
    )
    one = Trial(name="t", options="t", touches=(stage,), floor=floor, runs=(claimed, claimed))
    bound = amdahl(costs, [stage], floor)
    (row,) = rank(found(one), costs)
    assert row.gain is not None
    assert row.gain <= bound * (1 + 1e-9)
    assert predict(costs, [one, one]) <= amdahl(costs, [stage]) * (1 + 1e-9)
    assert predict(costs, [one]) <= bound * (1 + 1e-9)


def test_a_gain_beyond_the_bound_is_said() -> None:
    """A vocoder that takes a tenth of the time cannot halve it."""
    odd = Trial(name="odd", options="odd", touches=("vocoder",), runs=(small_run({"sampling": 0.3}),) * 2)
    (row,) = rank(found(odd, trial("other", {"sampling": 0.9})), COSTS)[-1:]
    ranked = {one.name: one for one in rank(found(odd), COSTS)}
    assert ranked["odd"].gain == pytest.approx(1 / 0.9)
    assert "more than Amdahl's law allows" in ranked["odd"].note
    assert row.bound is not None


@given(st.lists(st.tuples(st.sampled_from(STAGES), st.floats(0.1, 1.5)), min_size=1, max_size=5))
def test_the_prediction_is_exact_where_toggles_do_not_disturb_each_other(
    parts: list[tuple[str, float]],
) -> None:
    """Slow oracle: the engine whose stages take the product of all factors."""
    left = dict(COSTS)
    for stage, ratio in parts:
        left[stage] *= ratio
    trials = [trial(f"t{index}", {stage: ratio}) for index, (stage, ratio) in enumerate(parts)]
    assert predict(COSTS, trials) == pytest.approx(sum(COSTS.values()) / sum(left.values()))


def test_what_a_toggle_does_not_touch_is_left_out_of_the_prediction() -> None:
    """A slow moment of the sampler is no gain of the vocoder."""
    noisy = trial("v", {"vocoder": 0.5, "sampling": 0.7}, touches=("vocoder",))
    assert stage_factors(noisy) == {"vocoder": pytest.approx(0.5)}


def test_a_stage_that_takes_no_time_has_no_factor() -> None:
    """A cached reference cannot be sped up, and nothing is divided by zero."""
    empty = process("base", {**COSTS, "reference": 0.0})
    run = small_run({}).model_copy(update={"base": empty})
    cached = Trial(name="c", options="c", touches=("reference",), runs=(run,))
    assert stage_factors(cached) == {"reference": 1.0}


@given(st.dictionaries(st.text("abcdef", min_size=1), st.floats(0.2, 5.0), max_size=20))
def test_halving_keeps_the_best_and_half_at_most(means: dict[str, float]) -> None:
    """Options that do not exclude each other: the better half, best first, none that is surely slower."""
    gains = {name: Gain(mean, mean * 0.99, mean * 1.01) for name, mean in means.items()}
    alive = better_half(gains, {name: frozenset([name]) for name in gains})
    hopeful = sorted((mean for mean in means.values() if mean * 1.01 > 1), reverse=True)
    assert [means[name] for name in alive] == hopeful[: max(3, math.ceil(len(means) / 2))]


def test_seven_step_counts_do_not_crowd_out_everything_else() -> None:
    """Two values of an option at first; the rest waits behind the others."""
    means = {f"nfe={count}": 9.0 - count for count in range(4, 8)} | {"hoist=on": 1.2, "buckets=on": 1.1}
    gains = {name: Gain(mean, mean, mean) for name, mean in means.items()}
    names = {name: frozenset([name.split("=")[0]]) for name in means}
    assert better_half(gains, names) == ["nfe=4", "nfe=5", "hoist=on"]


def known(*trials: tuple[dict[str, Any], float, Answer]) -> tuple[list[Candidate], Findings]:
    """Candidates with their trials, by what each makes of the sampler's time."""
    candidates = [candidate(**changes) for changes, _, _ in trials]
    tried = [
        trial(one.name, {"sampling": ratio}, lossless=one.lossless, sound=sound, options=str(one.options))
        for one, (_, ratio, sound) in zip(candidates, trials, strict=True)
    ]
    return candidates, found(*tried)


def test_lossless_gains_come_first_and_lossy_ones_only_until_the_target_is_met() -> None:
    """A risk to the sound is only taken where the target asks for it."""
    tried = known(
        ({"hoist": True}, 0.8, WELL),
        ({"nfe": 16}, 0.5, WELL),
        ({"guidance": "reuse"}, 0.7, WELL),
        ({"buckets": True}, 1.4, WELL),
    )
    easy, hard = (best_set(Options(), *tried, COSTS, required) for required in (1.1, 100.0))
    assert easy is not None
    assert hard is not None
    assert [part.name for part in easy.parts] == ["hoist=on"]
    assert [part.name for part in hard.parts] == ["hoist=on", "nfe=16", "guidance=reuse"]
    assert hard.predicted == pytest.approx(1 / (0.3 + 0.7 * 0.8 * 0.5 * 0.7), rel=0.01)


def test_values_of_one_option_and_conflicts_exclude_each_other() -> None:
    """The faster one stays; `attention=math` cannot be compiled."""
    tried = known(
        ({"compile": "default"}, 0.5, WELL), ({"attention": "math"}, 0.6, WELL),
        ({"compile": "max-autotune"}, 0.7, WELL), ({"hoist": True}, 0.9, WELL),
    )  # fmt: skip
    best = best_set(Options(), *tried, COSTS, 100.0)
    assert best is not None
    assert best.options == Options(compile="default", hoist=True)


def test_a_set_that_the_device_refuses_is_not_built() -> None:
    """Each works alone, both together do not."""
    tried = known(({"compile": "default"}, 0.5, WELL), ({"hoist": True}, 0.9, WELL))
    best = best_set(Options(), *tried, COSTS, 100.0, lambda o: not (o.hoist and o.compile != "off"))
    assert best is not None
    assert best.options == Options(compile="default")


def test_a_sure_sound_is_preferred_to_a_faster_unsure_one() -> None:
    """And what sounds worse is never taken."""
    tried = known(
        ({"nfe": 4}, 0.1, BAD), ({"nfe": 6}, 0.2, UNSURE), ({"nfe": 8}, 0.3, WELL), ({"nfe": 10}, 0.4, WELL)
    )
    best = best_set(Options(), *tried, COSTS, 100.0)
    assert best is not None
    assert best.options == Options(nfe=8)


def test_without_a_gain_there_is_no_set() -> None:
    """Nothing is recommended for the sake of recommending."""
    assert best_set(Options(), *known(({"hoist": True}, 1.0, WELL)), COSTS, 100.0) is None


def checked(factors: Mapping[str, float], sound: Answer = WELL, **changes: Any) -> Recommendation:
    """A report on two toggles, of which each halves a stage, and on what they did together."""
    trials = (trial("hoist=on", {"sampling": 0.5}), trial("vocoder_backend=onnx", {"vocoder": 0.5}))
    whole = trial("both", factors, sound=sound, runs=3, options="hoist=True", **changes)
    parts = ("hoist=on", "vocoder_backend=onnx")
    findings = found(*trials, parts=parts, whole=whole, budget=60.0)
    return recommend(profiled(), findings, 0.45, now=NOW)


def test_the_prediction_stands_beside_what_happened() -> None:
    """On an engine whose gains multiply, the error is small; on one where half is lost it is said."""
    right, wrong = checked({"sampling": 0.5, "vocoder": 0.5}), checked({"sampling": 0.9})
    assert right.combination is not None
    assert wrong.combination is not None
    assert right.combination.error == pytest.approx(0, abs=0.01)
    assert right.combination.predicted == pytest.approx(1 / 0.6, rel=0.01)
    assert wrong.combination.error == pytest.approx(0.93 / 0.6 - 1, abs=0.01)


def test_the_exit_code_says_whether_the_target_is_met_and_by_what() -> None:
    """By the present configuration, by a combination that engaged and sounds right, or by nothing."""
    both = {"sampling": 0.5, "vocoder": 0.5}
    assert recommend(profiled(rtf=0.3), found(), 0.36).met_by == "present configuration"
    assert checked(both).met_by == "combination"
    assert checked(both).exit_code == 0
    for failed in (
        checked({"sampling": 0.9}),
        checked(both, BAD),
        checked(both, **idle("hoist", "0 calls hoisted")),
        recommend(profiled(), found(), 0.45),
    ):
        assert (failed.met_by, failed.exit_code) == ("", 1)


def test_the_next_step_is_a_command() -> None:
    """The gate for a good set, people's ears where it sounds worse, more time where nothing is sure."""
    both = {"sampling": 0.5, "vocoder": 0.5}
    gate = checked(both).next
    assert gate.command == 'nox -s perf -- --options "hoist=True" --against-options "reference"'
    assert checked(both, BAD).next.command == 'ishowtts listen "hoist=True" "reference" -o listen.html'
    assert "undecided" in checked(both, UNSURE).next.sentence
    assert "0 calls hoisted" in checked(both, **idle("hoist", "0 calls hoisted")).next.sentence
    nothing = recommend(profiled(), found(trial("buckets=on", {"sampling": 1.0}), budget=60.0), 0.36)
    assert nothing.next.command == "ishowtts profile --target 0.36 --budget 120"
    assert "sampling for nothing would bring most" in nothing.next.sentence
    assert recommend(profiled(), found(), 0.36).next.command == "ishowtts profile --target 0.36"
    assert recommend(profiled(rtf=0.3), found(), 0.36).next.command == ""


def test_a_combination_that_broke_is_named_with_its_error() -> None:
    """Its prediction stays, without a figure beside it."""
    broken = Trial(name="both", options="hoist=True", error="it ran out of memory")
    findings = found(trial("hoist=on", {"sampling": 0.5}), parts=("hoist=on",), whole=broken)
    report = recommend(profiled(), findings, 0.36)
    assert report.combination is not None
    assert (report.combination.happened, report.combination.problem) == (None, "it ran out of memory")
    assert "it ran out of memory" in report.next.sentence
    assert report.exit_code == 1


def test_bounds_are_amdahls_and_called_so() -> None:
    """Every stage and every large operator, the largest first."""
    listed = list(bounds(profiled()))
    assert [(one.name, one.bound) for one in listed[:2]] == [
        ("sampling for nothing", pytest.approx(1 / 0.3)),
        ("aten::addmm for nothing", pytest.approx(2.0)),
    ]
    assert len(listed) == len(STAGES) + 2


def test_a_report_survives_json(tmp_path: Path) -> None:
    """The record says exactly what the report said."""
    report = checked({"sampling": 0.5, "vocoder": 0.5})
    report.save(tmp_path / "report.json")
    assert load(tmp_path / "report.json") == report
    assert what_next(load(tmp_path / "report.json")) == report.next


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    """Missing, empty, partial or of another version."""
    for content in (None, "", "{}", '{"schema_version": 1}'):
        if content is not None:
            (tmp_path / "report.json").write_text(content)
        with pytest.raises(UsageError, match="a recommendation of version 2"):
            load(tmp_path / "report.json")


def test_an_impossible_target_is_refused() -> None:
    """It is no real-time factor."""
    for target in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="a positive real-time factor"):
            recommend(profiled(), found(), target)
