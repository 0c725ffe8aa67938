"""Seeded checkpoints in the real format: what a machine without trained weights measures and tests with.

They are untrained: their speech is noise. Upstream's adaptive norms and output layers start at zero, and such
a model is almost the identity, so every optimisation would look perfect on it. Here those layers hold noise,
strong enough that text, reference and every block matter (`tests/integration/test_seeded.py` holds by how
much).
"""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

from engine import upstream
from engine.errors import CheckpointError

SEED = 20_240
FORMAT = 2
"""Raised when the same name would give other weights; part of the folder's name."""

TEXT_GAIN, QUERY_GAIN, VALUE_GAIN = 16.0, 2.5, 2.0
"""How much louder than upstream's initialisation text, queries with keys, and values are."""

SIZES: dict[str, dict[str, Any]] = {
    "seeded-tiny": {"dim": 128, "depth": 4, "heads": 2, "ff_mult": 2, "text_dim": 64, "conv_layers": 2},
    "seeded-small": {"dim": 768, "depth": 18, "heads": 12, "ff_mult": 2, "text_dim": 512, "conv_layers": 4},
    "seeded-base": {"dim": 1024, "depth": 22, "heads": 16, "ff_mult": 2, "text_dim": 512, "conv_layers": 4},
}
"""Architectures: one for tests, and upstream's F5TTS_v1_Small and F5TTS_v1_Base."""
_VOCOS = {"seeded-tiny": (64, 192, 2)}
_VOCOS_PUBLISHED = (512, 1536, 8)
"""Width, inner width and layers of the published charactr/vocos-mel-24khz."""


def ensure(name: str, folder: Path | None = None) -> Path:
    """The folder of a seeded checkpoint, written on first use: whole or not at all, safe against a second
    writer.

    Raises:
        CheckpointError: an unknown size, or a cache folder that cannot be written.
    """
    from safetensors import SafetensorError

    from engine.files import cache

    if name not in SIZES:
        raise CheckpointError(
            f"seeded checkpoint {name!r}", f"one of {', '.join(SIZES)}", "Choose one of them"
        )
    target = (folder or cache()) / f"{name}-v{FORMAT}"
    if (target / "voice.json").is_file():
        return target
    if target.exists():
        raise CheckpointError(f"{target} without its voice.json", "a whole checkpoint", "Delete that folder")
    scratch = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    try:
        scratch.mkdir(parents=True)
        _write(name, scratch)
        scratch.rename(target)
    except (
        OSError,
        SafetensorError,
        RuntimeError,
    ) as error:  # each library reports a full disk in its own way
        if not (target / "voice.json").is_file():  # else another writer was first
            raise CheckpointError(
                f"cache {target} ({error})", "a writable folder with room", "Set XDG_CACHE_HOME"
            ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _write(name: str, folder: Path) -> None:
    """Write all files of one seeded checkpoint into an existing folder."""
    import torch
    import yaml
    from safetensors.torch import save_file

    from engine.files import sha256

    arch = {**SIZES[name], "text_mask_padding": True, "qk_norm": None, "pe_attn_head": None}
    config = {"model": {"name": name, "backbone": "DiT", "arch": arch, "mel_spec": upstream.MEL_SPEC}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf8")
    (folder / "vocos").mkdir()
    (folder / "vocos/config.yaml").write_text(yaml.safe_dump(_vocos_config(name)), encoding="utf8")
    generator = torch.Generator().manual_seed(
        SEED
    )  # of its own: another thread that draws cannot change the weights
    model = upstream.build_model(arch, "DiT", upstream.shipped("infer/examples/vocab.txt"))
    vocos = upstream.build_vocoder(folder / "vocos/config.yaml")
    for module in (*model.modules(), *vocos.modules()):
        _redraw(module, generator)
    _fill_zero_layers(model.transformer, generator)
    save_file(
        {f"ema_model.{key}": value.half() for key, value in model.state_dict().items()},
        folder / "model.safetensors",
    )
    torch.save(vocos.state_dict(), folder / "vocos/pytorch_model.bin")
    files = ["config.yaml", "model.safetensors", "vocos/config.yaml", "vocos/pytorch_model.bin"]
    manifest = {
        "name": name,
        "trained": False,
        "files": {
            file: {"sha256": sha256(folder / file), "bytes": (folder / file).stat().st_size} for file in files
        },
    }
    (folder / "voice.json").write_text(json.dumps(manifest, indent=2), encoding="utf8")


def _redraw(module: Any, generator: Any) -> None:
    """Draw a layer's weights again as torch initialises them, from our generator instead of the global
    one."""
    import torch

    with torch.no_grad():
        if isinstance(module, torch.nn.Embedding):
            module.weight.normal_(generator=generator)
        elif isinstance(module, (torch.nn.Linear, torch.nn.Conv1d)):
            bound = module.weight[0].numel() ** -0.5  # of the fan-in
            for parameter in module.parameters():
                parameter.uniform_(-bound, bound, generator=generator)


def _fill_zero_layers(transformer: Any, generator: Any) -> None:
    """Overwrite what upstream initialises to zero, and make attention choose.

    Frames to generate see the text through attention alone; at the initial scale it averages over everything
    and the text hardly counts.
    """
    import torch

    width = transformer.dim**-0.5
    mel = upstream.MEL_SPEC["n_mel_channels"]
    with torch.no_grad():
        transformer.input_embed.proj.weight[:, 2 * mel :].mul_(TEXT_GAIN)
        for block in transformer.transformer_blocks:
            block.attn_norm.linear.weight.normal_(std=width, generator=generator)
            block.attn_norm.linear.bias.normal_(std=0.5, generator=generator)
            block.attn.to_q.weight.mul_(QUERY_GAIN)
            block.attn.to_k.weight.mul_(QUERY_GAIN)
            block.attn.to_v.weight.mul_(VALUE_GAIN)
        transformer.norm_out.linear.weight.normal_(std=width, generator=generator)
        transformer.proj_out.weight.normal_(std=width, generator=generator)
        for block in getattr(transformer.text_embed, "text_blocks", []):
            block.grn.gamma.normal_(std=0.5, generator=generator)


def _vocos_config(name: str) -> dict[str, Any]:
    dim, inner, layers = _VOCOS.get(name, _VOCOS_PUBLISHED)
    mel = {"sample_rate": 24_000, "n_fft": 1024, "hop_length": 256, "n_mels": 100, "padding": "center"}
    backbone = {"input_channels": 100, "dim": dim, "intermediate_dim": inner, "num_layers": layers}
    head = {"dim": dim, "n_fft": 1024, "hop_length": 256, "padding": "center"}
    return {
        "feature_extractor": {
            "class_path": "vocos.feature_extractors.MelSpectrogramFeatures",
            "init_args": mel,
        },
        "backbone": {"class_path": "vocos.models.VocosBackbone", "init_args": backbone},
        "head": {"class_path": "vocos.heads.ISTFTHead", "init_args": head},
    }
