"""Whatever comes in: audio, or one clear error; never another exception, never a half-written file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine import Audio, Engine, EngineError, Options, Voice
from engine.evidence import Clock
from engine.loading import load
from engine.requests import Request

RATE = 16_000
CHEAP = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def is_audio(audio: Audio) -> None:
    """Finite float32 samples, at least one."""
    assert isinstance(audio, Audio)
    assert audio.samples.dtype == np.float32
    assert len(audio.samples) > 0
    assert np.isfinite(audio.samples).all()


@given(
    words=st.one_of(
        st.text(max_size=60), st.text(st.sampled_from("aé 中。,!😀\x00\u200b\ud800\u0301"), max_size=40)
    )
)
@CHEAP
def test_any_text_is_audio_or_a_named_error(engine: Engine, voice: Voice, words: str) -> None:
    """Every script, every control character, half surrogates."""
    try:
        audio = engine.synthesize(words, voice)
    except EngineError:
        return
    is_audio(audio)


@given(
    content=arrays.arrays(
        st.sampled_from([np.float32, np.float64, np.float16, np.int16, np.complex64, np.bool_]),
        st.one_of(st.integers(0, 9), st.tuples(st.integers(0, 9), st.integers(0, 3)), st.just((2, 2, 2))),
    ),
    repeats=st.sampled_from([1, 500, RATE]),
    rate=st.sampled_from([None, 0, 50, 8_000, RATE, 24_000, 48_000, 10**9]),
    words=st.sampled_from(["", "x", "ten words", "你好世界"]),
)
@CHEAP
def test_any_array_is_audio_or_a_named_error(
    engine: Engine, content: Any, repeats: int, rate: int | None, words: str
) -> None:
    """Any shape and type; NaN, infinite, huge and silent samples are among them."""
    try:
        audio = engine.synthesize("Hi there.", Voice(np.repeat(content, repeats, axis=0), words, rate))
    except EngineError:
        return
    is_audio(audio)


@given(
    options=st.fixed_dictionaries(
        {"nfe": st.integers(-1, 4)},
        optional={
            "precision": st.sampled_from(["fp32", "bf16", "fp16", "fp8"]),
            "vocoder_precision": st.sampled_from(["fp32", "bf16", "fp16", None]),
            "compile": st.sampled_from(["off", "reduce-overhead", "on"]),
            "hoist": st.booleans(),
            "guidance": st.sampled_from(["packed", "separate", "interval", "reuse"]),
            "solver": st.sampled_from(["euler", "midpoint", "heun"]),
            "buckets": st.booleans(),
            "reference_cache": st.sampled_from([True, False, 1]),
            "schedule": st.sampled_from(["uniform", "sway", "epss", ""]),
            "cfg_strength": st.one_of(st.floats(), st.integers(-1, 11)),
        },
    ),
    speed=st.one_of(st.floats(), st.sampled_from([0.3, 1, 3.0])),
    seed=st.one_of(st.integers(), st.none()),
)
@CHEAP
def test_any_options_are_audio_or_a_named_error(
    tiny_folder: Path, voice: Voice, options: dict[str, Any], speed: float, seed: Any
) -> None:
    """Whatever is switched on, and at whatever speed and seed."""
    try:
        audio = load("seeded-tiny", Options(**options), device="cpu").synthesize(
            "Hi.", voice, seed=seed, speed=speed
        )
    except EngineError:
        return
    is_audio(audio)


@given(
    words=st.text(st.sampled_from("ab é中。,!😀\x00\u200b\u0301_%"), max_size=80),
    more=st.fixed_dictionaries(
        {},
        optional={
            "fade": st.sampled_from([0, 0.15, 2, None]),
            "pause": st.sampled_from([0, 0.1, -1, "x"]),
            "duration": st.sampled_from([None, 0.5, 2.0, 1e9]),
            "trim": st.sampled_from([True, False, 1]),
            "nfe": st.sampled_from([None, 1, 3, 0, 1.5]),
            "cfg_strength": st.sampled_from([None, 0.0, 3, float("nan")]),
            "speed": st.sampled_from([0.3, 1, 3, 9]),
        },
    ),
)
@CHEAP
def test_any_request_streamed_or_batched_is_audio_or_a_named_error(
    engine: Engine, voice: Voice, words: str, more: dict[str, Any]
) -> None:
    """Piece by piece, and beside another one."""
    for say in (
        lambda: list(engine.stream(words, voice, **more)),
        lambda: engine.synthesize_batch([Request("Hello.", voice), Request(words, voice, **more)]),
    ):
        try:
            audios = say()
        except EngineError:
            continue
        for audio in audios:
            is_audio(audio)


def clips(folder: Path) -> dict[str, Path]:
    """Every kind of clip that cannot work."""
    t = np.arange(RATE) / RATE
    tone = (0.3 * np.sin(2 * np.pi * 200 * t)).astype(np.float32)
    made = {
        "short": tone[: RATE // 20],
        "long": np.tile(tone, 600),
        "silent": np.zeros(RATE, np.float32),
        "nan": np.where(t > 0.5, np.nan, tone),
    }
    for name, samples in made.items():
        soundfile.write(
            folder / f"{name}.wav", samples, RATE, subtype="PCM_16" if name == "long" else "FLOAT"
        )
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("no audio at all")
    soundfile.write(folder / "whole.wav", tone, RATE)
    (folder / "truncated.wav").write_bytes((folder / "whole.wav").read_bytes()[:2000])
    return {path.stem: path for path in folder.glob("*.wav")} | {"missing": folder / "missing.wav"}


@pytest.mark.parametrize("kind", ["missing", "empty", "truncated", "text", "nan", "silent", "short", "long"])
def test_a_bad_clip_is_one_clear_error(engine: Engine, tmp_path: Path, kind: str) -> None:
    """With the clip's name, and a cure."""
    clip = clips(tmp_path)[kind]
    with pytest.raises(EngineError) as caught:
        engine.synthesize("Hello there.", Voice(clip, "ten words"))
    assert clip.name in caught.value.given
    assert caught.value.cure


@pytest.mark.parametrize("kind", ["", " \n ", "a" * 20_000, "😀🎉", "\x00\x07\x1b"])
def test_text_with_nothing_to_say_is_one_clear_error(engine: Engine, kind: str) -> None:
    """Empty, blank, far too long, emoji alone, control characters alone."""
    with pytest.raises(EngineError, match=r"^text .*expected"):
        engine.synthesize(kind)


@pytest.mark.parametrize("words", ["中" * 1_500, "one two " * 300], ids=["zh", "words"])
def test_text_without_a_sentence_end_is_split_and_planned(engine: Engine, voice: Voice, words: str) -> None:
    """Long text without a full stop still gives pieces that fit, and nothing of it is lost."""
    pieces = engine._plan(Request(words, voice), Clock("cpu")).pieces
    assert len(pieces) > 1
    assert max(piece.frames for piece in pieces) <= 22 * 93.75
    assert "".join(piece.words for piece in pieces).replace(" ", "") == words.replace(" ", "")


def damage(folder: Path, kind: str) -> None:
    """Spoil a copy of a checkpoint."""
    weights = folder / "model.safetensors"
    if kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif kind == "unverified":
        (folder / "voice.json").unlink()
        weights.write_bytes(weights.read_bytes()[:1000])
    elif kind == "foreign":
        (folder / "voice.json").unlink()
        config = folder / "config.yaml"
        config.write_text(config.read_text().replace("depth: 4", "depth: 5"))
    elif kind == "vocoder":
        (folder / "voice.json").unlink()
        (folder / "vocos/pytorch_model.bin").write_bytes(b"not weights")


@pytest.mark.parametrize("kind", ["truncated", "unverified", "foreign", "vocoder"])
def test_a_bad_checkpoint_is_one_clear_error(tiny_folder: Path, tmp_path: Path, kind: str) -> None:
    """Corrupt, foreign, or with a spoilt vocoder; with or without checksums."""
    import shutil

    copy = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    damage(copy, kind)
    with pytest.raises(EngineError) as caught:
        load(copy, device="cpu")
    assert str(copy) in caught.value.given
    assert caught.value.cure


@pytest.mark.parametrize("kind", ["text", "clip", "checkpoint", "flag", "output"])
def test_the_command_ends_with_a_sentence_and_leaves_the_folder_as_it_was(tmp_path: Path, kind: str) -> None:
    """A real process: non-zero exit, stderr without a traceback, the old output untouched."""
    out = tmp_path / "out.wav"
    out.write_bytes(b"an older file")
    (tmp_path / "text.wav").write_text("no audio at all")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    arguments = {
        "text": ["😀"],
        "clip": ["Hello.", "--ref", str(tmp_path / "text.wav"), "--ref-text", "words"],
        "checkpoint": ["Hello.", "--checkpoint", str(tmp_path / "text.wav")],
        "flag": ["Hello.", "--nfe", "8", "--schedule", "epss"],
        "output": ["Hello.", "-o", str(tmp_path / "gone" / "out.wav")],
    }[kind]
    command = [
        sys.executable,
        "-c",
        "from engine.cli import main; main()",
        "speak",
        "-o",
        str(out),
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("ishowtts: ") == 1
    assert "Traceback" not in done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_request_that_fails_midway_leaves_no_trace_in_the_next(
    tiny: Callable[..., Engine], voice: Voice
) -> None:
    """A listener hangs up in the middle of a step: the next request of this thread says its own text."""
    one = tiny()
    expected = one.synthesize("Hello there, chat!", voice).samples.tobytes()

    def hang_up(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one.synthesize("Something else entirely.", voice, progress=hang_up)
    assert one.synthesize("Hello there, chat!", voice).samples.tobytes() == expected
