"""The verdict on sound: a candidate that is faster but wrong fails, whichever way it is wrong."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.audio import Samples
from engine.errors import BaselineError
from engine.gate.data import samples as record
from engine.gate.data.outputs import Quality, TimedChange
from engine.gate.data.samples import Run
from engine.gate.data.verdict import Judgement
from engine.gate.listening import votes
from engine.gate.listening.ballots import Entry, Sheet
from engine.gate.quality import judges
from engine.gate.verdict import sound
from tests.unit.gate import builders, speakers, test_votes
from tests.unit.gate.speakers import Arms, held, truncated, wave

LOSSY = builders.side(options={"nfe": 7})


@dataclasses.dataclass(frozen=True)
class Accepted:
    """What somebody has accepted."""

    changed_output: bool = False


def judged(run: Run, accepted: Accepted = Accepted(), **changes: Any) -> tuple[Judgement, ...]:
    """All answers."""
    return sound.judge(run, changes.pop("selection", speakers.SELECTION), accepted, **changes)


def asked(run: Run, question: str, **changes: Any) -> Judgement:
    """The answer to one question."""
    return next(one for one in judged(run, **changes) if one.question == question)


def worst(answers: tuple[Judgement, ...]) -> int:
    """The exit code of all of them."""
    return max((one.code for one in answers), key=(0, 3, 1).index)


def stale(text: str, voice: str, seed: int) -> Samples:
    """A cache that answers for every voice with the first one's conditioning."""
    return wave(text, "one", seed)


def other_sound(text: str, voice: str, seed: int) -> Samples:
    """As long and as loud, and another take."""
    return wave(text, voice, seed + 1_000_000)


def test_arms_that_say_the_same_pass_every_question(tmp_path: Path) -> None:
    """The sound ones: the gate does not cry wolf, and every answer is on sound."""
    answers = judged(held(tmp_path))
    assert {one.code for one in answers} == {0}
    assert {one.topic for one in answers} == {"sound"}
    assert "zh hello: left out" in sound.notes(held(tmp_path))


def test_a_candidate_that_is_wrong_fails_with_any_options(tmp_path: Path) -> None:
    """Words cut off, and another voice; accepted or not."""
    for answer in (truncated, stale):
        for side in (builders.side(), LOSSY):
            run = held(tmp_path, Arms(candidate=answer), candidate=side)
            for accepted in (False, True):
                assert worst(judged(run, Accepted(accepted))) == 1


def test_what_the_candidate_claims_follows_from_options_and_code(tmp_path: Path) -> None:
    """Its own options on both sides; toggles that keep the result of the same code; else nothing."""
    same = builders.run()
    assert sound.claim(same) == "same options"
    cached = builders.side(revision="ba" * 6, options={"reference_cache": True})
    assert sound.claim(builders.run(candidate=cached)) == "lossless"
    for update in ({"options": {"nfe": 7}}, {"revision": "cd" * 6}, {"dirty": True}, {"trained": True}):
        assert sound.claim(builders.run(candidate=cached.model_copy(update=update))) == "lossy"
    assert sound.claim(builders.alone()) == "lossy"


def test_another_take_with_the_same_options_is_undecided_until_accepted(tmp_path: Path) -> None:
    """Judges that hear no difference do not excuse it; with other options it is for the judges alone."""
    run = held(tmp_path, Arms(candidate=other_sound))
    assert worst(judged(run)) == 3
    assert asked(run, "output").outcome == "OUTPUT CHANGED"
    assert worst(judged(run, Accepted(changed_output=True))) == 0
    assert worst(judged(run.model_copy(update={"candidate": LOSSY}))) == 0
    cached = builders.side(revision="ba" * 6, options={"reference_cache": True})
    assert worst(judged(run.model_copy(update={"candidate": cached}))) == 1


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
        Entry(name=name, text="Text.", voice="one", a=said[0][name].output, b=said[1][name].output)
        for name in said[0]
    ]
    page = Sheet(a="candidate", b="base", pairs=tuple(pairs))
    cast = [test_votes.ballot(page, listener, [drop] * len(page.pairs)) for listener in range(7)]
    return votes.Votes(page, tuple(cast))


def test_people_are_judges_too(tmp_path: Path) -> None:
    """By the baseline's own limit of MOS."""
    run = held(tmp_path)
    for drop, code in ((0, 0), (1, 1)):
        answers = judged(run, votes=ballots(run, drop))
        assert (answers[-1].question, answers[-1].code, worst(answers)) == ("people", code, code)
        assert answers[-1].limit == 0.2


def test_votes_on_other_outputs_are_refused(tmp_path: Path) -> None:
    """Votes on an earlier candidate say nothing of this one."""
    run = held(tmp_path)
    with pytest.raises(votes.VotesError):
        judged(held(tmp_path, Arms(candidate=truncated)), votes=ballots(run, 0))


def test_without_a_quality_pass_it_is_said_that_quality_was_not_judged() -> None:
    """The other topics decide alone, aloud; a memory that the calls betray is told even so."""
    assert judged(builders.run(), selection=builders.selection()) == (sound.NOT_JUDGED,)
    run = builders.alone()

    def forgetful(process: Any) -> Any:
        (one, *others) = process.series
        calls = tuple(call.model_copy(update={"output": one.calls[0].output}) for call in one.calls)
        return process.model_copy(update={"series": (one.model_copy(update={"calls": calls}), *others)})

    cached = run.model_copy(update={"processes": tuple(map(forgetful, run.processes))})
    assert worst(judged(cached, selection=builders.selection())) == 1


def test_a_baseline_without_limits_of_quality_judges_none(tmp_path: Path) -> None:
    """It is no pass."""
    with pytest.raises(BaselineError, match=r"relative\.quality"):
        judged(held(tmp_path), selection=builders.selection())


def heard_by(run: Run, deaf_to: Any) -> Run:
    """The run with a trained checkpoint, some of whose answers nobody heard the words of."""
    assert run.quality is not None
    arms = {}
    for arm in ("base", "candidate"):
        own = getattr(run.quality, arm)
        scores = {
            name: one.model_copy(update={"words": None}) if deaf_to(own.judged[name]) else one
            for name, one in own.scores.items()
        }
        arms[arm] = own.model_copy(update={"scores": scores})
    trained = run.candidate.model_copy(update={"trained": True})
    quality = run.quality.model_copy(update=arms)
    return run.model_copy(update={"quality": quality, "candidate": trained, "base": trained})


def chinese(run: Run) -> Run:
    """The run with one of its cases in Chinese."""
    assert run.quality is not None
    arms = {}
    for arm in ("base", "candidate"):
        own = getattr(run.quality, arm)
        spoken = tuple(
            one.model_copy(update={"text": "大家好"}) if one.name == "hello" else one for one in own.spoken
        )
        arms[arm] = own.model_copy(update={"spoken": spoken})
    return run.model_copy(update={"quality": run.quality.model_copy(update=arms)})


def requiring(*names: str) -> Any:
    """A baseline that requires these judges."""
    strict = speakers.RELATIVE.model_copy(update={"required_judges": names})
    return builders.selection(builders.portable().model_copy(update={"relative": strict}))


def test_a_required_judge_that_scored_no_clip_leaves_the_run_undecided(tmp_path: Path) -> None:
    """It is named; an untrained checkpoint has no words to hear."""
    run = held(tmp_path)
    everybody = requiring("words", "speaker", "mos")
    found = asked(heard_by(run, lambda answer: True), "judges", selection=everybody)
    assert (found.code, found.outcome) == (3, "UNDECIDED")
    assert found.sentence.endswith("by: words.")
    assert not {"judges", "languages"} & {one.question for one in judged(run, selection=everybody)}
    everything = judged(heard_by(run, lambda answer: False), selection=everybody)
    assert not {"judges", "languages"} & {one.question for one in everything}


def test_a_language_whose_words_nobody_heard_is_no_pass_where_words_are_required(tmp_path: Path) -> None:
    """Chinese beside English clips that were heard: said in any case, undecided where they must be heard."""
    run = heard_by(chinese(held(tmp_path)), lambda answer: answer.text == "大家好")
    for names, code in ((("words",), 3), ((), 0)):
        found = asked(run, "languages", selection=requiring(*names))
        assert found.code == code
        assert "words in zh" in found.sentence
        assert "whisper" in found.sentence
    heard = heard_by(chinese(held(tmp_path)), lambda answer: False)
    assert "languages" not in {one.question for one in judged(heard, selection=requiring("words"))}


def test_one_clip_that_was_not_heard_is_no_deafness(tmp_path: Path) -> None:
    """Not even the last one: the others of its language were heard."""
    run = held(tmp_path)
    assert run.quality is not None
    last = list(run.quality.candidate.judged)[-1]
    deaf = heard_by(run, lambda answer: answer.name == last)
    assert "languages" not in {one.question for one in judged(deaf, selection=requiring("words"))}


def test_a_language_that_one_arm_alone_was_heard_in_was_not_compared(tmp_path: Path) -> None:
    """Both arms must be heard, or there is no difference to judge."""
    run = heard_by(chinese(held(tmp_path)), lambda answer: answer.text == "大家好")
    whole = heard_by(chinese(held(tmp_path)), lambda answer: False)
    assert run.quality is not None
    assert whole.quality is not None
    half = run.quality.model_copy(update={"candidate": whole.quality.candidate})
    mixed = run.model_copy(update={"quality": half})
    assert asked(mixed, "languages", selection=requiring("words")).code == 3


def test_the_record_can_be_judged_again(tmp_path: Path) -> None:
    """Everything the verdict needs is written and read, and an edit is found out."""
    run = held(tmp_path, Arms(candidate=stale))
    path = record.write(run, tmp_path / "records")
    again = record.read(path)
    assert again == run
    assert judged(again) == judged(run)


def test_scores_of_something_else_are_no_record(tmp_path: Path) -> None:
    """Judged outputs are those that were spoken, both arms were asked the same, and probes come in pairs."""
    quality = held(tmp_path, Arms(candidate=other_sound), blocks=1).quality
    assert quality is not None

    def refused(message: str, change: Any) -> None:
        content = json.loads(quality.model_dump_json())
        change(content)
        with pytest.raises(ValueError, match=message):
            Quality.model_validate_json(json.dumps(content))

    def without_a_probe(content: Any) -> None:
        for arm in ("base", "candidate"):
            kinds = [one["kind"] for one in content[arm]["spoken"]]
            del content[arm]["spoken"][kinds.index("fresh")]

    refused(
        "not those that were spoken",
        lambda all_: all_["candidate"]["scores"]["hello"].update(output="ab" * 32),
    )
    refused("not asked the same", lambda all_: all_["candidate"]["spoken"][0].update(seed=10**6))
    refused("without the new request", without_a_probe)
    refused("either a distance or the reason", lambda all_: all_["timed"][0].update(trouble="not kept"))
    assert TimedChange(workload="short", seed=0, trouble="not kept").mel_l2 is None
