"""Nothing passes quietly: what was not seen, not compared, loosened or broken is never an exit code of 0."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from engine import cli
from engine.errors import UsageError
from engine.gate import pytest_plugin, run
from engine.gate.baselines import record, select
from engine.gate.data import samples
from engine.gate.data.outputs import Heard
from engine.gate.data.samples import Judgement, Observed, Process, Run
from engine.gate.data.workloads import SENTENCES
from engine.gate.measure import blocks, process, revisions
from engine.gate.measure.process import Material, Target
from engine.gate.verdict import judge, sound, trust
from tests.studies import calibrate
from tests.unit.gate import builders, fake_engine, speakers
from tests.unit.gate.test_baseline import entry
from tests.unit.gate.test_revision import git
from tests.unit.gate.test_run import looser, repository
from tests.unit.gate.test_verdict import answer

__all__ = ["repository"]  # a fixture


def judged(found: Run, limits: select.Baseline | None = None) -> judge.Verdict:
    """The verdict by the portable baseline, or another."""
    return judge.judge(found, builders.selection(limits))


def changed(processes: tuple[Process, ...], **values: Any) -> tuple[Process, ...]:
    """The processes with the candidate's fields replaced."""
    return tuple(one.model_copy(update=values) if one.arm == "candidate" else one for one in processes)


def question(found: tuple[Judgement, ...], name: str) -> list[Judgement]:
    """The answers to one question."""
    return [one for one in found if one.question == name]


class TestToggles:
    """A toggle that is on has evidence."""

    def test_a_toggle_without_any_evidence_is_not_believed(self) -> None:
        """Of the candidate and of the base alike."""
        on = builders.side(options={"nfe": 7, "compile": "default"})
        found = trust.judge(builders.run(candidate=on))
        assert [one.outcome for one in found] == ["NO EVIDENCE"] * 2
        assert {one.code for one in found} == {3}
        assert [one.question for one in trust.judge(builders.run(base=on))] == [
            "toggle nfe",
            "toggle compile",
        ]

    def test_an_option_that_another_ones_evidence_sees_needs_none_of_its_own(self) -> None:
        """The guidance counts its halves, whatever its strength."""
        seen = {"guidance": Observed(proven=True, observed="packed")}
        side = builders.side(options={"cfg_strength": 1.5, "guidance_until": 0.3})
        found = trust.judge(builders.run(builders.processes(evidence=seen), candidate=side))
        assert [one.outcome for one in found] == ["ENGAGED"]


class TestWarmUp:
    """Calls that are left out are few."""

    def test_half_of_the_calls_is_no_warm_up(self) -> None:
        """Slow calls in the first half of each process would vanish from every figure."""
        slow = builders.processes(slow=lambda arm, _, i: 3.0 if arm == "candidate" and i < 3 else 1.0)
        left = tuple(
            one.model_copy(
                update={
                    "series": tuple(
                        process.series(part.workload, list(part.calls), False) for part in one.series
                    )
                }
            )
            for one in slow
        )
        (found,) = question(trust.judge(builders.run(left)), trust.WARM_UP)
        assert (found.outcome, found.code) == ("NEVER SETTLED", 3)
        assert judged(builders.run(left), builders.baseline()).code == 3


class TestFigures:
    """What is shown is what is judged, and all that is measured is judged."""

    def test_the_mean_that_is_shown_is_the_one_that_is_judged(self) -> None:
        """Processes that keep more calls weigh no more."""
        long = builders.processes(
            rtf=0.355, calls=12, noise=0.0, slow=lambda arm, b, i: 0.96 if b % 2 else 1.06
        )
        mixed = tuple(
            one.model_copy(
                update={"series": tuple(p.model_copy(update={"calls": p.calls[:6]}) for p in one.series)}
            )
            if one.block % 2
            else one
            for one in long
        )
        found = judged(builders.run(mixed), builders.baseline())
        (mean,) = (one for one in found.rows[0].judgements if one.question == "mean RTF")
        assert found.rows[0].mean_rtf == pytest.approx(mean.value)

    @pytest.mark.parametrize(("times", "code"), [(1.0, 0), (1.4, 0), (2.0, 1)])
    @pytest.mark.parametrize("where", ["host", "device"])
    def test_peak_memory_is_held_to_the_bases(self, where: str, times: float, code: int) -> None:
        """The slope within a process does not see what every process needs."""
        field = f"peak_{where}_mb"
        processes = builders.processes(**{field: 500.0})
        found = judged(builders.run(changed(processes, **{field: 500.0 * times})))
        (peak,) = question(found.whole, f"peak memory, {where}")
        assert (peak.value, peak.code) == (pytest.approx(times), code)

    def test_a_sure_leak_is_not_hidden_by_a_larger_unsure_one(self) -> None:
        """One process grew on the host by chance; on the device all of them did."""
        candidates = 0
        grown = []
        for one in builders.processes():
            host = 20.0 if one.arm == "candidate" and not candidates else 0.0
            candidates += one.arm == "candidate"
            series = [
                part.model_copy(
                    update={
                        "calls": tuple(
                            call.model_copy(
                                update={
                                    "host_mb": 500 + host * i,
                                    "device_mb": 100 + 0.5 * i * (one.arm == "candidate"),
                                }
                            )
                            for i, call in enumerate(part.calls)
                        )
                    }
                )
                for part in one.series
            ]
            grown.append(one.model_copy(update={"series": tuple(series)}))
        assert answer(judged(builders.run(tuple(grown))), "memory").code == 1

    def test_recorded_samples_are_compared_beside_a_base_too(self) -> None:
        """No control spans two sessions: it is undecided, never a regression; without samples, silent."""
        samples = tuple(
            entry(workload=one.name, workload_sha256=one.sha256, rtf=((0.1, 0.1), (0.1, 0.1)))
            for one in builders.WORKLOADS
        )
        slower = judged(builders.run(), builders.baseline(entries=samples))
        since = answer(slower, "recorded")
        assert (since.outcome, since.code, slower.code) == ("UNDECIDED", 3, 3)
        assert since.value == pytest.approx(2.0, rel=0.05)
        assert not [
            one for row in judged(builders.run()).rows for one in row.judgements if one.question == "recorded"
        ]


class TestLimits:
    """What is asked for is never less than before, unless somebody says so."""

    def test_a_new_file_of_the_machines_own_is_held_to_the_portable_one(self, repository: Path) -> None:
        """Its relative limits stood in for those of the new file until now."""
        own = repository / "baselines" / f"{builders.KEY}.json"
        own.unlink()
        git(repository, "commit", "-qam", "only the portable one")
        new = builders.baseline()
        assert looser(repository, builders.KEY, new) == []
        loose = new.relative.model_copy(update={"time_ratio": builders.limit(9.0, unit="candidate/base")})
        (said,) = looser(repository, builders.KEY, new.model_copy(update={"relative": loose}))
        assert "time_ratio" in said

    def test_git_that_fails_is_an_error_and_no_clean_checkout(self, repository: Path) -> None:
        """Not "there was no baseline", and not "nothing was changed"."""
        with pytest.raises(UsageError, match="no-such-ref"):
            revisions.show(repository, "no-such-ref", "baselines/portable.json")
        (repository / ".git" / "index").write_bytes(b"garbage")
        assert revisions.describe(repository)[1]

    def test_a_pinned_sentence_that_changed_is_looser(self) -> None:
        """A longer text once looked like a faster engine."""
        old = builders.portable()
        new = old.model_copy(update={"workloads": {**old.workloads, "short": "0" * 64}})
        assert "'short' was changed" in record.loosened(old, new)[0]

    def test_a_raised_threshold_is_said_aloud(self) -> None:
        """It is the caller's own word, so it fails nothing."""
        raised = judged(builders.run(threshold=9.9))
        assert "raised the limit from 1.2 to 10.9" in " ".join(raised.notes)
        assert not any("raised" in note for note in judged(builders.run(threshold=0.1)).notes)

    def test_a_baseline_that_was_passed_over_is_named(self, tmp_path: Path) -> None:
        """`--baseline portable.json` on a machine that has a file of its own."""
        for one, name in ((builders.portable(), "portable"), (builders.baseline(), builders.KEY)):
            (tmp_path / f"{name}.json").write_text(select.dump(one))
        found = select.select(builders.KEY, tmp_path, tmp_path / "portable.json")
        assert "was passed over" in found.said
        without = builders.baseline().model_copy(update={"product": None})
        (tmp_path / f"{builders.KEY}.json").write_text(select.dump(without))
        assert "relative limits only" in select.select(builders.KEY, tmp_path).said


class TestJudges:
    """A judge that must be there has judged something."""

    def test_a_required_judge_that_scored_no_clip_leaves_the_run_undecided(self, tmp_path: Path) -> None:
        """Words of a language that nobody here can hear."""
        heard = speakers.held(tmp_path)
        assert heard.quality is not None

        def deaf(arm: Heard) -> Heard:
            silent = {name: one.model_copy(update={"words": None}) for name, one in arm.scores.items()}
            return arm.model_copy(update={"scores": silent})

        silent = heard.quality.model_copy(
            update={"base": deaf(heard.quality.base), "candidate": deaf(heard.quality.candidate)}
        )
        trained = heard.candidate.model_copy(update={"trained": True})
        found = heard.model_copy(update={"quality": silent, "candidate": trained, "base": trained})
        strict = speakers.RELATIVE.model_copy(update={"required_judges": ("words", "speaker", "mos")})
        selection = builders.selection(builders.portable().model_copy(update={"relative": strict}))
        (said,) = question(sound.judge(found, selection), "judges")
        assert (said.code, said.outcome) == (3, "UNDECIDED")
        assert said.sentence.endswith("by: words.")
        assert not question(sound.judge(heard, selection), "judges")


class TestBroken:
    """What breaks is exit 2: neither a pass, nor a regression, nor undecided."""

    def test_a_crash_in_the_plugin_is_no_verdict(self) -> None:
        """pytest's own 3 for a crash would read as undecided, which CI accepts."""
        with pytest.raises(pytest.exit.Exception) as caught, pytest_plugin._exit_on_error():
            raise RuntimeError("a broken clip")
        assert (caught.value.returncode, "a broken clip" in str(caught.value)) == (2, True)
        with pytest.raises(pytest.exit.Exception, match="sentence"), pytest_plugin._exit_on_error():
            pytest.exit("sentence", returncode=2)

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

    def test_an_answer_that_is_no_measurement_is_named(self, tmp_path: Path) -> None:
        """A candidate that returns empty audio."""
        fake_engine.write(tmp_path, "Audio.seconds = 0.0\n")
        with pytest.raises(UsageError, match=r"the candidate answered 'short' with .*audio_seconds"):
            spoken(tmp_path)

    def test_code_that_changes_while_it_is_measured_is_refused(self, tmp_path: Path) -> None:
        """The second process would run other code than the first, under the same name."""
        fake_engine.write(tmp_path)
        known: dict[Any, Any] = {}
        spoken(tmp_path, known)
        spoken(tmp_path, known)
        source = tmp_path / "engine" / "__init__.py"
        source.write_text(source.read_text() + "\n")
        with pytest.raises(UsageError, match="code"):
            spoken(tmp_path, known)


def spoken(folder: Path, known: dict[Any, Any] | None = None) -> None:
    """Say a sentence with the engine in `folder`, and hold what it says of itself to what is known."""
    clip = folder / "clip.wav"
    clip.write_bytes(b"audio")
    target = Target(folder, "r", False, "nfe=7")
    material = Material("made-up", "made-up", clip, "Words.")
    with process.opener({"candidate": target}, material) as start, start("candidate") as handle:
        blocks.same_as_before("candidate", handle, {} if known is None else known)
        handle.call(SENTENCES[0])
        handle.finish()


class TestFiles:
    """What was written is there, and what is read is what it says."""

    def test_a_record_never_removes_itself(self, tmp_path: Path) -> None:
        """Though the clock went back and only one is kept."""
        now = builders.run()
        later = now.model_copy(update={"timestamp": now.timestamp + datetime.timedelta(hours=1)})
        samples.write(later, tmp_path, keep=1)
        assert samples.write(now, tmp_path, keep=1).exists()
        assert len(list(tmp_path.glob("run-*.json"))) == 1

    def test_changed_code_against_its_own_commit_is_no_recording_of_noise(self) -> None:
        """The commit is the same, the code is not."""
        with pytest.raises(UsageError, match="two different arms"):
            calibrate.medians(builders.run(base=builders.side(), candidate=builders.side(dirty=True)))

    def test_limits_are_looked_at_before_anything_is_measured(
        self, repository: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A base baseline that cannot be read would cost the whole measurement."""
        called: list[str] = []
        monkeypatch.setattr(run, "looser_limits", lambda *asked: called.append(asked[2]) or ["looser"])
        monkeypatch.setattr(run.select, "select", lambda *_: builders.selection())
        scene = run.look(run.Request(against="HEAD", checkpoint="seeded-tiny"), lambda _: None)
        assert (called, scene.looser) == (["HEAD"], ("looser",))
