"""Where outputs come from: timed waves are judged, a request has one answer, and nothing is remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.audio import Samples
from engine.gate.data.quality_limits import Limits
from engine.gate.data.samples import ARMS, Call, Run
from engine.gate.data.verdict import Judgement
from engine.gate.quality import honesty
from engine.gate.quality.script import MEMORY_PAIRS
from tests.unit.gate import builders
from tests.unit.gate.speakers import Arms, Pace, Request, Wave, held, truncated, wave


def asked(run: Run, question: str) -> Judgement:
    """The answer to one question about honesty."""
    assert run.quality is not None
    return next(one for one in honesty.judge(run, run.quality, Limits()) if one.question == question)


def stale(text: str, voice: str, seed: int) -> Samples:
    """A cache that answers for every voice with the first one's conditioning."""
    return wave(text, "one", seed)


def deaf(text: str, voice: str, seed: int) -> Samples:
    """A cache of answers that forgot the seed."""
    return wave(text, voice, 0)


def hasty(part: float, knows: Callable[[Request, Sequence[Request]], bool], noise: float = 0.0) -> Pace:
    """A process that saves this part of the time of what it knows."""
    random = np.random.default_rng(1)

    def seconds(request: Request, known: Sequence[Request]) -> float:
        pace = float(np.exp(noise * random.standard_normal()))
        return pace * (1 - part) if knows(request, known) else pace

    return seconds


def whole(request: Request, known: Sequence[Request]) -> bool:
    """The same request: a memory of answers."""
    return request in known


def text_alone(request: Request, known: Sequence[Request]) -> bool:
    """The same words, whatever the seed: a memory of what belongs to a text."""
    return request[0] in {text for text, _, _ in known}


def test_sound_arms_pass_and_it_is_said_how_much_was_looked_at(tmp_path: Path) -> None:
    """Every request of every process, and how much a repeat may have saved at most."""
    run = held(tmp_path)
    assert asked(run, "timed = judged").sentence.startswith("Each of 8 timed requests had one answer in 6")
    assert (asked(run, "repeats").outcome, asked(run, "no caching").outcome) == ("SAME", "COMPUTED")
    assert "Repeats save at most 0%" in asked(run, "no caching").sentence


def test_an_answer_from_memory_is_named(tmp_path: Path) -> None:
    """Other voices and seeds must give other bytes, when timed and when judged."""
    for answer in (stale, deaf):
        found = asked(held(tmp_path, Arms(candidate=answer)), "no caching")
        assert (found.outcome, found.code) == ("FAULT", 1)
        assert "candidate: the same bytes for" in found.sentence
    timed: dict[Any, Wave] = {"base": wave, "candidate": deaf}
    found = asked(held(tmp_path, timed=timed), "no caching")
    assert (found.code, "short with seed 0 and short with seed 1" in found.sentence) == (1, True)


def test_a_memory_that_saves_a_fifth_of_a_repeat_is_caught_at_the_noise_of_calls(tmp_path: Path) -> None:
    """Of whole answers, or of what belongs to a text: right bytes, so that only the time tells."""
    for knows in (whole, text_alone):
        for noise in (0.0, 0.03):
            arms = Arms(candidate_pace=hasty(0.2, knows, noise), base_pace=hasty(0.0, knows, noise))
            found = asked(held(tmp_path, arms), "no caching")
            assert (found.outcome, found.code) == ("FAULT", 1), (knows, noise)
            assert "candidate: a repeat takes" in found.sentence
    both = Arms(candidate_pace=hasty(0.2, whole), base_pace=hasty(0.2, whole))
    found = asked(held(tmp_path, both), "no caching")
    assert (found.outcome, found.code) == ("UNDECIDED", 3)


def test_a_machine_too_noisy_to_tell_is_said_and_no_fault(tmp_path: Path) -> None:
    """Nothing is saved, and the interval is too wide to exclude it."""
    arms = Arms(candidate_pace=hasty(0.0, whole, 0.5))
    found = asked(held(tmp_path, arms), "no caching")
    assert (found.outcome, found.code) == ("COMPUTED", 0)
    assert "too noisy to tell" in found.sentence


def test_noise_alone_is_hardly_ever_taken_for_a_memory() -> None:
    """At 15 % noise a call, in fewer than 1 of 200 made-up passes; a fifth saved is seen at 5 %."""
    random = np.random.default_rng(0)

    def alarms(part: float, noise: float) -> float:
        count = 0
        for _ in range(1000):
            times = np.exp(noise * random.standard_normal((2, MEMORY_PAIRS))) * np.array([[1.0], [1 - part]])
            saved = honesty.estimate([float(ratio) for ratio in np.log(times[0] / times[1])])
            count += saved.low > -np.log(1 - honesty.SAVED)
        return count / 1000

    assert alarms(0.0, 0.15) < 0.005
    assert alarms(0.2, 0.05) > 0.9


def test_what_was_timed_must_be_one_answer_to_each_request(tmp_path: Path) -> None:
    """Twins that speak otherwise; the workload is named, and both arms alike decide nothing."""
    for arm, code in (("candidate", 1), ("base", 3), ("both", 3)):
        timed = {name: one_process_only(truncated) if arm in (name, "both") else wave for name in ARMS}
        found = asked(held(tmp_path, timed=timed), "timed = judged")
        assert found.code == code
        assert "short" in found.sentence


def one_process_only(answer: Wave, calls: int = 8) -> Wave:
    """Another answer in the first process than in the others."""
    count = iter(range(10_000))
    return lambda *request: answer(*request) if next(count) < calls else wave(*request)


def test_timed_outputs_that_nobody_kept_are_undecided(tmp_path: Path) -> None:
    """The folder is full, so it cannot be told what they were."""
    run = held(tmp_path)
    first, *others = run.processes

    def forget(call: Call) -> Call:
        return call.model_copy(update={"output": "ef" * 32})

    series = tuple(
        one.model_copy(update={"calls": (*one.calls[:-1], forget(one.calls[-1]))}) for one in others[0].series
    )
    twin = others[0].model_copy(update={"series": series[:1] + others[0].series[1:]})
    found = asked(run.model_copy(update={"processes": (first, twin, *others[1:])}), "timed = judged")
    assert found.code == 3
    assert "1 more timed outputs of short were neither judged nor kept" in found.sentence


def test_a_workload_that_was_timed_and_never_judged_fails(tmp_path: Path) -> None:
    """A hash without a judgement is none."""
    run = held(tmp_path)
    assert run.quality is not None
    arm = run.quality.candidate
    fewer = arm.model_copy(
        update={
            "spoken": tuple(one for one in arm.spoken if not one.name.startswith("medium")),
            "scores": {name: one for name, one in arm.scores.items() if not name.startswith("medium")},
        }
    )
    quality = run.quality.model_copy(update={"candidate": fewer})
    found = asked(run.model_copy(update={"quality": quality}), "timed = judged")
    assert found.code == 1
    assert "medium was timed and never judged" in found.sentence


def rounded(size: float) -> Wave:
    """The same sound with a little noise, anew for each call."""
    random = np.random.default_rng(0)

    def answer(text: str, voice: str, seed: int) -> Samples:
        samples = wave(text, voice, seed)
        noise = size * np.abs(samples).mean() * random.standard_normal(samples.size)
        return np.asarray(samples + noise, np.float32)

    return answer


def test_bytes_that_differ_from_call_to_call_are_told_by_how_much(tmp_path: Path) -> None:
    """As on a GPU: rounding passes aloud, more is undecided, another sound is a fault."""
    for size, code, outcome in (
        (1e-4, 0, "ROUNDING"), (3e-3, 3, "UNDECIDED"), (0.02, 3, "UNDECIDED"), (3.0, 1, "FAULT"),
    ):  # fmt: skip
        run = held(tmp_path, Arms(candidate=rounded(size)), blocks=1)
        for question in ("repeats", "timed = judged"):
            found = asked(run, question)
            assert (found.outcome, found.code) == (outcome, code), (size, question)
            assert "mel L2" in found.sentence


def test_a_base_that_cannot_repeat_itself_either_is_no_fault_of_the_candidate(tmp_path: Path) -> None:
    """Nothing can be told then."""
    found = asked(held(tmp_path, Arms(rounded(3.0), rounded(3.0)), blocks=1), "repeats")
    assert (found.outcome, found.code) == ("UNDECIDED", 3)
    assert "base: " in found.sentence
    assert "candidate: " in found.sentence


def test_a_request_that_one_process_was_timed_with_twice_is_undecided(tmp_path: Path) -> None:
    """It may have known the answer, which is why seeds differ from call to call."""
    run = held(tmp_path)
    series = run.processes[0].series[0]
    again = series.model_copy(update={"calls": (*series.calls, series.calls[0])})
    first = run.processes[0].model_copy(update={"series": (again, *run.processes[0].series[1:])})
    found = asked(run.model_copy(update={"processes": (first, *run.processes[1:])}), "no caching")
    assert (found.code, "timed twice with short seed 0" in found.sentence) == (3, True)


def test_where_nothing_was_judged_calls_still_tell_of_a_memory() -> None:
    """The same bytes for two seeds are no fresh answers; without a sign of it nothing is said."""
    assert honesty.from_times_alone(builders.run()) == []
    alone = builders.alone()
    assert honesty.from_times_alone(alone) == []

    def forgetful(process: Any) -> Any:
        series = [
            one.model_copy(
                update={
                    "calls": tuple(c.model_copy(update={"output": one.calls[0].output}) for c in one.calls)
                }
            )
            for one in process.series
        ]
        return process.model_copy(update={"series": tuple(series)})

    cached = alone.model_copy(update={"processes": tuple(map(forgetful, alone.processes))})
    (found,) = honesty.from_times_alone(cached)
    assert (found.question, found.code) == ("no caching", 1)
