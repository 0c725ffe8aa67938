"""The calibration: its noise models, its bookkeeping, and that the committed figures are of this code."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from engine.errors import UsageError
from engine.gate.data import samples
from engine.gate.stats.looks import Plan, draw_orders
from engine.gate.stats.ratio_test import decide, finished
from tests.studies import calibrate, scenarios
from tests.studies.calibration_plot import plot
from tests.studies.scenarios import Scenario, Target
from tests.studies.simulate import MACHINES, SHAPES, Calls, Noise, run_gate, simulate, simulate_tails
from tests.unit.gate import builders

COMMITTED = Path(__file__).parents[3] / "baselines" / "calibration.json"


@pytest.fixture(scope="module")
def committed():
    """The committed calibration."""
    return json.loads(COMMITTED.read_text())


class TestNoise:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_shapes_have_unit_deviation(self, shape):
        """A stated CV means the same for every shape."""
        values = SHAPES[shape](np.random.default_rng(0), (200_000,))
        assert values.std() == pytest.approx(1.0, rel=0.1)

    @pytest.mark.parametrize("cv", [0.015, 0.16])
    def test_cv_is_that_of_process_medians(self, cv):
        """Log medians are scaled so that the medians themselves have the stated CV."""
        times = np.exp(Noise(cv).logs(np.random.default_rng(0), 500, 1, 25))
        assert times.std() / times.mean() == pytest.approx(cv, rel=0.03)

    @pytest.mark.parametrize(
        ("name", "share", "dwell"), [("3 %, dwell 3", 0.03, 3), ("50 %, dwell 8", 0.5, 8)]
    )
    def test_throttling_keeps_its_share_and_dwell(self, name, share, dwell):
        """The chain is throttled that often, for that long, by 25 to 30 %."""
        pace = MACHINES[f"throttle {name}"](np.random.default_rng(0), 400, 400)
        slow = pace > 0
        assert slow.mean() == pytest.approx(share, rel=0.1)
        assert (slow[:, :-1] & ~slow[:, 1:]).sum() / slow[:, :-1].sum() == pytest.approx(1 / dwell, rel=0.1)
        assert set(np.unique(np.floor(np.expm1(pace[slow]) * 20))) == {5.0}

    @pytest.mark.parametrize("machine", MACHINES)
    def test_workloads_of_a_process_share_the_machine(self, machine):
        """Without noise of their own, all workloads of a run move together."""
        logs = Noise(1e-12, machine=machine).logs(np.random.default_rng(1), 3, 2, 5)
        assert logs.shape == (3, 2, 5, 4)
        assert np.allclose(logs[:, 0], logs[:, 1], atol=1e-9)

    def test_the_pause_comes_before_a_block(self):
        """Only the first process of each block is slower."""
        assert MACHINES["pause"](np.random.default_rng(0), 1, 8)[0] == pytest.approx(
            [math.log(1.1), 0, 0, 0] * 2
        )


class TestSimulation:
    @pytest.mark.parametrize("change", [0.0, 0.2])
    def test_is_the_gate_run_one_look_at_a_time(self, change):
        """The vectorised runs stop where `decide` and `finished` would, with the same verdicts."""
        plan, generator = Plan(10, family=3), np.random.default_rng(2)
        logs = Noise(0.04).logs(generator, 6, 2, 10)
        orders = draw_orders(10, generator, 6)
        outcome = run_gate(logs, orders, change, plan)
        for run in range(6):
            candidate = np.array([[not f, f, f, not f] for f in orders[run]])
            times = np.exp(logs[run] + candidate * math.log1p(change))
            for look in plan.looks:
                decisions = [decide(one[:look], orders[run, :look], plan) for one in times]
                if finished(decisions):
                    break
            assert outcome.blocks[run] == look
            assert outcome.verdicts[run].tolist() == [decision.verdict.value for decision in decisions]

    def test_goes_on_over_batches(self, monkeypatch):
        """More runs than fit one batch are all there."""
        monkeypatch.setattr("tests.studies.simulate.BATCH", 7)
        outcome = simulate(Noise(0.05), 0.0, Plan(4), 2, 17, np.random.default_rng(0))
        assert outcome.verdicts.shape == (17, 2)
        assert outcome.blocks.shape == (17,)

    def test_slow_calls_are_in_the_candidates_tail_only(self):
        """Every 10th call of the candidate is seen, and none where there is no fault."""
        generator, plan = np.random.default_rng(0), Plan(6, family=2)
        assert set(simulate_tails(Calls(20, slow_every=10), plan, 2, 5, generator)) == {"SLOWER"}
        assert set(simulate_tails(Calls(20), plan, 2, 5, generator)) == {"SAME"}


class TestReport:
    def test_bounds_are_clopper_and_pearsons(self):
        """Each bound is where its tail probability is 5 %."""
        found = calibrate.rate(3, 100)
        assert stats.binom.sf(2, 100, found["low_95"]) == pytest.approx(0.05)
        assert stats.binom.cdf(3, 100, found["high_95"]) == pytest.approx(0.05)
        assert (found["events"], found["runs"], found["rate"]) == (3, 100, 0.03)

    @pytest.mark.parametrize(
        ("target", "met"),
        [
            (None, None),
            (Target(at_most=1.0), True),
            (Target(at_most=0.0), False),
            (Target(at_least=0.999), True),
            (Target(bound_at_most=0.5), False),
        ],
    )
    def test_targets_are_held_against_rates_and_bounds(self, target, met):
        """A huge slow-down is always seen: each kind of target is met or missed by that."""
        scenario = Scenario(Noise(0.01), 0.5, 5, 20, (("SLOWER", target),))
        held = calibrate.run_scenario(scenario)["rates"]["SLOWER"]
        assert (held["rate"], held["met"]) == (1.0, met)

    def test_events_are_what_they_are_called(self):
        """Any and all are over the workloads of a run, the others about the first."""
        verdicts = np.array([["SAME", "FASTER"], ["SLOWER", "SAME"], ["SAME", "SAME"], ["UNDECIDED", "SAME"]])
        found = {name: event(verdicts).tolist() for name, event in scenarios.EVENTS.items()}
        assert found == {
            "any FASTER or SLOWER": [True, True, False, False],
            "FASTER": [False, False, False, False],
            "any FASTER": [True, False, False, False],
            "any SAME": [True, True, True, True],
            "all SAME": [False, False, True, False],
            "SLOWER": [False, True, False, False],
            "SAME": [True, False, True, False],
            "UNDECIDED": [False, False, False, True],
        }

    def test_scenarios_have_names_of_their_own(self):
        """The name seeds the scenario, so no two may share one."""
        names = [scenario.name for scenario in scenarios.scenarios()]
        assert len(names) == len(set(names))

    def test_a_seed_gives_the_same_rates_again(self):
        """Each scenario is reproducible by itself, and another seed is another sample."""
        scenario = Scenario(Noise(0.05), 0.05, 5, 300, (("SLOWER", None),))
        first, again = calibrate.run_scenario(scenario), calibrate.run_scenario(scenario)
        assert first == again
        assert calibrate.run_scenario(scenario, seed=1) != first

    def test_the_picture_is_drawn(self, committed, tmp_path):
        """The committed report makes a PNG."""
        plot(committed, tmp_path / "calibration.png")
        assert (tmp_path / "calibration.png").read_bytes().startswith(b"\x89PNG")

    def test_the_command_writes_both_files(self, tmp_path, monkeypatch, capsys):
        """A quick run with a recording writes JSON and PNG and does not fail on its rough rates."""
        few = [Scenario(Noise(0.01), 0.0, 4, 2_000, (scenarios.FALSE_ALARM,)), *scenarios.scenarios()[-2:]]
        monkeypatch.setattr(calibrate, "scenarios", lambda: few)
        monkeypatch.setattr(calibrate, "curve", lambda cv, blocks, seed, quick: CURVE | {"cv": cv})
        recording = samples.write(builders.run(base=builders.side()), tmp_path)
        paths = ("--out", str(tmp_path / "c.json"), "--plot", str(tmp_path / "c.png"))
        assert calibrate.main([*paths, "--recording", str(recording), "--quick"]) == 0
        report = json.loads((tmp_path / "c.json").read_text())
        assert report["recording"]["processes"] == 40
        assert report["recording"]["record"] == recording.name
        assert len(report["cells"]) == 3
        assert (tmp_path / "c.png").exists()
        assert "targets met" in capsys.readouterr().out

    def test_a_recording_of_two_different_arms_is_refused(self):
        """Their difference would pass for noise."""
        with pytest.raises(UsageError, match="two different arms"):
            calibrate.medians(builders.run())

    def test_the_medians_of_a_recording_stand_in_running_order(self):
        """One a process, by workload, however the record lists them."""
        run = builders.run(base=builders.side())
        mixed = run.model_copy(update={"processes": run.processes[::-1]})
        found = calibrate.medians(run)
        assert calibrate.medians(mixed) == found
        assert [len(times) for times in found.values()] == [40, 40]
        first = [call.seconds for call in run.processes[0].series[0].calls]
        assert found["short"][0] == np.median(first)

    def test_a_missed_target_fails_the_command(self, tmp_path, monkeypatch, capsys):
        """Without --quick a miss is named and the exit code is 1."""
        never = Scenario(Noise(0.01), 0.0, 4, 50, (("SAME", Target(at_most=0.0)),))
        monkeypatch.setattr(calibrate, "scenarios", lambda: [never])
        monkeypatch.setattr(calibrate, "curve", lambda cv, blocks, seed, quick: CURVE)
        monkeypatch.setattr("tests.studies.calibration_plot.plot", lambda report, path: None)
        paths = ("--out", str(tmp_path / "c.json"), "--plot", str(tmp_path / "c.png"))
        assert calibrate.main(paths) == 1
        assert never.name in capsys.readouterr().out.replace("\n", " ")
        assert json.loads((tmp_path / "c.json").read_text())["recording"] == "no recording"

    def test_importing_it_prints_nothing_and_draws_nothing(self):
        """matplotlib and rich are loaded only when used."""
        code = (
            "import sys, tests.studies.calibrate; print('matplotlib' in sys.modules, 'rich' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "False False\n"


CURVE = {"cv": 0.05, "blocks_max": 10, "changes": [0.0, 0.2], "SLOWER": [0.0, 1.0], "SAME": [1.0, 0.0]}


def recorded(processes: int, seed: int = 0, noise: float = 0.01) -> list[float]:
    """Process medians of a quiet machine, in seconds."""
    return np.exp(noise * np.random.default_rng(seed).standard_normal(processes)).tolist()


class TestReplay:
    def test_of_a_quiet_machine_is_quiet_and_sees_the_slow_down(self):
        """No alarms, always SAME, and +20 % always seen, with honest bounds for so few separate windows."""
        recording = {"short": recorded(100), "long": recorded(100, 1)}
        found = calibrate.replay(recording, Plan(10), np.random.default_rng(0), runs=200)
        assert (found["processes"], found["blocks_max"]) == (100, 10)
        assert found["cv"]["short"] == pytest.approx(
            np.std(recording["short"], ddof=1) / np.mean(recording["short"])
        )
        assert found["false alarms, given this recording"]["events"] == 0
        assert found["all SAME, given this recording"]["rate"] == 1.0
        assert found["SLOWER at +20 %, given this recording"]["rate"] == 1.0
        apart = found["false alarms, windows apart"]
        assert (apart["events"], apart["runs"]) == (0, 2)
        assert apart["high_95"] == pytest.approx(1 - math.sqrt(0.05))

    def test_windows_keep_the_running_order(self):
        """A machine that is throttled half of the time is seen to be unsteady, not averaged."""
        times = np.array(recorded(80))
        times[20:60] *= 1.3
        found = calibrate.replay({"short": times.tolist()}, Plan(10), np.random.default_rng(0), runs=200)
        assert found["all SAME, given this recording"]["rate"] < 0.9
        assert found["false alarms, given this recording"]["events"] == 0

    def test_a_short_recording_shortens_the_plan(self):
        """24 processes are six blocks."""
        found = calibrate.replay({"short": recorded(27)}, Plan(10), np.random.default_rng(0), runs=10)
        assert (found["processes"], found["blocks_max"]) == (27, 6)

    @pytest.mark.parametrize(
        "recording",
        [
            {},
            {"short": recorded(15)},
            {"short": recorded(40), "long": recorded(39)},
            {"short": [*recorded(39), 0.0]},
            {"short": [*recorded(39), math.nan]},
        ],
    )
    def test_refuses_what_is_no_recording(self, recording):
        """Too short, ragged, or holding placeholders: an error, never a rate."""
        with pytest.raises(UsageError, match="16 or more"):
            calibrate.replay(recording, Plan(10), np.random.default_rng(0))


class TestCommitted:
    def test_meets_its_targets_in_full_length(self, committed):
        """The committed report is no quick one, and misses nothing."""
        assert committed["quick"] is False
        assert committed["targets"] == committed["targets_met"] > 100
        assert committed["schema"] == calibrate.SCHEMA

    def test_covers_every_scenario(self, committed):
        """No scenario was dropped from, or added to, the code since, and none changed its targets."""
        held = {cell["name"]: list(cell["rates"]) for cell in committed["cells"]}
        assert held == {one.name: [event for event, _ in one.asks] for one in scenarios.scenarios()}

    def test_plan_is_the_present_one(self, committed):
        """Error rates, margins and looks are those the gate uses today."""
        plan = dataclasses.asdict(Plan(family=calibrate.FAMILY))
        plan["looks"] = {str(blocks): list(Plan(blocks).looks) for blocks in (3, 10, 20, 30)}
        assert committed["plan"] == plan

    @pytest.mark.parametrize("change", [0.0, 0.05])
    def test_is_reproduced_by_the_present_code(self, committed, change):
        """A few thousand new runs agree with the committed rates: the judge has not changed since."""
        name = f"{change:+.0%}, CV 5.0% gaussian, steady, 10 blocks"
        cell = next(cell for cell in committed["cells"] if cell["name"] == name)
        scenario = next(one for one in scenarios.scenarios() if one.name == name)
        again = calibrate.run_scenario(dataclasses.replace(scenario, runs=4_000), seed=99)
        for event, old in cell["rates"].items():
            new = again["rates"][event]
            table = [[rate["events"], rate["runs"] - rate["events"]] for rate in (old, new)]
            assert stats.fisher_exact(table).pvalue > 1e-4, event
