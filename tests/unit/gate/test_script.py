"""What the quality pass asks for: all once in order, some again with one thing changed, then repeats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.gate.data import texts
from engine.gate.data.workloads import SENTENCES
from engine.gate.quality import script
from engine.gate.quality.script import Line
from tests.unit.gate import speakers

CASES = texts.choose(("en",)).cases


def lines(seed: int = 1, voices: list[str] | None = None, probes: int = 4) -> tuple[Line, ...]:
    """The script for the English cases and all timed sentences."""
    return script.script(CASES, SENTENCES, voices or list(speakers.VOICES), seed, probes)


def of(kind: str, asked: tuple[Line, ...]) -> list[Line]:
    """The lines of one kind."""
    return [line for line in asked if line.kind == kind]


def request(line: Line) -> tuple[str, int, str]:
    """What changes the answer: text, seed and voice."""
    return line.sentence.text, line.sentence.seed, line.voice


def test_every_case_is_spoken_once_in_order_and_no_timed_sentence_is_spoken_to_be_judged() -> None:
    """Cases in their own voices; of the sentences the judges hear what was timed."""
    asked = lines()
    assert [line.sentence.name for line in asked[: len(CASES)]] == [case.name for case in CASES]
    assert {line.voice for line in of("case", asked)} == set(speakers.VOICES)
    assert len(of("case", asked)) == len(CASES)
    assert not of("timed", asked)
    assert {line.voice for line in asked if line.sentence.name == "short"} == {"one"}


@given(st.integers(0, 2**40), st.integers(0, len(CASES)), st.integers(1, 4))
def test_the_second_pass_changes_at_most_one_thing(seed: int, probes: int, voices: int) -> None:
    """The same request, another seed, or another voice; every timed sentence is asked for again."""
    asked = lines(seed, [f"voice {number}" for number in range(voices)], probes)
    first = {line.sentence.name: line for line in of("case", asked)}
    first |= {sentence.name: Line("timed", sentence, "voice 0") for sentence in SENTENCES}
    again = [line.sentence.name for line in of("again", asked)]
    assert len(again) == len(set(again)) == probes + len(SENTENCES)
    assert {sentence.name for sentence in SENTENCES} <= set(again)
    changed = {"again": (False, False, False), "other seed": (False, True, False)}
    changed["other voice"] = (False, False, True)
    for line in (line for line in asked if line.kind in changed):
        pairs = zip(request(line), request(first[line.sentence.name]), strict=True)
        assert tuple(after != before for after, before in pairs) == changed[line.kind]
    assert bool(of("other voice", asked)) == (voices > 1 and probes > 0)


@given(st.integers(0, 2**40))
def test_repeats_stand_beside_new_requests_that_take_as_long(seed: int) -> None:
    """In pairs at the end; the known one was asked before, the new one never, and its length is the same."""
    asked = lines(seed)
    probe = asked[-2 * script.MEMORY_PAIRS :]
    before = {request(line) for line in asked[: -len(probe)]}
    for pair in zip(probe[::2], probe[1::2], strict=True):
        assert {line.kind for line in pair} == {"repeat", "fresh"}
        (repeat,), (fresh,) = of("repeat", pair), of("fresh", pair)
        assert request(repeat) in before
        assert request(fresh) not in before
        assert sorted(fresh.sentence.text) == sorted(repeat.sentence.text)
        before.add(request(fresh))


def test_which_of_a_pair_comes_first_is_drawn() -> None:
    """A machine that gets slower or faster favours neither."""
    orders = {line.kind for seed in range(20) for line in lines(seed)[-2:-1]}
    assert orders == {"repeat", "fresh"}


def test_without_timed_sentences_nothing_is_asked_from_memory() -> None:
    """There is no time that a memory could have changed."""
    asked = script.script(CASES, [], ["one"], 1, 2)
    assert {line.kind for line in asked} == {"case", "again", "other seed"}


def test_the_order_of_the_second_pass_is_drawn() -> None:
    """By the seed, and the same for both arms; the first pass has its own order."""
    one, other = lines(1), lines(2)
    assert one == lines(1)
    assert one != other
    assert of("case", one) == of("case", other)
    second = [line.sentence.name for line in of("again", lines(1, probes=0))]
    assert second != sorted(second, key=[sentence.name for sentence in SENTENCES].index)


def test_both_arms_speak_the_script_and_are_held_to_what_they_were(tmp_path: Path) -> None:
    """A process that loads other weights than the measured ones is refused."""
    asked = lines(probes=1)
    with speakers.opening(speakers.Arms())(tmp_path) as open_worker:
        spoken = script.obtain(asked, speakers.VOICES, open_worker, {}, lambda said: None)
        assert [[answer.name for answer in arm] for arm in spoken.values()] == [
            [line.sentence.name for line in asked]
        ] * 2
        assert spoken["base"] == spoken["candidate"]
        measured: dict[Any, Any] = {"candidate": {"weights": "others"}}
        with pytest.raises(UsageError, match="weights of the candidate changed"):
            script.obtain(asked, speakers.VOICES, open_worker, measured, lambda said: None)
