"""Every toggle: off leaves no trace, lossless ones keep the mel, lossy ones stay close, threads may use
them."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine import Engine, Options, Voice, native, sampler
from engine.errors import EngineError, OptionsError
from engine.loading import load
from engine.optimizations import int8
from engine.requests import Request

TEXT = "Hello there, chat!"
LOSSLESS = 1e-3
INT8 = 0.08
ATTENTION = 0.01
"""How far attention in bf16 may move a mel."""
needs_kernels = pytest.mark.skipif(bool(native.missing()), reason=f"kernels: {native.missing()}")
"""Relative L2 on an untrained model, which magnifies what changes in it."""


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
        assert "forward" not in vars(module)
    assert {p.dtype for p in parts.model.parameters()} == {torch.float32}
    assert not [name for name in engine._seen.counts if "cache" in name or "graphs" in name]


def test_the_reference_cache_is_bit_identical(
    tiny: Callable[..., Engine], engine: Engine, voice: Voice
) -> None:
    """Hit and miss give the same bytes as no cache."""
    one = tiny(reference_cache=True)
    expected = engine.synthesize(TEXT, voice).samples.tobytes()
    assert [one.synthesize(TEXT, voice).samples.tobytes() for _ in range(3)] == [expected] * 3
    assert one._seen.counts["cache hits"] == 2


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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_int8_stays_close_to_what_it_rounds(
    tiny: Callable[..., Engine], voice: Voice, precision: str
) -> None:
    """Close, and not equal, in either format of the rest; the same with the modulations worked out before."""
    plain = tiny(precision=precision).synthesize(TEXT, voice).mel
    rounded = tiny(precision=precision, int8="dynamic").synthesize(TEXT, voice).mel
    assert 0 < distance(plain, rounded) <= INT8
    assert (
        distance(rounded, tiny(precision=precision, int8="dynamic", hoist=True).synthesize(TEXT, voice).mel)
        <= INT8
    )


@needs_kernels
def test_fused_kernels_stay_close_to_what_they_round(tiny: Callable[..., Engine], voice: Voice) -> None:
    """Each alone and both; padded and beside others a sequence stays what it is alone."""
    plain = tiny(hoist=True).synthesize(TEXT, voice).mel
    for more, bound in (
        ({"attention": "fused"}, ATTENTION),
        ({"attention": "fused", "precision": "bf16"}, INT8),
        ({"int8": "fused"}, INT8),
        ({"int8": "fused", "attention": "fused"}, INT8),
    ):
        alone = tiny(hoist=True, **more).synthesize(TEXT, voice).mel
        assert 0 < distance(plain, alone) <= bound, more
        padded = tiny(hoist=True, buckets=True, batch=2, **more)
        for audio in padded.synthesize_batch([Request(TEXT, voice), Request("Hi.", voice)])[:1]:
            assert distance(alone, audio.mel) <= INT8, more
        assert padded.synthesize(TEXT, voice).mel.shape == alone.shape


def test_linears_by_onednn_are_lossless(tiny: Callable[..., Engine], engine: Engine, voice: Voice) -> None:
    """The same sums in another order."""
    moved = distance(engine.synthesize(TEXT, voice).mel, tiny(linears="onednn").synthesize(TEXT, voice).mel)
    assert moved <= LOSSLESS


def test_int8_touches_the_blocks_linears_alone(tiny: Callable[..., Engine], engine: Engine) -> None:
    """Embeddings, modulations and the output layer stay upstream's modules, with their weights."""
    plain, rounded = (
        {n: type(m) for n, m in one._parts.model.named_modules()} for one in (engine, tiny(int8="dynamic"))
    )  # type: ignore[union-attr]
    changed = {name for name in plain if plain[name] is not rounded[name]}
    assert changed == {f"transformer.{name}" for name in int8.layers(engine._parts.model.transformer)}  # type: ignore[union-attr]
    assert len(changed) == 24


@pytest.mark.parametrize("name", ["math", "flash"])
def test_every_attention_kernel_is_lossless(
    tiny: Callable[..., Engine], engine: Engine, voice: Voice, name: str
) -> None:
    """The same sums in another order."""
    moved = distance(engine.synthesize(TEXT, voice).mel, tiny(attention=name).synthesize(TEXT, voice).mel)
    assert moved <= LOSSLESS


def test_the_onnx_vocoder_is_torchs(tiny: Callable[..., Engine], engine: Engine, voice: Voice) -> None:
    """The same mel, and a wave within an NMSE of 1e-3."""
    pytest.importorskip("onnxscript", reason="needs the onnx extra")
    plain, other = engine.synthesize(TEXT, voice), tiny(vocoder_backend="onnx").synthesize(TEXT, voice)
    assert np.array_equal(plain.mel, other.mel)
    assert distance(plain.samples, other.samples) ** 2 <= 1e-3


COMPILING = """
import json, sys, time
from engine import Options, Voice
from engine.loading import load
one = load("seeded-tiny", Options(nfe=2, compile="default", int8="dynamic"), device="cpu")
started = time.perf_counter()
audio = one.synthesize("Hello there, chat!", Voice(sys.argv[1], sys.argv[2]))
counts = one._seen.counts
print(json.dumps([counts["fxgraph_cache_miss"], counts["fxgraph_cache_hit"], audio.mel.tobytes().hex()[:999],
                  one.evidence()["compile"].observed]))
"""


@pytest.mark.slow
def test_a_second_process_finds_what_the_first_compiled(clip: Path, voice: Voice, tmp_path: Path) -> None:
    """Nothing is compiled again, and the mel is the same; the cache folder outlives a boot."""
    keep = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    command = [sys.executable, "-c", COMPILING, str(clip), voice.text]
    runs = []
    for _ in range(2):
        done = subprocess.run(
            command, env={**keep, "XDG_CACHE_HOME": str(tmp_path)}, capture_output=True, text=True, check=True
        )
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    (made, found, mel, _), (made_again, found_again, mel_again, said) = runs
    assert (made > 0, found) == (True, 0)
    assert (made_again, found_again) == (0, made)
    assert mel_again == mel
    assert f"0 compiled here, {made} from the cache on disk" in said
    assert (tmp_path / "ishowtts/compiled").is_dir()


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


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_dynamo")
def test_ten_compiled_engines_in_one_process_all_compile(tiny: Callable[..., Engine], voice: Voice) -> None:
    """Dynamo gives up in silence at the eighth compilation of one code object: each engine has its own."""
    for _ in range(10):
        with tiny(compile="default") as one:
            one.synthesize(TEXT, voice)
            assert one.evidence()["compile"].proven is True


@pytest.mark.parametrize("solver", ["euler", "midpoint", "heun"])
@pytest.mark.parametrize("cfg_strength", [0.0, 2.0])
def test_hoisting_is_lossless(
    tiny: Callable[..., Engine], voice: Voice, solver: str, cfg_strength: float
) -> None:
    """What is computed once is what every step would have computed."""
    options = {"nfe": 4, "solver": solver, "cfg_strength": cfg_strength}
    expected = tiny(**options).synthesize(TEXT, voice).mel
    assert distance(expected, tiny(**options, hoist=True).synthesize(TEXT, voice).mel) <= LOSSLESS


@pytest.mark.parametrize(
    "other", [{"guidance": "reuse"}, {"guidance": "interval"}, {"buckets": True}], ids=str
)
def test_hoisting_keeps_what_other_toggles_give(
    tiny: Callable[..., Engine], voice: Voice, other: dict[str, Any]
) -> None:
    """Halves alone and padded sequences go through it too."""
    expected = tiny(nfe=4, **other).synthesize(TEXT, voice).mel
    assert distance(expected, tiny(nfe=4, hoist=True, **other).synthesize(TEXT, voice).mel) <= LOSSLESS


def test_hoisting_a_padded_batch_keeps_each_item(tiny: Callable[..., Engine], voice: Voice) -> None:
    """Every item of a batch is what it is alone and not hoisted."""
    requests = [Request(words, voice, seed) for seed, words in enumerate((TEXT, "Hello there, all of you!"))]
    alone = [tiny().synthesize(one.words, one.voice, seed=one.seed) for one in requests]
    together = tiny(hoist=True, batch=2).synthesize_batch(requests)
    for one, other in zip(alone, together, strict=True):
        assert distance(one.mel, other.mel) <= LOSSLESS


def test_hoisting_in_bf16_is_as_close_to_fp32_as_bf16_is(
    tiny: Callable[..., Engine], engine: Engine, voice: Voice
) -> None:
    """It rounds elsewhere, not more."""
    expected = engine.synthesize(TEXT, voice).mel
    assert distance(expected, tiny(precision="bf16", hoist=True).synthesize(TEXT, voice).mel) <= 0.06


def test_hoisting_computes_nothing_twice(tiny: Callable[..., Engine], voice: Voice) -> None:
    """After loading no time is embedded; each request embeds its text twice; the modulations' weights are
    gone."""
    one, plain = tiny(nfe=4, hoist=True), tiny(nfe=4)
    called: list[str] = []
    transformer = one._parts.model.transformer  # type: ignore[union-attr]
    for name in ("time_embed", "text_embed", "rotary_embed"):
        getattr(transformer, name).register_forward_hook(lambda *_, name=name: called.append(name))
    for seed in range(2):
        one.synthesize(TEXT, voice, seed=seed)
    assert called == ["text_embed"] * 4
    sizes = [
        sum(p.numel() for p in engine._parts.model.transformer.transformer_blocks.parameters())  # type: ignore[union-attr]
        for engine in (plain, one)
    ]
    assert sizes[1] < 0.7 * sizes[0]


@pytest.mark.parametrize("hoist", [False, True])
def test_a_request_that_is_done_leaves_nothing_to_the_collector(
    tiny: Callable[..., Engine], hoist: bool
) -> None:
    """Its tensors go at once: kept until the next collection, they would look like a leak and be one for a
    while."""
    parts = tiny(nfe=4, hoist=hoist)._parts
    times = sampler.evaluation_times(
        sampler.time_grid(Options(nfe=4), torch.device("cpu")), sampler.solver(Options(nfe=4))
    )
    x, cond, tokens = torch.randn(1, 20, 100), torch.randn(1, 20, 100), torch.ones(1, 9, dtype=torch.long)
    gone = weakref.ref(cond)
    gc.disable()
    try:
        with parts.backbone(cond, tokens, times, None) as evaluate, torch.inference_mode():  # type: ignore[union-attr]
            evaluate(x, 0, "both")
        del cond, evaluate
        assert gone() is None
    finally:
        gc.enable()


def test_hoisting_refuses_another_grid(tiny: Callable[..., Engine], voice: Voice) -> None:
    """Its modulations belong to the times it was loaded with."""
    one = tiny(nfe=4, hoist=True)
    with pytest.raises(OptionsError, match="nfe=5 of one request with hoist"):
        one.synthesize(TEXT, voice, nfe=5)
    times = sampler.evaluation_times(sampler.time_grid(Options(nfe=5), "cpu"), sampler.SOLVERS["euler"])
    x = torch.zeros(1, 9, 100)
    with pytest.raises(EngineError, match="hoist"), one._open().backbone(x, x[:, :, 0].long(), times, None):
        pass


def test_separate_guidance_is_lossless(tiny: Callable[..., Engine], engine: Engine, voice: Voice) -> None:
    """Two calls of half the batch give what one call gave."""
    expected = engine.synthesize(TEXT, voice).mel
    assert distance(expected, tiny(guidance="separate").synthesize(TEXT, voice).mel) <= LOSSLESS


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"guidance": "interval"}, 0.25),
        ({"guidance": "reuse"}, 0.2),
        ({"solver": "midpoint"}, 0.25),
        ({"solver": "heun"}, 0.2),
    ],
    ids=str,
)
def test_fewer_rows_and_other_solvers_stay_close(
    tiny: Callable[..., Engine], voice: Voice, options: dict[str, Any], tolerance: float
) -> None:
    """Close to eight Euler steps with guidance in each, and not equal: equal would mean that nothing was
    done."""
    expected = tiny(nfe=8).synthesize(TEXT, voice).mel
    assert 0 < distance(expected, tiny(nfe=8, **options).synthesize(TEXT, voice).mel) <= tolerance


@pytest.mark.parametrize("options", [{"compile": "default"}, {"hoist": True}], ids=str)
def test_e2_tts_refuses_what_needs_blocks(tiny_folder: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """Its layers are no blocks: nothing would be done, so it says so."""
    e2_tts(tiny_folder, tmp_path)
    with pytest.raises(OptionsError, match="UNetT"):
        load(tmp_path, Options(**options), device="cpu")


def e2_tts(tiny_folder: Path, tmp_path: Path) -> None:
    """Write a small E2-TTS checkpoint."""
    import yaml
    from safetensors.torch import save_file

    from engine import upstream

    arch = {"dim": 64, "depth": 2, "heads": 1, "text_mask_padding": False}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": {"backbone": "UNetT", "arch": arch}}))
    (tmp_path / "vocos").symlink_to(tiny_folder / "vocos")
    model = upstream.build_model(arch, "UNetT", upstream.shipped("infer/examples/vocab.txt"))
    save_file({f"ema_model.{k}": v for k, v in model.state_dict().items()}, tmp_path / "model.safetensors")


def test_lossless_options_are_the_ones_tested_here() -> None:
    """A new lossless option needs its test in this file, or beside it where it is a matter of padding or a
    card's (`test_card.py`)."""
    lossless = {field.name for field in dataclasses.fields(Options) if field.metadata["lossless"]}
    assert lossless - {"batch", "buckets", "graphs", "streams", "nvtx"} == {
        "attention",
        "compile",
        "guidance",
        "hoist",
        "linears",
        "reference_cache",
        "vocoder_backend",
    }
