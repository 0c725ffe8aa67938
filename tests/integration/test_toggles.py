"""Every toggle: off leaves no trace, lossless ones keep the mel, lossy ones stay close, threads may use
them."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine import Engine, Options, Voice
from engine.errors import OptionsError
from engine.loading import load

TEXT = "Hello there, chat!"
LOSSLESS = 1e-3


def distance(one: Any, other: Any) -> float:
    """Relative L2."""
    return float(np.linalg.norm(one - other) / np.linalg.norm(one))


@pytest.fixture
def fresh_dynamo() -> Iterator[None]:
    """Dynamo counts compilations by process; each test of it starts from none."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compilations() -> int:
    """Graphs that Dynamo has handed to a backend in this process."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def test_all_off_leaves_upstreams_modules_as_they_are(engine: Engine) -> None:
    """No hook, no cast, no compiled call, no cache."""
    parts = engine._parts
    assert parts is not None
    for module in (*parts.model.modules(), *parts.vocoder._vocos.modules()):  # type: ignore[attr-defined]
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert module._compiled_call_impl is None
    assert {p.dtype for p in parts.model.parameters()} == {torch.float32}
    assert not [name for name in engine._observed.counts if "cache" in name or "graphs" in name]


def test_the_reference_cache_is_bit_identical(
    tiny: Callable[..., Engine], engine: Engine, voice: Voice
) -> None:
    """Hit and miss give the same bytes as no cache."""
    one = tiny(reference_cache=True)
    expected = engine.synthesize(TEXT, voice).samples.tobytes()
    assert [one.synthesize(TEXT, voice).samples.tobytes() for _ in range(3)] == [expected] * 3
    assert one._observed.counts["cache hits"] == 2


def test_an_overwritten_clip_is_spoken_in_its_new_voice(
    tiny: Callable[..., Engine], engine: Engine, clip: Path, voice: Voice, tmp_path: Path
) -> None:
    """The stale cache: the file changes under the same path and the same Voice."""
    import soundfile

    one, path = tiny(reference_cache=True), tmp_path / "clip.wav"
    shutil.copy(clip, path)
    speaker = Voice(path, voice.text)
    first = one.synthesize(TEXT, speaker).samples.tobytes()
    samples, rate = soundfile.read(clip, dtype="float32")
    soundfile.write(path, samples[::-1], rate, subtype="PCM_16")
    second = one.synthesize(TEXT, speaker).samples.tobytes()
    assert second == engine.synthesize(TEXT, speaker).samples.tobytes() != first


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"precision": "bf16"}, 0.06),
        ({"precision": "fp16"}, 0.01),
    ],
    ids=["bf16", "fp16"],
)
def test_half_formats_stay_close_to_fp32(
    tiny: Callable[..., Engine], engine: Engine, voice: Voice, options: dict[str, Any], tolerance: float
) -> None:
    """Close, and not equal: equal would mean that nothing was cast."""
    moved = distance(engine.synthesize(TEXT, voice).mel, tiny(**options).synthesize(TEXT, voice).mel)
    assert 0 < moved <= tolerance


@pytest.mark.parametrize(("name", "tolerance"), [("bf16", 0.05), ("fp16", 0.01)])
def test_a_vocoder_in_a_half_format_leaves_the_mel_and_stays_close(
    tiny: Callable[..., Engine], engine: Engine, voice: Voice, name: str, tolerance: float
) -> None:
    """The transformer is not touched; the wave moves a little."""
    plain, cast = engine.synthesize(TEXT, voice), tiny(vocoder_precision=name).synthesize(TEXT, voice)
    assert np.array_equal(plain.mel, cast.mel)
    assert 0 < distance(plain.samples, cast.samples) <= tolerance


@pytest.mark.usefixtures("fresh_dynamo")
def test_compiled_speech_is_lossless_and_compiled_once(tiny: Callable[..., Engine], voice: Voice) -> None:
    """Few graphs serve all blocks and all lengths; the mel stays; threads may call; the memory goes."""
    import gc
    import weakref

    one, plain = tiny(compile="default"), tiny()
    texts = [TEXT, "A longer text than the one before it was.", "Hi.", "And one more, to be sure of it all."]
    before, after = compilations(), []
    for words in texts:
        expected = plain.synthesize(words, voice)
        audio = one.synthesize(words, voice)
        assert distance(expected.mel, audio.mel) <= LOSSLESS
        assert distance(expected.samples, audio.samples) <= LOSSLESS
        after.append(compilations() - before)
    # Torch guards its choice of a convolution by size, so the vocoder may have one graph more for long
    # pieces.
    assert after[0] >= 2
    assert after[-1] == after[1] <= 4
    assert one.evidence()["compile"].proven is True
    with ThreadPoolExecutor(3) as pool:
        parallel = list(pool.map(lambda words: one.synthesize(words, voice).samples.tobytes(), texts))
    assert parallel == [one.synthesize(words, voice).samples.tobytes() for words in texts]
    assert compilations() - before == after[-1]
    model = weakref.ref(one._parts.model)  # type: ignore[union-attr]
    one.close()
    gc.collect()
    assert model() is None


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_dynamo")
def test_max_autotune_is_lossless_and_proven(tiny: Callable[..., Engine], voice: Voice) -> None:
    """The mode of the Jetson, as far as a CPU has it."""
    one, plain = tiny(compile="max-autotune"), tiny()
    assert distance(plain.synthesize(TEXT, voice).mel, one.synthesize(TEXT, voice).mel) <= LOSSLESS
    assert one.evidence()["compile"].proven is True


def test_e2_tts_refuses_compile(tiny_folder: Path, tmp_path: Path) -> None:
    """Its layers are no blocks: nothing would be compiled, so it says so."""
    import yaml
    from safetensors.torch import save_file

    from engine import upstream

    arch = {"dim": 64, "depth": 2, "heads": 1, "text_mask_padding": False}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": {"backbone": "UNetT", "arch": arch}}))
    (tmp_path / "vocos").symlink_to(tiny_folder / "vocos")
    model = upstream.build_model(arch, "UNetT", upstream.shipped("infer/examples/vocab.txt"))
    save_file({f"ema_model.{k}": v for k, v in model.state_dict().items()}, tmp_path / "model.safetensors")
    with pytest.raises(OptionsError, match="UNetT"):
        load(tmp_path, Options(compile="default"), device="cpu")


def test_lossless_options_are_the_ones_tested_here() -> None:
    """A new lossless option needs its test in this file."""
    lossless = {field.name for field in dataclasses.fields(Options) if field.metadata["lossless"]}
    assert lossless == {"compile", "reference_cache"}
