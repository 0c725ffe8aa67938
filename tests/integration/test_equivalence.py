"""With every toggle off the engine is upstream, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from engine import Engine, Options, Voice, pieces, sampler, text, upstream
from engine.loading import load
from engine.requests import pick

TEXTS = ["Hello there, chat!", "你好，世界。今天怎么样？", "Mixed 中文 and English, 20 ℃.", "Hi."]


def upstream_model(folder: Path) -> Any:
    """`CFM` built and filled the way upstream's `load_model` and `load_checkpoint` do it."""
    config = yaml.safe_load((folder / "config.yaml").read_text())["model"]
    package, utils = upstream.module("f5_tts.model"), upstream.module("f5_tts.model.utils")
    vocabulary, size = utils.get_tokenizer(str(upstream.shipped("infer/examples/vocab.txt")), "custom")
    backbone = getattr(package, config["backbone"])(**config["arch"], text_num_embeds=size, mel_dim=100)
    mel = {"n_fft": 1024, "hop_length": 256, "win_length": 1024, "n_mel_channels": 100}
    mel |= {"target_sample_rate": 24_000, "mel_spec_type": "vocos"}
    model = package.CFM(transformer=backbone, mel_spec_kwargs=mel, vocab_char_map=vocabulary)
    weights = {k.replace("ema_model.", ""): v for k, v in load_file(folder / "model.safetensors").items()}
    model.load_state_dict(weights)
    return model.eval()


def upstream_vocoder(folder: Path) -> Any:
    """`Vocos` as upstream's `load_vocoder` makes it from a local path."""
    vocos = upstream.module("vocos").Vocos.from_hparams(str(folder / "vocos/config.yaml"))
    vocos.load_state_dict(torch.load(folder / "vocos/pytorch_model.bin", weights_only=True))
    return vocos.eval()


def upstream_mel(model: Any, engine: Engine, words: str, voice: Voice, seed: int) -> torch.Tensor:
    """The mel that `infer_batch_process` would decode: conditioned on, sampled, and cut by upstream."""
    reference = engine._parts.prepare(voice)  # type: ignore[union-attr]
    opening = text.finish_reference(reference.text)
    tokens = upstream.module("f5_tts.model.utils").convert_char_to_pinyin([opening + words])
    units = max(len(words.encode()), 10)
    duration = reference.frames + int(reference.frames / len(opening.encode()) * units)
    nfe = engine.options.nfe
    with torch.inference_mode(), torch.random.fork_rng():
        sampled, _ = model.sample(
            cond=reference.mel,
            text=tokens,
            duration=duration,
            steps=nfe,
            cfg_strength=engine.options.cfg_strength,
            sway_sampling_coef=None if engine.options.schedule == "uniform" else -1,
            seed=seed,
            use_epss=engine.options.schedule == "epss",
        )
    return sampled[0, reference.frames :]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def peers(tiny_folder: Path) -> tuple[Any, Any]:
    """Upstream's model and vocoder with the same weights."""
    return upstream_model(tiny_folder), upstream_vocoder(tiny_folder)


@pytest.mark.parametrize("words", TEXTS)
@pytest.mark.parametrize("seed", [0, 7, 123_456_789])
def test_mel_and_wave_are_upstreams_to_the_bit(
    tiny: Callable[..., Engine], peers: tuple[Any, Any], voice: Voice, words: str, seed: int
) -> None:
    """English, Chinese and mixed text, a short one, several seeds."""
    one = tiny(nfe=3)
    audio = one.synthesize(words, voice, seed=seed)
    mel = upstream_mel(peers[0], one, words, voice, seed)
    assert torch.equal(torch.from_numpy(audio.mel), mel)
    wave = peers[1].decode(mel.T[None]) * one._parts.prepare(voice).gain  # type: ignore[union-attr]
    assert torch.equal(torch.from_numpy(audio.samples), wave[0])


@pytest.mark.parametrize(
    "options",
    [
        {"cfg_strength": 0.0},
        {"cfg_strength": 4.5},
        {"nfe": 1},
        {"nfe": 8},
        {"nfe": 32},
        {"nfe": 5, "schedule": "epss"},
        {"nfe": 7, "schedule": "epss"},
        {"nfe": 4, "schedule": "uniform"},
    ],
    ids=str,
)
def test_guidance_steps_and_schedules_are_upstreams_to_the_bit(
    tiny: Callable[..., Engine], peers: tuple[Any, Any], voice: Voice, options: dict[str, Any]
) -> None:
    """Everything that `CFM.sample` takes as an argument."""
    one = tiny(**options)
    audio = one.synthesize(TEXTS[0], voice, seed=5)
    assert torch.equal(torch.from_numpy(audio.mel), upstream_mel(peers[0], one, TEXTS[0], voice, 5))


def test_several_pieces_are_upstreams_pieces_joined(
    tiny: Callable[..., Engine], peers: tuple[Any, Any], engine: Engine
) -> None:
    """Each piece equals upstream's for its own seed; the joint is upstream's cross-fade."""
    words = "The first sentence is here and it is long enough to fill a piece. " * 8
    voice = pick(engine.checkpoint.references, None)
    audio = engine.synthesize(words, seed=3)
    reference = engine._parts.prepare(voice)  # type: ignore[union-attr]
    texts = pieces.split(words.strip(), engine._pace(reference, 1.0))
    mels = [upstream_mel(peers[0], engine, piece, voice, 3 + i) for i, piece in enumerate(texts)]
    assert len(mels) > 1
    assert torch.equal(torch.from_numpy(audio.mel), torch.cat(mels))
    waves = [(peers[1].decode(mel.T[None])[0] * reference.gain).numpy() for mel in mels]
    joined = waves[0]
    for wave in waves[1:]:  # infer_batch_process, in its own double precision
        n = int(0.15 * 24_000)
        mixed = joined[-n:] * np.linspace(1, 0, n) + wave[:n] * np.linspace(0, 1, n)
        joined = np.concatenate([joined[:-n], mixed, wave[n:]])
    np.testing.assert_allclose(audio.samples, joined, atol=1e-6)


def test_e2_tts_is_upstreams_to_the_bit(tiny_folder: Path, tmp_path: Path, voice: Voice) -> None:
    """The flat UNet transformer, through a folder in the real format, without a manifest."""
    arch = {"dim": 64, "depth": 4, "heads": 2, "ff_mult": 2, "text_mask_padding": False, "pe_attn_head": 1}
    config = {"model": {"backbone": "UNetT", "arch": arch}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "vocos").symlink_to(tiny_folder / "vocos")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = upstream.build_model(arch, "UNetT", upstream.shipped("infer/examples/vocab.txt"))
    save_file({f"ema_model.{k}": v for k, v in model.state_dict().items()}, tmp_path / "model.safetensors")
    one = load(tmp_path, Options(nfe=3), device="cpu")
    audio = one.synthesize(TEXTS[2], voice, seed=1)
    mel = upstream_mel(upstream_model(tmp_path), one, TEXTS[2], voice, 1)
    assert torch.equal(torch.from_numpy(audio.mel), mel)
    assert one.checkpoint.trained


@pytest.mark.base
def test_base_size_is_upstreams_to_the_bit(voice: Voice) -> None:
    """The real depth and width: mel and wave."""
    from engine.voices import seeded

    folder = seeded.ensure("seeded-base")
    one = load("seeded-base", Options(nfe=2), device="cpu")
    audio = one.synthesize("Hello there, chat!", voice, seed=7)
    mel = upstream_mel(upstream_model(folder), one, "Hello there, chat!", voice, 7)
    assert torch.equal(torch.from_numpy(audio.mel), mel)
    wave = upstream_vocoder(folder).decode(mel.T[None])[0] * one._parts.prepare(voice).gain  # type: ignore[union-attr]
    assert torch.equal(torch.from_numpy(audio.samples), wave)


def test_noise_comes_from_the_seed_and_not_from_the_global_generator(engine: Engine, voice: Voice) -> None:
    """What a caller draws does not change the speech, and speech does not change what a caller draws."""
    one = engine.synthesize(TEXTS[0], voice, seed=9)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    other = engine.synthesize(TEXTS[0], voice, seed=9)
    assert torch.equal(torch.get_rng_state(), before)
    assert one.samples.tobytes() == other.samples.tobytes()
    assert sampler.noise_like(3, 2, 9, "cpu").shape == (1, 3, 2)
