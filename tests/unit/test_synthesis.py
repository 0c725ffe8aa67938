"""The engine: lengths, pieces, timings and refusals, on a tiny model."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Engine, Voice, text, upstream
from engine.errors import EngineError, OptionsError, TextError
from engine.evidence import Clock
from engine.requests import Request
from engine.synthesis import Progress

LONG = "The first sentence is here. And the second one, a little longer, follows it. Then comes a third! Yes."


def upstream_frames(opening: str, words: str, samples: int, speed: float) -> int:
    """`infer_batch_process`'s duration for one piece, with the floor of `CFM.sample`; written from its
    source, but for short pieces, which take as long as ten bytes."""
    reference = samples // 256
    units = max(len(words.encode()), 10)
    duration = reference + int(reference / len(opening.encode()) * units / speed)
    tokens = len(upstream.module("f5_tts.model.utils").convert_char_to_pinyin([opening + words])[0])
    return max(duration, max(tokens, reference + 1) + 1)


@pytest.mark.parametrize(
    "words", ["Hi.", "Hello there, chat!", "你好，世界。今天怎么样？", "Mixed 中文 and English."]
)
@pytest.mark.parametrize("speed", [0.5, 1.0, 1.7])
def test_frames_and_tokens_are_upstreams(engine: Engine, voice: Voice, words: str, speed: float) -> None:
    """Transcript and words give the sequence length and the tokens that upstream's pipeline gives."""
    reference = engine._parts.prepare(voice)  # type: ignore[union-attr]
    (piece,) = engine._plan(Request(words, voice, speed=speed), Clock("cpu")).pieces
    opening = text.finish_reference(reference.text)
    assert piece.frames == upstream_frames(opening, words, round(reference.seconds * 24_000), speed)
    utils = upstream.module("f5_tts.model.utils")
    expected = utils.list_str_to_idx(
        utils.convert_char_to_pinyin([opening + words]),
        engine._parts.model.vocab_char_map,  # type: ignore[union-attr]
    )
    assert piece.tokens.tolist() == expected.tolist()


def test_length_follows_from_words_clip_and_speed(engine: Engine, voice: Voice) -> None:
    """Never from the sampling: seeds give other audio of the same length."""
    one, other = (engine.synthesize("Hello there, chat!", voice, seed=seed) for seed in (1, 2))
    assert len(one.samples) == len(other.samples)
    assert not np.array_equal(one.samples, other.samples)
    assert engine.synthesize("Hello there, chat!", voice, speed=2.0).seconds < one.seconds


def test_audio_is_mono_float32_at_24_khz(engine: Engine, voice: Voice) -> None:
    """What the interface promises."""
    audio = engine.synthesize("Hello there, chat!", voice)
    assert (audio.samples.ndim, audio.samples.dtype, audio.sample_rate) == (1, np.float32, 24_000)
    assert audio.mel.shape[1] == 100
    assert audio.seconds == pytest.approx((audio.mel.shape[0] - 1) * 256 / 24_000)


def test_no_piece_with_its_reference_passes_the_longest_sequence(engine: Engine) -> None:
    """Long text is split so that the model never sees more than it was trained on."""
    made = engine._plan(Request(LONG * 5), Clock("cpu")).pieces
    assert len(made) > 1
    assert all(piece.frames <= engine.checkpoint.max_seconds * 93.75 for piece in made)


def test_progress_counts_every_step_of_every_piece(engine: Engine, voice: Voice) -> None:
    """From 1, in order, to the end."""
    seen: list[Progress] = []
    engine.synthesize(LONG * 3, voice, progress=seen.append)
    pieces = seen[0].pieces
    assert pieces > 1
    assert [(at.piece, at.step) for at in seen] == [(p, s) for p in range(1, pieces + 1) for s in (1, 2)]
    assert {(at.pieces, at.steps) for at in seen} == {(pieces, 2)}


def test_stages_sum_to_the_total(engine: Engine, voice: Voice) -> None:
    """No stage is negative and none is counted twice."""
    timings = engine.synthesize(LONG, voice).timings
    assert all(seconds >= 0 for seconds in timings.stages().values())
    assert sum(timings.stages().values()) == pytest.approx(timings.total)


@pytest.mark.parametrize("seed", [-1, 2**62, 1.0, "1", None, True])
def test_a_seed_that_is_no_whole_number_is_refused(engine: Engine, seed: Any) -> None:
    """By name."""
    with pytest.raises(OptionsError, match="seed="):
        engine.synthesize("Hello.", seed=seed)


@pytest.mark.parametrize("speed", [0, 0.29, 3.1, float("nan"), float("inf"), -1, "fast", None, True])
def test_a_speed_out_of_range_is_refused(engine: Engine, speed: Any) -> None:
    """By name and with the range."""
    with pytest.raises(OptionsError, match=r"speed=.*0.3 to 3"):
        engine.synthesize("Hello.", speed=speed)


@pytest.mark.parametrize("voice", ["gone", 7, b"clip", ("a.wav", "words")])
def test_a_voice_that_is_none_is_refused(engine: Engine, voice: Any) -> None:
    """A name that is not there, or something else altogether."""
    with pytest.raises(OptionsError, match="voice"):
        engine.synthesize("Hello.", voice)


def test_a_voice_is_found_by_its_name(engine: Engine) -> None:
    """The default clip has a name too."""
    name = next(iter(engine.checkpoint.references))
    assert np.array_equal(engine.synthesize("Hello.", name).samples, engine.synthesize("Hello.").samples)


def test_a_closed_engine_refuses_and_frees_its_model(tiny: Callable[..., Engine], voice: Voice) -> None:
    """Its memory goes, further calls raise, closing again does not."""
    one = tiny(reference_cache=True)
    one.synthesize("Hello.", voice)
    alive = [weakref.ref(one._parts.model), weakref.ref(one._parts.vocoder)]  # type: ignore[union-attr]
    one.close()
    one.close()
    gc.collect()
    assert [ref() for ref in alive] == [None, None]
    for call in (lambda: one.synthesize("Hello."), lambda: one.checkpoint, lambda: one.device):
        with pytest.raises(EngineError, match="closed engine"):
            call()
    assert one.evidence()["nfe"].proven is True


def test_a_with_block_closes(tiny: Callable[..., Engine]) -> None:
    """Also when the block fails."""
    with pytest.raises(TextError), tiny() as one:
        one.synthesize("")
    with pytest.raises(EngineError, match="closed"):
        _ = one.checkpoint


def test_audio_with_nan_is_an_error_and_not_silence(
    tiny: Callable[..., Engine], voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half format that overflows must not reach a listener."""
    one = tiny()
    vocoder = one._parts.vocoder  # type: ignore[union-attr]
    decode = vocoder.decode
    monkeypatch.setattr(vocoder, "decode", lambda mel: decode(mel) * float("nan"))
    with pytest.raises(EngineError, match="NaN"):
        one.synthesize("Hello there, chat!", voice)


def test_a_fresh_engine_proves_nothing(tiny: Callable[..., Engine]) -> None:
    """Evidence comes from work, never from the options."""
    proofs = tiny(precision="bf16", reference_cache=True, buckets=True, batch=2, first_piece=40).evidence()
    decided = {name for name, proof in proofs.items() if proof.proven is not None}
    assert decided <= {"int8", "attention", "linears"}  # off, which loading alone shows


def test_a_quiet_clip_gives_quiet_speech(engine: Engine, clip: Path) -> None:
    """The level of the clip comes back: a tenth of it in, a tenth of it out."""
    samples, rate = Voice(clip, "x").read()
    quiet, quieter = (
        engine.synthesize(
            "Hello there, chat!", Voice(samples * np.float32(k), "Some call me nature,", rate)
        ).samples
        for k in (0.2, 0.1)
    )
    rms = [float(np.sqrt(np.mean(np.square(wave)))) for wave in (quiet, quieter)]
    assert rms[0] / rms[1] == pytest.approx(2.0, rel=0.2)
