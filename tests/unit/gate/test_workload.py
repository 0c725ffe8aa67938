"""Pinned workloads: the hash covers what changes the result; different ones are never compared."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.errors import BaselineError, UsageError
from engine.gate.data.workloads import SENTENCES, Clip, Sentence, Workload, check_pins, check_same, pinned
from tests.unit.gate.builders import CLIP, PINS, WEIGHTS

SENTENCE = Sentence(name="short", text="Hello.", seed=3, speed=1.0)
BASE = Workload(sentence=SENTENCE, clip=CLIP, weights_sha256=WEIGHTS)


def _changed(**changes: Any) -> Workload:
    return BASE.model_copy(update={"sentence": SENTENCE.model_copy(update=changes)})


def test_whatever_changes_the_result_changes_the_hash() -> None:
    """Text, seed, speed, clip, transcript and weights are all in the hash."""
    for other in (
        _changed(text="Hello!"),
        _changed(seed=4),
        _changed(speed=1.1),
        BASE.model_copy(update={"clip": Clip.of("test clip", b"audio.", CLIP.text)}),
        BASE.model_copy(update={"clip": Clip.of("test clip", b"audio", "Other words.")}),
        BASE.model_copy(update={"weights_sha256": "cd" * 32}),
    ):
        assert other.sha256 != BASE.sha256


def test_a_name_changes_no_hash() -> None:
    """Names are for people: the same content under another name is the same workload."""
    renamed = BASE.model_copy(update={"clip": Clip.of("other", b"audio", CLIP.text)})
    assert renamed.sha256 == BASE.sha256
    assert _changed(name="other").sha256 == BASE.sha256


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_texts_share_a_hash_only_if_they_are_equal(one: str, other: str) -> None:
    """No normalisation, separator or encoding makes two texts one workload."""
    assert (_changed(text=one).sha256 == _changed(text=other).sha256) == (one == other)


def test_the_pinned_set_has_a_chat_message_two_sentences_and_a_long_text() -> None:
    """Three lengths are pinned, all of them in English letters."""
    assert [sentence.name for sentence in SENTENCES] == ["short", "medium", "long"]
    assert [len(sentence.text) for sentence in SENTENCES] == sorted(len(s.text) for s in SENTENCES)
    assert all(sentence.text.isascii() for sentence in SENTENCES)


def test_pinned_keeps_the_fixed_order_and_refuses_unknown_names() -> None:
    """Names choose from the set; a name that is not in it is an error that lists those that are."""
    assert [workload.name for workload in pinned(CLIP, WEIGHTS, ["long", "short"])] == ["short", "long"]
    assert len(pinned(CLIP, WEIGHTS)) == len(SENTENCES)
    with pytest.raises(UsageError, match=r"'loud'.*short, medium, long"):
        pinned(CLIP, WEIGHTS, ["loud"])


def test_equal_workloads_may_be_compared() -> None:
    """The same names and hashes on both sides raise nothing, and a new workload is no obstacle."""
    check_same({"short": "aa"}, {"short": "aa", "new": "bb"}, "the base", "the candidate")


def test_a_vanished_workload_is_named() -> None:
    """A workload that one side lacks is an error that names it and both sides."""
    with pytest.raises(BaselineError, match=r"'long' of the base has vanished from the candidate"):
        check_same({"long": "aa"}, {"short": "aa"}, "the base", "the candidate")


def test_a_changed_workload_is_named() -> None:
    """A workload whose content changed is an error that names it."""
    with pytest.raises(
        BaselineError, match=r"'long' changed between the base \(aa\) and the candidate \(bb\)"
    ):
        check_same({"long": "aa"}, {"long": "bb"}, "the base", "the candidate")


def test_a_sentence_that_no_baseline_pins_is_an_error() -> None:
    """A new sentence must be pinned before it is measured, and the error says with which hash."""
    check_pins(PINS, "x.json")
    new = Sentence(name="new", text="New.")
    with pytest.raises(BaselineError, match=f"'new' is not in x.json.*{new.sha256}"):
        check_pins(PINS, "x.json", [*SENTENCES, new])


def test_workloads_are_immutable() -> None:
    """Nothing can be assigned after construction."""
    with pytest.raises(ValidationError, match="frozen"):
        BASE.weights_sha256 = "00"  # type: ignore[misc]
