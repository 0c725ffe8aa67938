"""Nothing passes quietly: what was not seen, not compared, loosened or broken is never an exit code of 0."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from engine import cli
from engine.gate.baselines.loosening import loosened_files
from engine.gate.data import samples
from engine.gate.data.limits import Baseline
from engine.gate.data.samples import Observed, Process, Run
from engine.gate.data.verdict import Verdict
from engine.gate.measure.revisions import checkout
from engine.gate.verdict.judge import judge
from tests.unit.gate import builders

DAYS = tuple(builders.session(0.2, day) for day in range(4))
ALL: Any = ("change", "limits", "drift")


def judged(run: Run, baseline: Baseline | None = None) -> Verdict:
    """The verdict by the portable baseline, or another."""
    return judge(run, builders.selection(baseline))


def codes(verdict: Verdict) -> dict[str, int]:
    """The code of the answer on each topic."""
    return {answer.topic: answer.code for answer in verdict.answers}


class TestSlow:
    """A slow product fails, whoever else is slow."""

    def test_four_times_slower_on_both_arms_is_seen_by_the_recorded_sessions(self) -> None:
        """Toggles of one checkout are slow together, and look unchanged beside each other."""
        run = builders.run(builders.processes(rtf=0.8), base=builders.side(), questions=ALL)
        verdict = judged(run, builders.baseline(products=(), sessions=DAYS))
        assert (verdict.code, codes(verdict)["change"], codes(verdict)["drift"]) == (1, 0, 1)

    def test_four_times_slower_on_both_arms_is_no_pass_where_nothing_older_was_looked_at(self) -> None:
        """Neither sessions nor limits nor another revision: the run cannot know."""
        for ratio, rtf in ((0.2, 0.05), (0.2, 0.2), (1.0, 0.8)):
            run = builders.run(builders.processes(ratio, rtf=rtf), base=builders.side())
            verdict = judged(run)
            assert verdict.code == 3
            assert "this run cannot see a regression" in verdict.first_line

    def test_sessions_under_another_torch_are_not_skipped(self) -> None:
        """Four times slower since an upgrade is undecided and said, though the arms are alike."""
        sides = {arm: builders.side(versions={"torch": "2.14.0"}) for arm in ("candidate", "base")}
        sides["base"] = sides["base"].model_copy(update={"revision": "ba" * 6})
        run = builders.run(builders.processes(rtf=0.8), questions=ALL, **sides)
        verdict = judged(run, builders.baseline(products=(), sessions=DAYS))
        assert verdict.code == 3
        assert "torch 2.13.0 -> 2.14.0" in verdict.first_line

    def test_calls_that_jump_fail_though_processes_agree(self) -> None:
        """A live stream hears calls, not medians: a CV of 42 % over calls, of 1 % over processes."""
        turns = (0.55, 1.0, 1.55)
        run = builders.run(
            builders.processes(rtf=0.25, blocks=5, calls=12, slow=lambda arm, block, i: turns[i % 3])
        )
        assert judged(run).code == 0
        verdict = judged(run, builders.baseline())
        assert (verdict.code, codes(verdict)["change"]) == (1, 0)
        assert "CV 39.8 % > 20 %" in verdict.first_line

    def test_a_start_that_became_slow_fails(self) -> None:
        """Fifty times the first call, or twenty seconds more to load, in every process of the candidate."""
        for change in ({"first_call_seconds": 50.0}, {"load_seconds": 60.0}):
            processes = tuple(
                process.model_copy(update=change) if process.arm == "candidate" else process
                for process in builders.processes()
            )
            assert judged(builders.run(processes)).code == 1


class TestModels:
    """A limit is of one product."""

    def test_a_small_model_on_the_jetson_holds_no_limit(self) -> None:
        """However fast it is."""
        run = builders.run(
            builders.processes(rtf=0.01),
            candidate=builders.side(checkpoint="box"),
            base=builders.side(checkpoint="box", revision="ba" * 6),
            questions=ALL,
        )
        verdict = judged(run, builders.baseline())
        assert verdict.code == 3
        assert "none for box" in verdict.first_line


class TestMemory:
    """Memory that grows fails."""

    def test_a_quarter_of_a_mebibyte_a_call_fails(self) -> None:
        """6.8 GiB a day at a call every three seconds."""
        for growth in (0.06, 0.24, 1.0):
            assert judged(builders.run(builders.processes(growth=growth))).code == 1, growth
        assert judged(builders.run(builders.processes(growth=0.01))).code == 0


class TestLimits:
    """What is asked for is never less than before, unless somebody says so."""

    def test_the_jetsons_limits_loosened_while_another_file_is_selected_fail(self) -> None:
        """A pull request is judged on a hosted machine by `portable.json`."""
        before = {path.name: path.read_text("utf-8") for path in (checkout() / "baselines").glob("*.json")}
        content = json.loads(before["jetson-agx-orin.json"])
        content["products"][0]["limits"]["mean_rtf"]["upper"] = 3.6
        loosened = loosened_files(before, {**before, "jetson-agx-orin.json": json.dumps(content)})
        verdict = judge(builders.run(), builders.selection(), loosened=loosened)
        assert verdict.code == 1
        assert "mean_rtf upper was raised from 0.36 to 3.6" in verdict.first_line


class TestToggles:
    """A toggle that is on has evidence."""

    def test_what_nobody_saw_at_work_is_no_pass(self) -> None:
        """Unproven, or without any evidence at all."""

        def seen(process: Process) -> Process:
            evidence = {"compile": Observed(proven=None, observed="nothing to look at")}
            return process.model_copy(update={"evidence": evidence} if process.arm == "candidate" else {})

        unproven = builders.run(tuple(seen(process) for process in builders.processes()))
        silent = builders.run(candidate=builders.side(options={"compile": "default"}))
        assert [judged(run).code for run in (unproven, silent)] == [3, 3]


class TestBroken:
    """What breaks is exit 2: neither a pass, nor a regression, nor undecided."""

    def test_any_error_of_the_command_line_exits_two(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Python's own 1 would read as a regression."""

        def broken() -> None:
            raise RuntimeError("out of luck")

        monkeypatch.setattr(cli, "app", broken)
        monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert caught.value.code == 2
        assert "out of luck" in capsys.readouterr().err


class TestFiles:
    """What was written is there, and what is read is what it says."""

    def test_a_record_never_removes_itself(self, tmp_path: Path) -> None:
        """Though the clock went back and only one is kept."""
        now = builders.run()
        later = now.model_copy(update={"timestamp": now.timestamp + datetime.timedelta(hours=1)})
        samples.write(later, tmp_path, keep=1)
        assert samples.write(now, tmp_path, keep=1).exists()
        assert len(list(tmp_path.glob("run-*.json"))) == 1

    def test_a_judged_record_reads_as_it_was_written(self, tmp_path: Path) -> None:
        """The verdict with it: answers, judgements, figures and notes."""
        run = builders.run()
        run = run.model_copy(update={"verdict": judged(run)})
        assert samples.read(samples.write(run, tmp_path)) == run
