"""The panel: what is opened, what is said where nothing can be, and that each output is heard once."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping

import numpy as np
import pytest

from engine.audio import Samples
from engine.errors import UsageError
from engine.gate.data.scores import Scores
from engine.gate.quality.judges import (
    ALL,
    Item,
    Judges,
    MissingJudge,
    Mos,
    Panel,
    hash_of,
    judge,
    judge_all,
    open_panel,
)
from engine.gate.quality.judges import panel as panel_module

TONE = np.asarray(0.3 * np.sin(np.arange(24_000) * 0.05), np.float32)
MOS = Mos(ovrl=3.0, sig=3.2, bak=3.9, p808=3.1)


class Heard:
    """Judges of all three kinds that answer from the wave's level alone, and count."""

    languages: tuple[str, ...] = ("en",)

    def __init__(self) -> None:
        self.calls = 0

    def hear(self, samples: Samples) -> str:
        self.calls += 1
        return "hello chat"

    def embed(self, samples: Samples) -> Samples:
        angle = float(np.abs(samples).max())
        return np.array([np.cos(angle), np.sin(angle)], np.float32)

    def rate(self, samples: Samples) -> Mos:
        return MOS


def judges(heard: Heard, missing: Mapping[str, str] | None = None) -> Judges:
    """An open panel of these, with two voices."""
    prints = {"low": np.array([1, 0], np.float32), "high": np.array([0, 1], np.float32)}
    return Judges(heard, heard, heard, prints, missing or {})  # type: ignore[arg-type]


def test_an_output_is_scored_for_its_text_and_voice() -> None:
    """Words against the text, similarity to every voice, MOS and signal, under the samples' hash."""
    found = judge(Item(TONE, "Hello, chat!", "low"), judges(Heard()))
    assert found.output == hash_of(TONE)
    assert found.seconds == 1.0
    assert found.words is not None
    assert (found.heard, found.words.wer, found.mos) == ("hello chat", 0.0, MOS)
    assert found.similarity == pytest.approx(np.cos(0.3), abs=1e-6)
    assert found.nearest == "low"
    assert not found.not_judged
    assert Scores.model_validate_json(found.model_dump_json()) == found


def test_judges_are_not_given_what_they_cannot_hear() -> None:
    """A wave with NaN or next to nothing in it: signal only, and the reason."""
    for samples, reason in (
        (np.full(24_000, np.nan, np.float32), "NaN"),
        (np.zeros(0, np.float32), "only 0.00 s"),
        (TONE[:1_000], "only 0.04 s"),
    ):
        heard = Heard()
        found = judge(Item(samples, "Hello", "low"), judges(heard))
        assert heard.calls == 0
        assert (found.words, found.mos, found.similarity) == (None, None, None)
        assert {name: reason in why for name, why in found.not_judged.items()} == dict.fromkeys(ALL, True)


def test_words_that_nobody_here_understands_are_not_judged() -> None:
    """Chinese is no error: its words are left out with the reason, the rest is judged."""
    found = judge(Item(TONE, "你好", "low"), judges(Heard()))
    assert found.words is None
    assert found.not_judged == {"words": "no recogniser for zh is configured"}
    assert found.mos == MOS


def test_a_voice_without_a_clip_is_not_judged() -> None:
    """There is nothing to compare it with."""
    found = judge(Item(TONE, "Hello", "nobody"), judges(Heard()))
    assert found.similarity is None
    assert "no reference clip of voice 'nobody'" in found.not_judged["speaker"]


def test_each_distinct_output_is_heard_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes as the answer to two texts: heard once, scored against each text."""
    heard, seen = Heard(), []
    monkeypatch.setattr(panel_module, "open_panel", lambda panel: judges(heard))
    items = [
        Item(TONE, "Hello chat", "low"),
        Item(TONE * 2, "Hello chat", "low"),
        Item(TONE, "Good night", "high"),
    ]
    found = judge_all(items, Panel({}), report=lambda *progress: seen.append(progress))
    assert heard.calls == 2
    assert seen == [(1, 2), (2, 2)]
    assert [one.words.wer for one in found if one.words] == [0.0, 0.0, 1.0]
    assert [one.voice for one in found] == ["low", "low", "high"]


def test_several_processes_say_what_one_says() -> None:
    """In order, whatever process judged what."""
    pytest.importorskip("speechmos")
    items = [Item(TONE * np.float32(gain), "Hello", "x") for gain in (1.0, 0.5, 0.25, 1.0)]
    panel = Panel({}, names=("mos",))
    assert judge_all(items, panel, workers=2) == judge_all(items, panel)


def test_nothing_to_judge_needs_no_judges() -> None:
    """No items, no process, no scores."""
    assert judge_all([], Panel({}, names=())) == ()


def test_no_workers_is_refused() -> None:
    """Somebody has to do it."""
    for workers in (
        0,
        -1,
    ):
        with pytest.raises(UsageError, match="at least 1"):
            judge_all([], Panel({}), workers=workers)


def test_an_unknown_judge_is_refused() -> None:
    """Before anything is opened."""
    with pytest.raises(UsageError, match="'taste'"):
        Panel({}, names=("taste",))


def test_a_missing_judge_is_named_and_only_then_an_error_when_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others go on; the message says what to install."""
    for name, module in (
        ("words", "pocketsphinx"),
        ("speaker", "resemblyzer"),
        ("mos", "speechmos.dnsmos"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        opened = open_panel(Panel({}, names=(name,)))
        assert getattr(opened, name) is None
        assert "pip install -e .[quality]" in opened.missing[name]
        with pytest.raises(MissingJudge, match="pip install -e") as caught:
            open_panel(Panel({}, names=(), required=(name,)))
        assert caught.value.judge == name


def test_a_missing_judge_is_told_across_processes() -> None:
    """Pickled and back, it still names its judge and its cure."""
    error = pickle.loads(pickle.dumps(MissingJudge("mos", "gone", "pip install it")))
    assert (error.judge, error.cure) == ("mos", "pip install it")


def test_judges_not_asked_for_stay_closed() -> None:
    """And say so."""
    opened = open_panel(Panel({}, names=()))
    assert (opened.words, opened.speaker, opened.mos) == (None, None, None)
    assert opened.missing == dict.fromkeys(ALL, "not asked for")
