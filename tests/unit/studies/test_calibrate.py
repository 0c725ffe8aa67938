"""The calibration: made-up runs are judged as the gate judges, and the committed figures are of this code."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path

import numpy as np
import pytest

from engine.errors import BaselineError, UsageError
from engine.gate.baselines.select import load
from engine.gate.data.limits import RelativeLimits
from engine.gate.data.samples import ARMS, Call, Process, Series
from engine.gate.measure import compare
from engine.gate.verdict import change
from tests.studies import calibrate, recordings, simulate
from tests.studies.calibration_plot import plot
from tests.studies.recordings import RecordedBlock, Recording
from tests.studies.simulate import Logs, Recipe, drawn, exit_codes, made_up
from tests.unit.gate import builders

BASELINES = Path(__file__).parents[3] / "baselines"
NAMES = ("short", "medium", "long")


@pytest.fixture(scope="module")
def limits() -> RelativeLimits:
    """Those that calibration holds."""
    return load(BASELINES / "portable.json").relative


def processes(logs: Logs, run: int, slower: float) -> list[Process]:
    """One made-up run as the gate's record of it."""
    made = []
    for block in range(logs.load.shape[1]):
        for place in range(4):
            factor = 1 + slower if place >= 2 else 1.0
            calls = np.exp(logs.calls[run, block, place]) * factor  # [workloads, rounds]
            made.append(
                Process(
                    arm=ARMS[place // 2],
                    block=block,
                    twin=place % 2,
                    load_seconds=float(np.exp(logs.load[run, block, place]) * factor),
                    first_call_seconds=float(np.exp(logs.first_call[run, block, place]) * factor),
                    series=tuple(
                        Series(
                            workload=name,
                            calls=tuple(
                                Call(
                                    seconds=float(seconds), audio_seconds=1.0, host_mb=1.0, output="0" * 64,
                                    seed=number, place=place,
                                )
                                for number, seconds in enumerate(row)
                            ),
                        )
                        for name, row in zip(NAMES, calls, strict=False)
                    ),
                )
            )  # fmt: skip
    return made


def judged(run: list[Process], recipe: Recipe, limits: RelativeLimits) -> int:
    """The exit code that the verdict gives, the run stopped as measuring stops it."""
    plan = recipe.plan
    for look in plan.looks:
        some = [process for process in run if process.block < look]
        if look <= recipe.blocks and compare.decide(some, plan).finished:
            run = some
            break
    found = compare.conclude(run, plan)
    codes = [change.compared("change", "time", one, limits.time_ratio).code for one in found.centre.values()]
    codes.append(change.compared("change", "tails", found.tails, limits.tail_ratio).code)
    for decision, limit in (
        (found.first_call, limits.first_call_ratio),
        (found.load, limits.load_ratio),
    ):
        assert decision is not None
        codes.append(change._start("change", "start", decision, limit).code)
    return max(codes, key=(0, 3, 1).index)


def test_arrays_of_runs_get_the_exit_codes_that_the_verdict_gives(limits: RelativeLimits) -> None:
    """For every plan, noise and shape: run by run, the slow way."""
    generator = np.random.default_rng(3)
    seen = set()
    for recipe in calibrate.PLANS.values():
        for noise in (0.02, 0.10, 0.30):
            for shape in simulate.SHAPES:
                for slower in (0.0, 0.15, 0.5):
                    logs = made_up(noise, shape, recipe, 2, generator, rounds=6)
                    fast = exit_codes(logs, slower, recipe, limits)
                    slow = [judged(processes(logs, run, slower), recipe, limits) for run in range(2)]
                    assert fast.tolist() == slow, (recipe, noise, shape, slower)
                    seen |= set(slow)
    assert seen == {0, 1, 3}


def test_the_noise_of_made_up_blocks_is_what_was_asked_for() -> None:
    """Processes and calls together, for every shape: within a tenth."""
    for shape in simulate.SHAPES:
        logs = made_up(0.1, shape, Recipe(5), 4_000, np.random.default_rng(1))
        for place in range(simulate.WORKLOADS):
            ratios, twins = simulate._pairs(logs.calls[:, :, :, place])
            assert ratios.std() == pytest.approx(0.1, rel=0.1 if shape == "gaussian" else 0.25)
            if shape == "gaussian":
                assert twins.std() == pytest.approx(0.1 * np.sqrt(2), rel=0.1)


def test_the_worst_code_wins() -> None:
    """1 over 3 over 0, whichever stands first."""
    for one, other, worst in ((0, 0, 0), (0, 3, 3), (3, 0, 3), (1, 3, 1), (3, 1, 1), (0, 1, 1)):
        assert simulate._worst(np.array([one]), np.array([other])).tolist() == [worst]


def made(blocks: int = 4) -> Recording:
    """A recording of unequal processes."""
    rng = np.random.default_rng(0)
    return Recording(
        recorded_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
        machine=builders.MACHINE,
        burden="none",
        revision="0" * 12,
        checkpoint="box",
        options="fast_cpu",
        threads=2,
        blocks=tuple(
            RecordedBlock(
                calls={"short": tuple(tuple(float(x) for x in rng.uniform(1, 2, 6)) for _ in range(4))},
                load_seconds=tuple(float(x) for x in rng.uniform(1, 2, 4)),
                first_call_seconds=tuple(float(x) for x in rng.uniform(1, 2, 4)),
            )
            for _ in range(blocks)
        ),
    )


def test_drawn_runs_hold_the_recordings_own_processes() -> None:
    """Blocks with replacement; within a block each process once, with all that is its own."""
    recording = made()
    logs = calibrate.logs_of(recording)
    some = drawn(logs, Recipe(5, workloads=1), 50, np.random.default_rng(2))
    whole = {round(float(value), 9) for value in logs.load.ravel()}
    assert {round(float(value), 9) for value in some.load.ravel()} == whole
    pairs = set(zip(logs.load.ravel().tolist(), logs.first_call.ravel().tolist(), strict=True))
    assert set(zip(some.load.ravel().tolist(), some.first_call.ravel().tolist(), strict=True)) <= pairs
    assert all(len(set(block)) == 4 for run in some.load for block in run.tolist())


def test_a_situation_is_made_up_or_drawn_and_the_same_again(limits: RelativeLimits) -> None:
    """It has a seed of its own, so it can be run alone."""
    first = calibrate.situation(calibrate.QUICK, 0.1, limits, 60, noise=0.1)
    assert first == calibrate.situation(calibrate.QUICK, 0.1, limits, 60, noise=0.1)
    assert first != calibrate.situation(calibrate.QUICK, 0.1, limits, 60, noise=0.1, seed=1)
    gross = calibrate.situation(calibrate.QUICK, 0.5, limits, 60, noise=0.05)
    assert gross["targets"]["1"]["met"] is True
    assert sum(code["events"] for code in first["codes"].values()) == 60
    replayed = calibrate.situation(calibrate.QUICK, 0.0, limits, 60, recording=made(), name="made")
    assert replayed["recording"] == "made"
    for both in ({}, {"noise": 0.1, "recording": made()}):
        with pytest.raises(UsageError, match="one of them"):
            calibrate.situation(calibrate.FULL, 0.0, limits, 60, **both)  # type: ignore[arg-type]


def test_a_rate_has_exact_bounds() -> None:
    """Clopper-Pearson: at no event in 100 runs the upper bound is 1 - 0.05^(1/100)."""
    assert calibrate.rate(0, 100)["high_95"] == pytest.approx(1 - 0.05**0.01)
    assert calibrate.rate(100, 100)["low_95"] == pytest.approx(0.05**0.01)


def test_the_command_writes_json_table_and_picture(tmp_path: Path) -> None:
    """With a recording in its folder, at few runs."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    recordings.write(made(), folder / "made.json")
    asked = ["--quick", "--out", str(tmp_path / "out.json"), "--recordings", str(folder)]
    assert calibrate.main(asked) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    assert "made" in report["recordings"]
    assert "made | full" in (tmp_path / "out.md").read_text()
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


class TestCommitted:
    """The committed calibration is of this code, and says how many targets it misses."""

    @pytest.fixture
    def report(self) -> dict[str, object]:
        return dict(json.loads((BASELINES / "calibration.json").read_text()))

    def test_some_of_its_situations_come_out_the_same(self, report: dict, limits: RelativeLimits) -> None:  # type: ignore[type-arg]
        """The first, and one that is not clear-cut."""
        for cell in (
            report["cells"][0],
            next(c for c in report["cells"] if 0.2 < c["codes"]["1"]["rate"] < 0.8),
        ):
            asked = {key: cell[key] for key in ("noise", "shape") if key in cell}
            again = calibrate.situation(cell["plan"], cell["change"], limits, cell["runs"], **asked)
            assert again["codes"] == cell["codes"]

    def test_its_plans_are_the_gates(self, report: dict) -> None:  # type: ignore[type-arg]
        """A plan that changed is calibrated again."""
        assert report["plans"] == {
            name: dataclasses.asdict(recipe) for name, recipe in calibrate.PLANS.items()
        }

    def test_its_recordings_are_committed(self, report: dict) -> None:  # type: ignore[type-arg]
        """What was replayed can be read."""
        assert report["recordings"].keys() == {
            path.stem for path in (BASELINES / "recordings").glob("*.json")
        }
        with pytest.raises(BaselineError):
            recordings.read(BASELINES / "recordings" / "gone.json")

    def test_its_table_and_picture_are_of_it(self, report: dict, tmp_path: Path) -> None:  # type: ignore[type-arg]
        """The table says what the file says."""
        assert (BASELINES / "calibration.md").read_text() == calibrate.table(report)
        plot(report, tmp_path / "again.png")
        assert (tmp_path / "again.png").stat().st_size > 10_000
