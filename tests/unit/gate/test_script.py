"""What the quality pass asks for: all once in order, some of it again with at most one thing changed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.gate.data import texts
from engine.gate.data.workloads import SENTENCES
from engine.gate.quality import script as speaking
from engine.gate.quality.script import Line, script
from tests.unit.gate import speakers

CASES = texts.choose(("en",)).cases


def lines(seed: int = 1, voices: list[str] | None = None, probes: int = 4) -> tuple[Line, ...]:
    """The script for the English cases and all timed sentences."""
    return script(CASES, SENTENCES, voices or list(speakers.VOICES), seed, probes)


def first(found: tuple[Line, ...]) -> list[Line]:
    """The first pass."""
    return [line for line in found if line.kind in ("case", "timed")]


def test_every_case_and_every_timed_sentence_is_spoken_once_in_order() -> None:
    """Cases in their own voices, and the timed sentences in the voice that was timed."""
    found = first(lines())
    assert [line.sentence.name for line in found] == [one.name for one in (*CASES, *SENTENCES)]
    assert {line.voice for line in found} == set(speakers.VOICES)
    assert {line.voice for line in found if line.kind == "timed"} == {"one"}
    assert [line.sentence.sha256 for line in found[-3:]] == [sentence.sha256 for sentence in SENTENCES]


@given(st.integers(0, 2**40), st.integers(0, len(CASES)), st.integers(1, 4))
def test_the_second_pass_changes_at_most_one_thing(seed: int, probes: int, voices: int) -> None:
    """The same request, another seed, or another voice; every timed sentence is among them."""
    found = lines(seed, [f"voice {number}" for number in range(voices)], probes)
    requests = {line.sentence.name: line for line in first(found)}
    second = found[len(requests) :]
    again = [line.sentence.name for line in second if line.kind == "again"]
    assert len(again) == len(set(again)) == probes + len(SENTENCES)
    assert {sentence.name for sentence in SENTENCES} <= set(again)
    for line in second:
        before = requests[line.sentence.name]
        changed = (line.sentence.seed != before.sentence.seed, line.voice != before.voice)
        assert line.sentence.text == before.sentence.text
        assert (
            changed
            == {
                "again": (False, False),
                "other seed": (True, False),
                "other voice": (False, True),
            }[line.kind]
        )
    assert any(line.kind == "other voice" for line in second) == (voices > 1 and probes > 0)


def test_the_order_of_the_second_pass_is_drawn() -> None:
    """By the seed, and the same for both arms; the first pass has its own order."""
    one, other = lines(1), lines(2)
    assert one == lines(1)
    assert one != other
    assert first(one) == first(other)
    second = [line.sentence.name for line in lines(1, probes=0) if line not in first(one)]
    assert second != sorted(second, key=[sentence.name for sentence in SENTENCES].index)


def test_both_arms_speak_the_script_and_are_held_to_what_they_were(tmp_path: Any) -> None:
    """A process that loads other weights than the measured ones is refused."""
    found = lines(probes=1)
    with speakers.opening(speakers.Arms())(tmp_path) as open_worker:
        spoken = speaking.obtain(found, speakers.VOICES, open_worker, {}, lambda said: None)
        assert [[one.name for one in arm] for arm in spoken.values()] == [
            [line.sentence.name for line in found]
        ] * 2
        assert spoken["base"] == spoken["candidate"]
        measured: dict[Any, Any] = {"candidate": {"weights": "others"}}
        with pytest.raises(UsageError, match="weights of the candidate changed"):
            speaking.obtain(found, speakers.VOICES, open_worker, measured, lambda said: None)
