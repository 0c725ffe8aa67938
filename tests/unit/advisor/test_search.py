"""The search on a synthetic engine: known stages, known gains, and a clock that only its runs advance."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from engine.advisor.candidates import Candidate, enumerate_all
from engine.advisor.recommend import recommend
from engine.advisor.recommendation import Findings, Recommendation, SmallRun
from engine.advisor.search import Search
from engine.errors import UsageError
from engine.gate.data.outputs import TimedChange
from engine.gate.data.quality_limits import Limits
from engine.gate.data.verdict import Answer
from engine.options import Options
from tests.unit.advisor.made_up import BAD, COSTS, WELL, profiled, small_run

FACTORS: Mapping[str, Mapping[str, float]] = {
    "precision=bf16": {"sampling": 2.0},
    "int8=dynamic": {"sampling": 0.75},
    "compile=default": {"sampling": 0.65, "vocoder": 0.8},
    "vocoder_backend=onnx": {"vocoder": 0.4},
    "reference_cache=on": {"reference": 0.4},
    "hoist=on": {"sampling": 0.85},
    "buckets=on": {},
    "guidance=reuse": {"sampling": 0.8},
    "nfe=16 schedule=epss": {"sampling": 0.5},
}
"""What each toggle of the synthetic engine does to its stages."""


class Machine:
    """A virtual machine: seconds pass when a pair of processes loads and when it speaks."""

    limits = Limits()

    def __init__(self, **faults: Any) -> None:
        self.now = 0.0
        self.load = faults.get("load", 3.0)
        self.refused: Mapping[str, str] = faults.get("refused", {})
        self.idle: frozenset[str] = frozenset(faults.get("idle", ()))
        self.hangs: frozenset[str] = frozenset(faults.get("hangs", ()))
        self.sounds: Mapping[str, Answer] = faults.get("sounds", {})
        self.troubles: Mapping[str, str] = faults.get("troubles", {})
        self.random = np.random.default_rng(faults.get("seed", 0))
        self.noise = faults.get("noise", 0.01)
        self.runs: list[tuple[str, int]] = []
        self.heard: list[str] = []

    def compare(self, options: Options, rounds: int, seconds: float) -> SmallRun:
        """A block: its stages take what the toggles leave of them."""
        names, until = toggles(options), self.now + seconds
        self.runs.append((str(options), rounds))
        self.now += self.load
        for name, why in self.refused.items():
            if name in names:
                raise UsageError(
                    f"the candidate ended with code 1:\n  {why}\n", "one that loads", "Repair it"
                )
        if self.hangs & set(names):
            self.now = max(self.now, until)
            raise UsageError("the candidate ended with code -9:\n  no message\n", "one that speaks", "Repair")
        factors = dict.fromkeys(COSTS, 1.0)
        for name in names:
            for stage, factor in FACTORS.get(name, {}).items():
                factors[stage] *= factor
        self.now += (1 + rounds) * (1 + sum(COSTS[stage] * factor for stage, factor in factors.items()))
        pace = [float(np.exp(self.noise * self.random.standard_normal()))] * rounds
        evidence = {word.split("=")[0]: (True, "seen") for name in names for word in name.split()}
        evidence |= {
            word.split("=")[0]: (False, "it was never called") for name in self.idle for word in name.split()
        }
        moved = [TimedChange(workload="text", seed=7, mel_l2=1e-5)]
        moved += [
            TimedChange(workload="text", seed=8, trouble=trouble)  # type: ignore[arg-type]
            for name, trouble in self.troubles.items()
            if name in names
        ]
        return small_run(factors, pace, evidence=evidence, changes=tuple(moved), peak_mb=600.0)

    def hear(self, options: Options, seconds: float) -> Answer:
        """Twenty seconds of judging."""
        self.heard.append(str(options))
        self.now += 20.0
        known = [self.sounds[name] for name in toggles(options) if name in self.sounds]
        return next((sound for sound in known if sound.code), WELL)


def toggles(options: Options) -> list[str]:
    """The synthetic engine's toggles that are on in a set."""
    return [
        name for name in FACTORS
        if all(str(options).replace("True", "on").split().count(word) for word in name.split())
    ]  # fmt: skip


def candidates() -> list[Candidate]:
    """The candidates of a CPU whose factors are known."""
    found, _ = enumerate_all(Options(), "cpu", 1.8, checks=())
    return [one for one in found if one.name in FACTORS]


def searched(
    machine: Machine, budget: float = 1000.0, target: float = 0.36
) -> tuple[Findings, Recommendation]:
    """A search on the synthetic engine, and its report."""
    profile = profiled()
    search = Search(
        machine, Options(), profile.stages, budget, profile.rtf / target, clock=lambda: machine.now
    )
    findings = search.run(candidates())
    return findings, recommend(profile, findings, target)


def test_the_ranking_of_a_known_engine_is_right() -> None:
    """By what the toggles really do to the whole, in every draw of the noise; what does nothing is named."""
    whole = {
        name: sum(seconds * factors.get(stage, 1.0) for stage, seconds in COSTS.items())
        for name, factors in FACTORS.items()
    }
    large = [name for name in sorted(whole, key=lambda name: whole[name]) if whole[name] < 0.93]
    for seed in range(5):
        _, report = searched(Machine(seed=seed, noise=0.005))
        ranked = [row.name for row in report.rows if row.status == "faster"]
        assert ranked[: len(large)] == large
        last = {row.name: row.status for row in report.rows[-2:]}
        assert last == {"buckets=on": "nothing", "precision=bf16": "slower"}


def test_the_prediction_for_the_best_set_holds_within_a_tenth() -> None:
    """On an engine whose stages are known, several toggles together do what their trials promised."""
    for seed, target in itertools.product(range(5), (0.5, 0.36, 0.1)):
        _, report = searched(Machine(seed=seed), target=target)
        whole = report.combination
        assert whole is not None
        assert whole.error is not None
        assert whole.runs == 3
        assert abs(whole.error) < 0.1
        left = dict(COSTS)
        for name in toggles(Options.parse(whole.options)):
            for stage, factor in FACTORS[name].items():
                left[stage] *= factor
        assert whole.predicted == pytest.approx(1 / sum(left.values()), rel=0.1)


def test_a_target_that_the_engine_can_meet_is_met() -> None:
    """0.72 becomes 0.36 by lossless toggles and the one lossy toggle that it takes."""
    _, report = searched(Machine())
    assert report.exit_code == 0
    assert report.combination is not None
    assert set(report.combination.parts) >= {"compile=default", "hoist=on", "nfe=16 schedule=epss"}
    assert "guidance=reuse" not in report.combination.parts
    assert searched(Machine(), target=0.05)[1].exit_code == 1


def test_a_toggle_that_does_not_load_is_listed_with_its_error() -> None:
    """It says what it said last, gets no rank, and is not tried again."""
    machine = Machine(refused={"vocoder_backend=onnx": "DeviceError: no onnxruntime"})
    findings, report = searched(machine)
    (failed,) = [trial for trial in findings.trials if trial.error]
    assert (failed.name, failed.error) == ("vocoder_backend=onnx", "DeviceError: no onnxruntime")
    assert failed.name not in {row.name for row in report.rows}
    assert [name for name, _ in machine.runs].count("vocoder_backend=onnx") == 1


def test_a_toggle_whose_evidence_fails_has_no_gain_and_no_part_in_the_set() -> None:
    """It looked fast; nothing shows that it was switched on."""
    _, report = searched(Machine(idle={"compile=default"}))
    row = report.rows[-1]
    assert (row.name, row.status, row.gain) == ("compile=default", "not engaged", None)
    assert row.note == "compile: it was never called"
    assert report.combination is not None
    assert "compile=default" not in report.combination.parts


def test_what_sounds_worse_gives_way_to_the_next() -> None:
    """The lossy toggle with the largest gain is heard first, and left out."""
    machine = Machine(sounds={"nfe=16 schedule=epss": BAD})
    _, report = searched(machine, target=0.3)
    assert report.combination is not None
    assert "nfe=16 schedule=epss" not in report.combination.parts
    assert "int8=dynamic" in report.combination.parts
    assert machine.heard[:2] == ["nfe=16 schedule=epss", "int8=dynamic"]
    assert {row.name: row.status for row in report.rows}["nfe=16 schedule=epss"] == "sounds worse"


def test_only_what_is_recommended_is_heard() -> None:
    """Judging takes long: a lossless set that meets the target needs none."""
    machine = Machine()
    _, report = searched(machine, target=0.6)
    assert report.combination is not None
    assert machine.heard == []
    assert report.combination.sound.outcome == "lossless"


def test_a_lossless_toggle_that_moves_the_result_or_its_length_is_not_taken() -> None:
    """It claims to keep the result; the answers that were timed say whether it does."""
    _, report = searched(Machine(troubles={"hoist=on": "another length"}))
    rows = {row.name: row for row in report.rows}
    assert rows["hoist=on"].status == "sounds worse"
    assert rows["hoist=on"].sound.outcome == "not lossless"


def test_hearing_that_would_take_too_long_is_no_verdict() -> None:
    """What was never judged is marked so, not passed."""
    findings, _ = searched(Machine(load=2.0), budget=150.0, target=0.1)
    late = [trial for trial in findings.trials if "no time was left" in trial.sound.sentence]
    assert late
    assert all(trial.sound.outcome == "not judged" for trial in late)


def test_the_budget_is_kept() -> None:
    """Whatever the toggles take; only the run that is under way may still end after it."""
    for budget in (20.0, 60.0, 150.0, 400.0):
        machine = Machine(load=4.0)
        findings, _ = searched(machine, budget=budget)
        assert findings.spent <= budget + 2.1
        assert findings.spent == machine.now
        assert len(findings.trials) + len(findings.untried) == len(FACTORS)


def test_what_there_was_no_time_for_is_listed_and_has_the_smallest_bounds() -> None:
    """Candidates go by Amdahl's bound, and what has to be compiled goes last."""
    findings, _ = searched(Machine(load=4.0), budget=60.0)
    assert all(refused.reason == "no time was left in the budget" for refused in findings.untried)
    late = {refused.name for refused in findings.untried}
    assert {"reference_cache=on", "compile=default", "vocoder_backend=onnx"} <= late
    assert "int8=dynamic" not in late


def test_a_toggle_that_hangs_is_ended_and_named() -> None:
    """It takes the time that trials have, and no more; the budget is kept."""
    findings, _ = searched(Machine(hangs={"compile=default"}), budget=300.0)
    (failed,) = [trial for trial in findings.trials if trial.error]
    assert (failed.name, failed.error) == ("compile=default", "took longer than the budget allows")
    assert findings.spent <= 302.1


def test_the_better_half_runs_again_and_longer() -> None:
    """Two calls for all, four for the better half, six for the best of those."""
    findings, _ = searched(Machine())
    calls = {
        trial.name: [len(run.candidate.series[0].calls) for run in trial.runs] for trial in findings.trials
    }
    assert calls["nfe=16 schedule=epss"] == [2, 4, 6]
    assert calls["precision=bf16"] == calls["buckets=on"] == [2]
    assert sorted(map(len, calls.values()), reverse=True)[:6] == [3, 3, 3, 2, 2, 1]


def test_a_present_configuration_that_does_not_load_is_an_error() -> None:
    """There is nothing to compare with, so no candidate is blamed."""

    class Broken(Machine):
        def compare(self, options: Options, rounds: int, seconds: float) -> SmallRun:
            raise UsageError("the base (0123456789, nfe=7) ended with code 1", "one that loads", "Repair it")

    search = Search(Broken(), Options(), COSTS, 100.0, 2.0)
    with pytest.raises(UsageError, match="the base"):
        search.run(candidates())


def test_what_failed_or_never_engaged_or_moved_the_result_does_not_run_again() -> None:
    """However fast it looked, more calls would tell nothing new."""
    machine = Machine(
        idle={"nfe=16 schedule=epss"},
        troubles={"compile=default": "another length"},
        refused={"int8=dynamic": "DeviceError: no 8-bit product"},
    )
    searched(machine)
    tried = [name for name, _ in machine.runs]
    for options in ("nfe=16 schedule=epss", "compile=default", "int8=dynamic"):
        assert tried.count(options) == 1, options
