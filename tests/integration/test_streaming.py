"""Streaming: the pieces are those of `synthesize`, made one at a time, and no more than are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine import Engine, Voice
from engine.errors import EngineError, OptionsError, TextError

LONG = (
    "The first sentence is here. And the second one, a little longer, follows it. Then comes a third, which "
    "goes on and on, until nobody knows any more how it began. Yes. And so it has to end at some time, as "
    "all of them do, with a last word that must not be lost in all this."
)
OPTIONS: list[dict[str, Any]] = [{}, {"first_piece": 40}, {"first_piece": 60, "buckets": True, "hoist": True}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_joined_pieces_are_the_synthesized_text_to_the_bit(
    tiny: Callable[..., Engine], voice: Voice, options: dict[str, Any]
) -> None:
    """Samples and mel, whatever the pieces; a second stream gives them again."""
    one = tiny(**options)
    whole = one.synthesize(LONG, voice, seed=5, speed=0.9)
    for _ in range(2):
        pieces = list(one.stream(LONG, voice, seed=5, speed=0.9))
        assert len(pieces) > 1
        assert np.concatenate([piece.samples for piece in pieces]).tobytes() == whole.samples.tobytes()
        assert np.concatenate([piece.mel for piece in pieces]).tobytes() == whole.mel.tobytes()
        assert all(piece.samples.size and piece.rtf > 0 for piece in pieces)


def test_one_piece_streams_as_one(engine: Engine, voice: Voice) -> None:
    """A chat message."""
    (piece,) = engine.stream("Hello there, chat!", voice)
    assert np.array_equal(piece.samples, engine.synthesize("Hello there, chat!", voice).samples)


def test_a_piece_shorter_than_the_fade_is_not_lost(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fades into the next one entirely: nothing to hear yet, and nothing lost later."""
    one = engine._open()
    decode = one.vocoder.decode
    monkeypatch.setattr(one.vocoder, "decode", lambda mel: decode(mel)[:, :3000])
    pieces = list(engine.stream(LONG * 2, seed=1))
    whole = engine.synthesize(LONG * 2, seed=1)
    assert np.concatenate([piece.samples for piece in pieces]).tobytes() == whole.samples.tobytes()
    assert np.concatenate([piece.mel for piece in pieces]).tobytes() == whole.mel.tobytes()


def test_nothing_is_sampled_before_it_is_asked_for(tiny: Callable[..., Engine], voice: Voice) -> None:
    """Two evaluations a piece: none at the call, one piece's worth for one piece."""
    one = tiny(first_piece=40)
    pieces = one.stream(LONG, voice)
    assert one._seen.counts["evaluations"] == 0
    next(pieces)
    assert one._seen.counts["evaluations"] == 2
    next(pieces)
    assert one._seen.counts["evaluations"] == 4


@pytest.mark.parametrize("end", ["close", "drop"])
def test_who_stops_listening_stops_the_work(tiny: Callable[..., Engine], voice: Voice, end: str) -> None:
    """No further solver step, and the next request is as if nothing had been."""
    one = tiny(first_piece=40)
    pieces = one.stream(LONG, voice)
    next(pieces)
    if end == "close":
        pieces.close()  # type: ignore[attr-defined]
        assert list(pieces) == []
    del pieces
    assert one._seen.counts["evaluations"] == 2
    fresh = tiny().synthesize("Hello there, chat!", voice).samples
    assert np.array_equal(one.synthesize("Hello there, chat!", voice).samples, fresh)


def test_a_stream_ends_with_its_engine(tiny: Callable[..., Engine], voice: Voice) -> None:
    """A closed engine frees its model: what is left of the stream cannot be made, and says so."""
    one = tiny(first_piece=40)
    pieces = one.stream(LONG, voice)
    next(pieces)
    one.close()
    with pytest.raises(EngineError, match="closed engine"):
        next(pieces)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(("", None), TextError), (("Hello.", "nobody"), OptionsError)],
)
def test_a_bad_request_is_refused_at_the_call(
    engine: Engine, arguments: Any, error: type[EngineError]
) -> None:
    """Not at the first piece, when a player already waits."""
    with pytest.raises(error):
        engine.stream(*arguments)


def test_a_stream_sets_no_mode_of_torch_for_its_listener(engine: Engine, voice: Voice) -> None:
    """Between pieces the caller may train a model."""
    import torch

    for _ in engine.stream(LONG, voice):
        assert not torch.is_inference_mode_enabled()


def test_nan_never_reaches_a_listener(
    tiny: Callable[..., Engine], voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The piece is refused before it is handed out."""
    one = tiny()
    vocoder = one._parts.vocoder  # type: ignore[union-attr]
    decode = vocoder.decode
    monkeypatch.setattr(vocoder, "decode", lambda mel: decode(mel) * float("nan"))
    with pytest.raises(EngineError, match="NaN"):
        next(one.stream(LONG, voice))


def test_a_short_first_piece_halves_the_work_before_the_first_audio(
    tiny: Callable[..., Engine], voice: Voice
) -> None:
    """Counted, not timed: evaluations times frames, on a text of more than a quarter of a minute."""
    work = []
    for options in ({}, {"first_piece": 60}):
        one = tiny(**options)
        next(one.stream(LONG, voice))
        counts = one._seen.counts
        work.append(counts["evaluations before audio"] * counts["frames before audio"])
    assert work[1] <= 0.5 * work[0]


def test_a_first_piece_is_proven_by_its_length(
    tiny: Callable[..., Engine], voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut and short: proven. Options that say so without the work: disproven."""
    from engine.optimizations import first_piece

    one = tiny(first_piece=40)
    one.synthesize(LONG, voice)
    assert {proof.proven for proof in one.evidence().values()} == {True}
    monkeypatch.setattr(first_piece, "apply", lambda parts, *_: parts)
    other = tiny(first_piece=40)
    other.synthesize(LONG, voice)
    assert other.evidence()["first_piece"].proven is False
