"""The verdict on quality: a candidate that is faster but wrong fails, whichever way it is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.audio import Samples
from engine.errors import BaselineError
from engine.gate.data import samples as record
from engine.gate.data.outputs import Quality
from engine.gate.data.samples import Judgement, Run
from engine.gate.listening import votes
from engine.gate.quality import judges
from engine.gate.verdict import judge, sound
from tests.unit.gate import builders, speakers, test_votes
from tests.unit.gate.speakers import Arms, Wave, held, truncated, wave

LOSSLESS = builders.side(revision="ba" * 6, options={"reference_cache": True})


def asked(run: Run, question: str) -> Judgement:
    """The answer to one question about quality."""
    return next(one for one in sound.judge(run, speakers.SELECTION) if one.question == question)


def rounded(size: float) -> Wave:
    """The same sound with a little noise, anew for each call."""
    random = np.random.default_rng(0)

    def answer(text: str, voice: str, seed: int) -> Samples:
        samples = wave(text, voice, seed)
        noise = size * np.abs(samples).mean() * random.standard_normal(samples.size)
        return np.asarray(samples + noise, np.float32)

    return answer


def stale(text: str, voice: str, seed: int) -> Samples:
    """A cache that answers for every voice with the first one's conditioning."""
    return wave(text, "one", seed)


def deaf(text: str, voice: str, seed: int) -> Samples:
    """A cache of answers that forgot the seed."""
    return wave(text, voice, 0)


def test_arms_that_say_the_same_pass_every_question(tmp_path: Path) -> None:
    """The sound ones: the gate does not cry wolf."""
    run = held(tmp_path)
    found = judge.judge(run, speakers.SELECTION)
    assert {one.code for one in found.quality} == {0}
    assert found.code == 0
    assert asked(run, "timed = judged").outcome == "MATCHED"
    assert "zh hello: left out" in found.notes


@pytest.mark.parametrize("answer", [truncated, stale, deaf])
def test_a_candidate_that_is_faster_but_wrong_fails(answer: Wave, tmp_path: Path) -> None:
    """Half the time, and exit 1."""
    run = held(tmp_path, Arms(candidate=answer), ratio=0.5)
    found = judge.judge(run, speakers.SELECTION)
    assert found.rows[0].judgements[0].outcome == "FASTER"
    assert found.code == 1


@pytest.mark.parametrize("answer", [stale, deaf])
def test_an_answer_from_memory_is_named(answer: Wave, tmp_path: Path) -> None:
    """Other voices and seeds must give other bytes."""
    found = asked(held(tmp_path, Arms(candidate=answer)), "no caching")
    assert (found.outcome, found.code) == ("FAULT", 1)
    assert "candidate: the same bytes for" in found.sentence


def test_a_repeat_that_takes_no_time_was_not_computed(tmp_path: Path) -> None:
    """The right bytes, from a memory of whole answers: only the time tells."""
    found = asked(held(tmp_path, Arms(seconds=(1.0, 0.1))), "no caching")
    assert (found.outcome, found.code) == ("UNDECIDED", 3)  # both arms do it
    assert "10% of the time" in found.sentence
    assert asked(held(tmp_path, Arms(seconds=(1.0, 0.8))), "no caching").code == 0


@pytest.mark.parametrize(("arm", "code"), [("candidate", 1), ("base", 3), ("both", 3)])
def test_what_was_timed_must_be_what_was_judged(arm: str, code: int, tmp_path: Path) -> None:
    """An arm that speaks otherwise while it is timed; the workload is named."""
    timed: dict[Any, Wave] = {name: truncated if arm in (name, "both") else wave for name in record.ARMS}
    found = asked(held(tmp_path, timed=timed), "timed = judged")
    assert found.code == code
    assert "short" in found.sentence


def test_timed_outputs_that_nobody_kept_are_undecided(tmp_path: Path) -> None:
    """The folder is full, so it cannot be told what they were."""
    found = held(tmp_path)
    unknown = builders.processes(calls=4)  # their outputs are in no folder
    said = asked(found.model_copy(update={"processes": unknown}), "timed = judged")
    assert said.code == 3
    assert "1 more timed outputs of short were neither judged nor kept" in said.sentence


def test_a_workload_that_was_timed_and_never_judged_fails(tmp_path: Path) -> None:
    """A hash without a judgement is none."""
    run = held(tmp_path)
    assert run.quality is not None
    arm = run.quality.candidate
    fewer = arm.model_copy(
        update={
            "spoken": tuple(one for one in arm.spoken if one.name != "medium"),
            "scores": {name: scores for name, scores in arm.scores.items() if name != "medium"},
        }
    )
    quality = run.quality.model_copy(update={"candidate": fewer})
    found = asked(run.model_copy(update={"quality": quality}), "timed = judged")
    assert found.code == 1
    assert "medium was timed and never judged" in found.sentence


@pytest.mark.parametrize(
    ("size", "code", "outcome"),
    [(1e-4, 0, "ROUNDING"), (3e-3, 3, "UNDECIDED"), (0.02, 3, "UNDECIDED"), (3.0, 1, "FAULT")],
)
def test_bytes_that_differ_from_call_to_call_are_told_by_how_much(
    size: float, code: int, outcome: str, tmp_path: Path
) -> None:
    """As on a GPU: rounding passes aloud, more is undecided, another sound is a fault."""
    run = held(tmp_path, Arms(candidate=rounded(size)))
    for question in ("repeats", "timed = judged"):
        found = asked(run, question)
        assert (found.outcome, found.code) == (outcome, code)
        assert "mel L2" in found.sentence


def test_a_base_that_cannot_repeat_itself_either_is_no_fault_of_the_candidate(tmp_path: Path) -> None:
    """Nothing can be told then."""
    found = asked(held(tmp_path, Arms(rounded(3.0), rounded(3.0))), "repeats")
    assert (found.outcome, found.code) == ("UNDECIDED", 3)
    assert "base: " in found.sentence
    assert "candidate: " in found.sentence


@pytest.mark.parametrize(("size", "code"), [(1e-4, 0), (0.01, 1)])
def test_toggles_that_claim_to_keep_the_result_are_held_to_it(size: float, code: int, tmp_path: Path) -> None:
    """The same code, and lossless toggles alone; other code is held to the lossy limits."""
    noisy = rounded(size)
    kept: dict[tuple[str, str, int], Samples] = {}

    def same_each_time(text: str, voice: str, seed: int) -> Samples:
        return kept.setdefault((text, voice, seed), noisy(text, voice, seed))

    run = held(tmp_path, Arms(candidate=same_each_time), candidate=LOSSLESS)
    assert sound.is_lossless(run)
    assert asked(run, "distance").code == code
    for other in (
        LOSSLESS.model_copy(update={"options": {"nfe": 7}}),
        LOSSLESS.model_copy(update={"revision": "cd" * 6}),
        LOSSLESS.model_copy(update={"dirty": True}),
    ):
        lossy = run.model_copy(update={"candidate": other})
        assert not sound.is_lossless(lossy)
        assert asked(lossy, "distance").code == 0


def test_a_lossless_candidate_has_the_length_of_the_base(tmp_path: Path) -> None:
    """One percent is within the lossy limit, and no rounding."""

    def shorter(text: str, voice: str, seed: int) -> Samples:
        return wave(text, voice, seed)[:-100]

    run = held(tmp_path, Arms(candidate=shorter), candidate=LOSSLESS)
    assert asked(run, "length").code == 1
    for other in (held(tmp_path), held(tmp_path, Arms(candidate=shorter))):
        asked_of = [one.question for one in sound.judge(other, speakers.SELECTION)]
        assert "length" not in asked_of


def test_the_real_judges_of_the_signal_hear_a_nan(tmp_path: Path) -> None:
    """One frame that is not a number, in one case; the judges that need packages are left out."""

    def broken(text: str, voice: str, seed: int) -> Samples:
        samples = wave(text, voice, seed)
        if "kitchen" in text:
            samples[100:356] = np.nan
        return samples

    def signal_only(items: Any, panel: Any, workers: int, report: Any) -> Any:
        return judges.judge_all(items, judges.Panel({}, ()), 1, report)

    found = asked(held(tmp_path, Arms(candidate=broken), judge=signal_only), "signal")
    assert found.code == 1
    assert "kitchen" in found.sentence
    assert asked(held(tmp_path, judge=signal_only), "signal").code == 0


def ballots(run: Run, drop: int) -> votes.Votes:
    """Seven listeners who heard this run's outputs, and rate the candidate so much lower."""
    assert run.quality is not None
    said = run.quality.candidate.scores, run.quality.base.scores
    pairs = [
        votes.Entry(name=name, text="Text.", voice="one", a=said[0][name].output, b=said[1][name].output)
        for name in said[0]
    ]
    page = votes.Sheet(a="candidate", b="base", pairs=tuple(pairs))
    cast = [test_votes.ballot(page, listener, [drop] * len(page.pairs)) for listener in range(7)]
    return votes.Votes(page, tuple(cast))


@pytest.mark.parametrize(("drop", "code"), [(0, 0), (1, 1)])
def test_people_are_judges_too(drop: int, code: int, tmp_path: Path) -> None:
    """By the baseline's own limit of MOS."""
    run = held(tmp_path)
    found = judge.judge(run, speakers.SELECTION, votes=ballots(run, drop))
    assert (found.quality[-1].question, found.quality[-1].code, found.code) == ("people", code, code)
    assert found.quality[-1].limit == 0.2


def test_votes_on_other_outputs_are_refused(tmp_path: Path) -> None:
    """Votes on an earlier candidate say nothing of this one."""
    run = held(tmp_path)
    with pytest.raises(votes.VotesError):
        judge.judge(held(tmp_path, Arms(candidate=truncated)), speakers.SELECTION, votes=ballots(run, 0))


def test_without_a_quality_pass_it_is_said_that_quality_was_not_judged() -> None:
    """The speed decides alone, aloud."""
    found = judge.judge(builders.run(), builders.selection())
    assert found.quality == (sound.NOT_JUDGED,)
    assert found.code == 0


def test_a_baseline_without_limits_of_quality_judges_none(tmp_path: Path) -> None:
    """It is no pass."""
    with pytest.raises(BaselineError, match=r"relative\.quality"):
        judge.judge(held(tmp_path), builders.selection())


def test_an_unfit_machine_does_not_excuse_what_was_said(tmp_path: Path) -> None:
    """Heat changes times, not words."""
    run = held(tmp_path, Arms(candidate=truncated), preflight=builders.UNFIT)
    assert judge.judge(run, speakers.SELECTION).code == 1


def test_the_record_can_be_judged_again(tmp_path: Path) -> None:
    """Everything the verdict needs is written and read, and an edit is found out."""
    run = held(tmp_path, Arms(candidate=stale))
    path = record.write(run, tmp_path / "records")
    again = record.read(path)
    assert again == run
    assert sound.judge(again, speakers.SELECTION) == sound.judge(run, speakers.SELECTION)


def test_a_record_from_before_quality_is_still_read(tmp_path: Path) -> None:
    """It says nothing of quality, and its verdict says so."""
    found = builders.run()
    content = found.model_copy(update={"verdict": judge.judge(found, builders.selection())}).model_dump(
        mode="json"
    )
    del content["quality"]
    del content["verdict"]["quality"]
    path = tmp_path / "run-old.json"
    path.write_text(json.dumps({"sha256": record.sha256_of(content), "run": content}))
    assert record.read(path).quality is None


def test_scores_of_something_else_are_no_record(tmp_path: Path) -> None:
    """Judged outputs are those that were spoken, and both arms were asked the same."""
    quality = held(tmp_path).quality
    assert quality is not None
    content = json.loads(quality.model_dump_json())
    content["candidate"]["scores"]["hello"]["output"] = "ab" * 32
    with pytest.raises(ValueError, match="not those that were spoken"):
        Quality.model_validate_json(json.dumps(content))
    content = json.loads(quality.model_dump_json())
    content["candidate"]["spoken"][0]["seed"] += 1
    with pytest.raises(ValueError, match="not asked the same"):
        Quality.model_validate_json(json.dumps(content))
