"""The judges with a model of their own, on real speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import engine
from engine.audio import Samples
from engine.gate.quality.judges.mos import Dnsmos
from engine.gate.quality.judges.speaker import Speaker

REFERENCES = Path(engine.__file__).parent / "voices" / "box" / "references"


@pytest.fixture(scope="module")
def clips() -> dict[str, Samples]:
    """Reference clips of two voices."""
    import soundfile

    return {name: soundfile.read(REFERENCES / f"{name}.wav", dtype="float32")[0] for name in ("slt", "awb")}


def test_halves_of_a_clip_are_nearer_than_two_speakers(clips: dict[str, Samples]) -> None:
    """The speaker judge tells voices apart, and a voice from itself it does not."""
    pytest.importorskip("resemblyzer")
    judge = Speaker()
    slt, awb = clips["slt"], clips["awb"]
    same = judge.similarity(slt[: len(slt) // 2], slt[len(slt) // 2 :])
    assert same > judge.similarity(slt, awb) + 0.1
    print_ = judge.embed(slt)
    assert (print_.shape, print_.dtype) == ((256,), np.float32)
    assert np.linalg.norm(print_) == pytest.approx(1, abs=1e-5)
    assert judge.similarity(slt, slt) == pytest.approx(1, abs=1e-5)


def test_silence_has_some_embedding() -> None:
    """No speech to find is no reason to fail."""
    for samples in (
        np.zeros(24_000, np.float32),
        np.full(2_400, 1e-6, np.float32),
    ):
        pytest.importorskip("resemblyzer")
        assert Speaker().embed(samples).shape == (256,)


def test_noise_costs_opinion(clips: dict[str, Samples]) -> None:
    """The MOS judge rates speech within its scale, and white noise on it far lower."""
    pytest.importorskip("speechmos")
    judge, speech = Dnsmos(), clips["slt"]
    noise = 0.05 * np.random.default_rng(0).standard_normal(len(speech)).astype(np.float32)
    clean, noisy = judge.rate(speech), judge.rate(speech + noise)
    assert 1 <= clean.ovrl <= 5
    assert clean.bak - noisy.bak > 0.8
    assert judge.rate(speech) == clean


def test_opinion_is_that_of_the_package(clips: dict[str, Samples]) -> None:
    """Opened on one thread, the models say what `speechmos.dnsmos.run` says."""
    dnsmos = pytest.importorskip("speechmos.dnsmos")
    from engine.gate.quality.judges.resample import to_16k

    found = dnsmos.run(np.clip(to_16k(clips["awb"]), -1, 1), sr=16_000)
    ours = Dnsmos().rate(clips["awb"])
    assert [ours.ovrl, ours.sig, ours.bak, ours.p808] == pytest.approx(
        [found[f"{name}_mos"] for name in ("ovrl", "sig", "bak", "p808")], abs=1e-4
    )
