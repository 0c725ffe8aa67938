"""Seeded weights must matter, or every tolerance measured on them is hollow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import soundfile

from engine import Engine, Options, Voice, upstream
from engine.loading import load

TEXT, OTHER_TEXT = (
    "Hello there, chat!",
    "Bring us more tea.",
)  # of equal length, so that the mels can be compared


def distance(one: Any, other: Any) -> float:
    """Relative L2."""
    return float(np.linalg.norm(one - other) / np.linalg.norm(one))


def other_voice(voice: Voice) -> Voice:
    """Another speaker, cut to the same length and with the same words."""
    samples, rate = soundfile.read(upstream.shipped("infer/examples/basic/basic_ref_zh.wav"), dtype="float32")
    length, own_rate = len(voice.read()[0]), voice.read()[1]
    assert rate == own_rate
    return Voice(samples[rate // 2 : rate // 2 + length], voice.text, rate)


def skip(block: Any) -> Any:
    """Hand a block's input through; returns the hook, to be removed."""
    return block.register_forward_hook(lambda module, inputs, output: inputs[0])


def check(one: Engine, voice: Voice) -> None:
    """Text and reference move the mel by a tenth, every single block by a hundredth."""
    mel = one.synthesize(TEXT, voice).mel
    assert distance(mel, one.synthesize(OTHER_TEXT, voice).mel) >= 0.10
    moved = one.synthesize(TEXT, other_voice(voice)).mel
    frames = min(len(mel), len(moved))
    assert distance(mel[:frames], moved[:frames]) >= 0.10
    blocks = one._parts.model.transformer.transformer_blocks  # type: ignore[union-attr]
    effects = []
    for block in blocks:
        hook = skip(block)
        effects.append(distance(mel, one.synthesize(TEXT, voice).mel))
        hook.remove()
    assert min(effects) >= 0.01, effects
    assert distance(mel, one.synthesize(TEXT, voice).mel) == 0


@pytest.mark.parametrize("nfe", [2, 32])
def test_text_reference_and_every_block_matter(nfe: int, voice: Voice) -> None:
    """At the few steps of tests and at the full count."""
    check(load("seeded-tiny", Options(nfe=nfe), device="cpu"), voice)


@pytest.mark.base
def test_text_reference_and_every_block_matter_at_base_size(voice: Voice) -> None:
    """Twenty-two blocks, none of them idle."""
    check(load("seeded-base", Options(nfe=1), device="cpu"), voice)
