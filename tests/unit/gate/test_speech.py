"""sound: what toggle sets sound like, from the scores of pinned texts."""

from __future__ import annotations

import numpy as np
import pytest

from engine import Options
from engine.gate.data import texts
from engine.gate.quality import speech as sound
from engine.gate.quality.judges import Mos, Scores, WordErrors, inspect

SILENCE = np.zeros(2400, np.float32)


def scores(edits: int | None, words: int, mos: float | None, likeness: float | None) -> Scores:
    """Of one clip; None where a judge had nothing to say."""
    heard = None if edits is None else WordErrors(word_edits=edits, words=words, char_edits=0, chars=words)
    return Scores(
        output="0" * 64,
        seconds=2.0,
        voice="slt",
        signal=inspect(SILENCE),
        heard=None,
        words=heard,
        similarities={} if likeness is None else {"slt": likeness},
        mos=None if mos is None else Mos(ovrl=mos, sig=1, bak=1, p808=1),
        not_judged={},
    )


def test_a_long_text_weighs_more_than_a_short_one() -> None:
    """Word errors are counted over all clips: one word of a chat message is not a tenth of the matter."""
    found = sound.mean([scores(1, 1, 2.0, 0.8), scores(0, 9, 3.0, 0.9)])
    assert found.wer == pytest.approx(0.1)
    assert found.mos == pytest.approx(2.5)
    assert found.similarity == pytest.approx(0.85)
    assert (found.clips, found.seconds) == (2, 4.0)


def test_what_nobody_judged_is_none_and_not_a_perfect_score() -> None:
    """A judge that is missing gives no figure, and a clip that it could not judge does not count."""
    assert sound.mean([scores(None, 1, None, None)]).wer is None
    assert sound.mean([scores(None, 1, None, None), scores(1, 2, 2.0, None)]).wer == 0.5


def test_every_set_says_the_same_texts_and_an_untrained_model_is_said_to_be_one() -> None:
    """From the same noise: what differs is the toggles' doing. A judge left out says nothing."""
    name = texts.QUICK[0]
    sets = {"plain": Options(nfe=2), "cached": Options(nfe=2, reference_cache=True), "more": Options(nfe=3)}
    found = sound.speak(sets, "seeded-tiny", [name], device="cpu", judges=())
    plain, cached, more = (found.items[key][0] for key in sets)
    assert plain.text == cached.text == more.text == found.cases[0].text
    assert plain.output == cached.output != more.output
    assert found.scores["plain"][0].output == plain.output
    assert not found.trained
    assert sound.mean(found.scores["plain"]).mos is None
