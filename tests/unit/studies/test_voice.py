"""The parts of the training recipe that can go wrong without a sound."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.studies.voice import card, fit_durations, lexicon, sentences, speech
from tests.studies.voice.phones import NAMES, TOKENS


def test_tokens_stand_for_one_phone_each() -> None:
    """No two phones share a token and each is one character of upstream's vocabulary."""
    from engine import upstream

    vocabulary = set(upstream.shipped("infer/examples/vocab.txt").read_text(encoding="utf-8").split("\n"))
    assert len(set(TOKENS.values())) == len(TOKENS)
    assert all(len(token) == 1 and token in vocabulary for token in TOKENS.values())


def test_held_out_sentences_are_never_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training texts share none with the held-out ones or the clips' transcripts; a seed fixes both."""
    rng = random.Random(1)
    shelf = [
        f"{'Abcdefgh'[: rng.randint(3, 8)]} {'word ' * rng.randint(3, 28)}number {_letters(n)}."
        for n in range(900)
    ]
    monkeypatch.setattr(sentences, "fortunes", lambda: list(shelf))
    train, test = sentences.corpus(1000, seed=5)
    assert not {s.text for s in train} & ({s.text for s in test} | set(sentences.REFERENCES.values()))
    assert [sum(s.voice == voice for s in test) for voice in sentences.VOICES] == [25] * 4
    assert sentences.corpus(1000, seed=5) == (train, test)


def test_fortunes_are_plain_sentences(tmp_path: Path) -> None:
    """Digits, shouting, signatures and fragments are left out."""
    (tmp_path / "wisdom").write_text(
        "A plain sentence, isn't it?\n\t\t-- Somebody\n%\nIt was 1984.\n%\nDO NOT SHOUT at me.\n%\nno "
        "capital here.\n%\n"
    )
    assert sentences.fortunes(tmp_path) == ["A plain sentence, isn't it?"]


def test_every_line_of_phone_times_starts_at_zero() -> None:
    """Flite prints one line an utterance; the times go on from line to line."""
    assert speech.phone_ends("pau:0.2 ax:0.5\npau:0.1 b:0.3") == [
        ("pau", 0.2),
        ("ax", 0.5),
        ("pau", 0.6),
        ("b", 0.8),
    ]


def test_silence_is_trimmed_and_frames_know_their_phone() -> None:
    """Edges keep their 80 ms, samples are whole hops, and each frame has the phone sounding at its time."""
    samples = np.ones(24_000, np.float32)
    cut = speech.trim(samples, [("pau", 0.3), ("aa", 0.5), ("pau", 0.55), ("t", 0.7), ("pau", 1.0)])
    assert [name for name, _ in cut.phones] == ["end", "aa", "pau", "t", "end"]
    assert cut.phones[0][1] == pytest.approx(speech.EDGE)
    assert len(cut.samples) % speech.HOP == 0
    which = speech.frame_phones(cut, NAMES)
    assert len(which) == len(cut.samples) // speech.HOP
    assert [NAMES[i] for i in which[[0, 8, 28, 33, -1]]] == ["end", "aa", "pau", "t", "end"]


@given(
    st.lists(st.text("abcd", min_size=1, max_size=5), min_size=1, max_size=6), st.text("abcdx", max_size=20)
)
def test_splitting_words_loses_nothing(expected: list[str], spoken: str) -> None:
    """The pieces joined are what was spoken, whatever was expected; equal speech is split exactly."""
    assert "".join(lexicon.split_words(expected, spoken)) == spoken
    assert lexicon.split_words(expected, "".join(expected)) == expected


def test_letter_rules_learn_context() -> None:
    """A letter that changes before another is learnt with that context, and the rest backs off."""
    words = {f"{a}{v}{b}": f"{a}{v}{b}" for a in "bdk" for v in "ai" for b in "tn"}
    words |= {f"{a}{v}{b}e": f"{a}{v.upper()}{b}" for a in "bdk" for v in "ai" for b in "tn"}
    rules = lexicon.letter_rules(words)
    said = [
        "".join(lexicon.back_off(rules, lexicon.context(word, i, 3, 3), -1) for i in range(len(word)))
        for word in words
    ]
    assert said == list(words.values())


def test_durations_are_fitted_at_the_common_pace() -> None:
    """A slower voice gives the same table as a faster one; a context that says nothing new is dropped."""
    rows = []
    for voice, pace in (("slt", 1.0), ("rms", 1.5)):
        ends = np.cumsum([0.08, 0.1, 0.2, 0.08]) * pace
        names = ["end", "b", "aa", "end"]
        rows += [{"voice": voice, "phones": [(n, float(e)) for n, e in zip(names, ends, strict=True)]}] * 10
    table = fit_durations.fit_frames(rows)
    assert table["ɑ"] == pytest.approx(0.2 * 1.25 * fit_durations.FRAMES_A_SECOND)
    assert not [key for key in table if key.startswith("ɑ") and key != "ɑ"]


def test_orthogonalised_updates_have_equal_singular_values() -> None:
    """Newton-Schulz brings every singular value near one, for wide and tall matrices."""
    import torch

    from tests.studies.voice.muon import orthogonalise

    torch.manual_seed(0)
    for shape in ((3, 16, 48), (3, 48, 16)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
        assert values.shape == (3, 16)
        assert ((values > 0.6) & (values < 1.3)).all()


def test_reference_masks_leave_something_to_hear_and_to_say() -> None:
    """Every window predicts some frames; most windows keep a prefix as reference."""
    from tests.studies.voice.windows import SHORTEST, reference_mask

    masks = reference_mask(random.Random(0), 200, 300)
    assert masks.any(1).all()
    assert 0.7 < (~masks[:, :SHORTEST]).all(1).float().mean() < 0.95


def test_the_card_says_what_was_missed() -> None:
    """Targets are judged from the scores, reached or missed."""
    good = {"wer": 0.2, "cer": 0.1, "speaker": 1.0, "dnsmos": 3.0, "clips": 100}
    good |= {"level": {"slt": -0.4, "rms": 1.2}}
    good |= {"source": dict(good)}
    bad = good | {"wer": 0.4, "speaker": 0.9, "dnsmos": 2.5, "level": {"slt": -9.6}}
    text = card.verdict({"source": good, "NFE 16": good, "NFE 7": bad})
    assert text.count("**missed**") == 4
    assert "NFE 7: level -9.6 dB, target 3 dB: **missed**" in text
    assert "NFE 16: level +1.2 dB, target 3 dB: reached" in text
    assert "NFE 16: WER +0.000" in text


def _letters(number: int) -> str:
    return "".join("abcdefghij"[int(digit)] for digit in str(number))
